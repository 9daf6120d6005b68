"""What changes a transcript: recordings are done again where it differs.

It holds what is resolved, not how it was said (`auto`, an order, a default), and nothing that leaves texts as they are:
where a model lies, how many engines run it, who runs it. The runtime and its version and that of this package are
columns of the tables instead; TRANSCRIPTION_VERSION is raised when a change of ours makes other texts.
"""

from __future__ import annotations

from typing import Any

from pipeline.models.checkpoint import Checkpoint
from pipeline.settings import Settings
from pipeline.tasks import windows
from pipeline.tasks.transcribe import voices

TRANSCRIPTION_VERSION = 1


def facts(settings: Settings, checkpoint: Checkpoint) -> dict[str, Any]:
    """What the fingerprint is made of. The settings are those of `fit`, and say the device."""
    return {**of_texts(settings, checkpoint), **passes(settings)}


def passes(settings: Settings) -> dict[str, Any]:
    """What is found beside texts, and changes none of them."""
    found, alignment = voices.facts(settings), settings.alignment
    if settings.words:
        found["words"] = [alignment.revision, alignment.min_score]
    if alignment.models:
        found["aligners"] = {x: named.revision for x, named in alignment.by_language.items() if x}
    return found


def of_texts(settings: Settings, checkpoint: Checkpoint) -> dict[str, Any]:
    """What changes texts."""
    engine, language = settings.engine, settings.language
    return {
        "transcription_version": TRANSCRIPTION_VERSION,
        **windows.of_model(settings, checkpoint),
        **windows.of_audio(settings),
        "max_tokens_per_s": engine.max_tokens_per_s,
        "channels": settings.channels,
        "language": {"expected": sorted(language.expected), "methods": sorted(set(language.methods))},
        "guards": settings.guards.model_dump(),
        **({"beams": engine.beams} if engine.beams > 1 else {}),
        **({"ask_every_window": True} if language.ask_every_window and "text" in language.methods else {}),
        **({"translate": True} if language.translate else {}),
    }
