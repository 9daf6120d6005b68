"""What a nightly run does: of all that is to do the newest, within a budget."""

# pyright: reportArgumentType=false, reportCallIssue=false
# (pyarrow's stubs know no numpy arrays.)

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from pipeline import estimate
from pipeline.errors import ConfigurationError
from pipeline.planning import Plan
from pipeline.tasks.ask.settings import WithTask

Row = dict[str, Any]


class Nightly(WithTask):
    """Do what needs doing: new recordings, changed ones, those that failed in a way that may pass by itself, and those
    that an older model or older settings did. The newest come first, within a budget; nothing else is touched.

    It is the job of jobs.transcribe, with all its settings; with --task that of jobs.ask. Put it on a schedule; a
    second one at the same time stops.

    Examples:

        python -m jobs.nightly --input s3://bucket/calls/ --output s3://bucket/transcripts --dry-run
        python -m jobs.nightly --input s3://bucket/calls/ --output s3://bucket/transcripts \\
            --max-engine-hours 16 --max-hours 8
        python -m jobs.nightly --input s3://bucket/calls/ --output s3://bucket/answers --task triage.yaml
    """

    model_config = SettingsConfigDict(cli_prog_name="python -m jobs.nightly")

    max_engine_hours: float | None = Field(default=None, gt=0)
    """Plan no more than so many engine hours; the oldest recordings wait for the next night. It needs a known speed:
    see --engine-speed. --max-hours stops by the clock. [hours]"""

    @field_validator("over")
    @classmethod
    def _has_a_task(cls, over: str, info: ValidationInfo) -> str:
        if over == "transcripts" and not info.data.get("task"):
            raise ValueError("transcripts are asked about by a --task, which is missing")
        return over


@dataclass(frozen=True)
class Night:
    """What is planned: `plan` is what fits the budget, `waiting` counts what does not."""

    plan: Plan
    estimate: estimate.Estimate | None
    audio_s: float
    waiting: int
    waiting_audio_s: float


def choose(plan: Plan, max_engine_hours: float | None) -> Night:
    """The newest recordings of a plan that fit the budget, one at least, the newest first; those of unknown age come
    last.

    Raises:
        ConfigurationError: there is a budget, and the speed of an engine is not known.
    """
    if max_engine_hours and plan.count and not plan.speed:
        raise ConfigurationError(
            f"--max-engine-hours {max_engine_hours:g}: how fast an engine is, is not known: no run of this model in"
            " --output; --engine-speed says it, or --limit runs a few"
        )
    recordings = plan.listing.recordings
    modified = pc.fill_null(pc.cast(recordings["modified_at"], pa.int64()), np.iinfo(np.int64).min).to_numpy()
    positions = np.argsort(modified, kind="stable")[::-1]
    seconds = estimate.seconds_each(recordings, plan.settings.audio)[positions]
    fits = np.ones(len(positions), dtype=bool)
    if max_engine_hours and plan.speed:
        starts_s = (plan.settings.engine.count or 1) * plan.speed.start_s
        fits = np.cumsum(seconds) <= (max_engine_hours * 3600 - starts_s) * plan.speed.value
        fits[:1] = True  # else one that is longer than any night would stop them all
    kept = positions[fits]
    about = plan.about | {"night": {"to_do": len(positions), "chosen": len(kept)}}
    chosen = replace(plan, listing=plan.listing.take(kept), about=about)  # in the order in which they are to be done
    audio_s = float(seconds[fits].sum())
    return Night(chosen, plan.estimate_of(audio_s), audio_s, len(positions) - len(kept), float(seconds[~fits].sum()))
