"""Which families and runtimes there are: one line for each. Adding one is a file and a line here.

This module imports nothing of them: the settings take their choices from it.
"""

from __future__ import annotations

from pkgutil import resolve_name
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.models.family import Family
    from pipeline.models.protocol import Runtime

# By name. A checkpoint is of the first family that matches it.
FAMILIES = {
    "voxtral": "pipeline.models.families.voxtral:FAMILY",
    "whisper": "pipeline.models.families.whisper:FAMILY",
    "scripted": "pipeline.models.families.scripted:FAMILY",
}
RUNTIMES = {
    "vllm": "pipeline.models.runtimes.vllm:RUNTIME",
    "scripted": "pipeline.models.runtimes.scripted:RUNTIME",
}


def family(name: str) -> Family:
    """The family of that name; its file is imported now."""
    return resolve_name(FAMILIES[name])


def runtime(name: str) -> Runtime:
    """The runtime of that name; its file is imported now."""
    return resolve_name(RUNTIMES[name])
