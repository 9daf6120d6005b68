"""No real models: what runtimes/scripted.py plays, for tests and simulations. Its model is a script in place of a
checkpoint."""

from __future__ import annotations

from pipeline.errors import ConfigurationError
from pipeline.models.abilities import Abilities
from pipeline.models.family import Family, Files, Limits

CHUNK_S = 30.0
CONTEXT_TOKENS = 32_768
NO_SCRIPT = "none"  # in place of the script's path


def limits(files: Files) -> Limits:
    """Those of a model like the released ones. The place is the script's.

    Raises:
        ConfigurationError: there is no such script.
    """
    if str(files.place) != NO_SCRIPT and not files.place.is_file():
        raise ConfigurationError(f"--engine.model {files.place}: no file with a script, and not {NO_SCRIPT}")
    return Limits(CHUNK_S, CONTEXT_TOKENS)


FAMILY = Family(
    runtimes={"scripted": ""},
    abilities=Abilities(
        longest_window_s=1_800.0, language_methods=("score",), longest_chat_s=2_400.0, audios_per_chat=5
    ),
    max_pause_s=1.0,
    limits=limits,
)
