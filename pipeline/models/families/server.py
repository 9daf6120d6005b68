"""Whatever model an OpenAI-compatible server runs: its files and prompts are the server's own business."""

from __future__ import annotations

from pipeline.models.abilities import Abilities
from pipeline.models.family import Family, Files, Limits

CHUNK_S = 30.0  # of the speech models that are served most, Voxtral and Whisper
LONGEST_S = 600.0  # that vLLM decodes of one request; so much FLAC is below its 25 MB, too


def limits(files: Files) -> Limits:
    """Those of a server are looked at by its runtime."""
    return Limits(CHUNK_S)


FAMILY = Family(
    runtimes={"server": ""},
    abilities=Abilities(longest_window_s=LONGEST_S, longest_chat_s=LONGEST_S, audios_per_chat=5),
    max_pause_s=30.0,
    limits=limits,
    untold=(
        "a server tells no probabilities, no scores of languages and not why a text ended: mean_logprob stays null, the"
        " text alone tells the language, and truncation shows by its length; nor how long its windows are:"
        f" {CHUNK_S:g} s, unless --segmentation.max-window-s says it"
    ),
)
