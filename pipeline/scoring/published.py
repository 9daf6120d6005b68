"""Error rates that others have published, with their sources: published_wer.csv beside this file."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

LEADERBOARD = "Open ASR Leaderboard"  # how the source of its figures begins; its normaliser is its own
# The models that people compare with, in this order.
MODELS = {
    "voxtral-small-24b-2507": "Voxtral Small",
    "voxtral-mini-3b-2507": "Voxtral Mini",
    "whisper-large-v3": "Whisper large-v3",
}


@dataclass(frozen=True)
class Figure:
    """One published word error rate, in percent."""

    benchmark: str
    language: str
    model: str
    wer_percent: float
    source: str
    normaliser: str


@cache
def figures(benchmark: str | None) -> tuple[Figure, ...]:
    """The figures for a benchmark and the models in MODELS, as (source, model) comes in the file."""
    lines = (files("pipeline.scoring") / "published_wer.csv").read_text("utf-8").splitlines()
    found = []
    for row in csv.DictReader(lines):
        wer_percent = float(row.pop("wer_percent"))
        if row["benchmark"] == benchmark and row["model"] in MODELS:
            found.append(Figure(**row, wer_percent=wer_percent))
    return tuple(found)


@dataclass(frozen=True)
class Beside:
    """The figures to put beside ours: one source, its models, and percent by (model, language)."""

    source: str
    models: list[str]
    percent: dict[tuple[str, str], float]


def beside(benchmark: str | None) -> Beside | None:
    """The figures of the models' makers, not of the leaderboard; None where there are none."""
    found = [figure for figure in figures(benchmark) if not figure.source.startswith(LEADERBOARD)]
    if not found:
        return None
    percent = {(figure.model, figure.language): figure.wer_percent for figure in found}
    return Beside(found[0].source, [model for model in MODELS if any(model == key[0] for key in percent)], percent)
