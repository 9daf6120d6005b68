"""What can be asked of recordings: one folder for each task, and one line in registry.py."""

from __future__ import annotations

from pkgutil import resolve_name

from pipeline import registry
from pipeline.settings import Settings
from pipeline.tasks.protocol import Task


def load(settings: Settings) -> Task:
    """The task that the settings name.

    Raises:
        ConfigurationError: they do not say what it needs to know.
    """
    return resolve_name(registry.TASKS[settings.task_name])(settings)
