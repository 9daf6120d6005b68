"""What can be asked of recordings: one folder for each task, and one line here."""

from __future__ import annotations

from importlib import import_module

from pipeline.tasks.protocol import Task

TASKS = {"transcribe": "pipeline.tasks.transcribe.task:Transcription"}


def load(name: str) -> Task:
    """The task of that name."""
    module, _, kind = TASKS[name].partition(":")
    return getattr(import_module(module), kind)()
