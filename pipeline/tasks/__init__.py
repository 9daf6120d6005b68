"""What can be asked of recordings: one folder for each task, and one line in registry.py."""

from __future__ import annotations

from pkgutil import resolve_name

from pipeline import registry
from pipeline.tasks.protocol import Task


def load(name: str) -> Task:
    """The registered task of that name."""
    return resolve_name(registry.TASKS[name])()
