"""No real models: what runtimes/scripted.py plays, for tests and simulations. It has no checkpoints."""

from __future__ import annotations

from pipeline.models.abilities import Abilities
from pipeline.models.family import Family, Files, Limits

CHUNK_S = 30.0


def limits(_: Files) -> Limits:
    """Those of a model like the released ones."""
    return Limits(CHUNK_S)


FAMILY = Family(
    runtime="scripted",
    abilities=Abilities(longest_window_s=1_800.0, language_methods=("score",)),
    max_pause_s=1.0,
    limits=limits,
)
