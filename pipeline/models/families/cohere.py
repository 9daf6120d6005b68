"""Cohere Transcribe: like the models of asr.py, but it has to be told the language. It is asked for it first ("token"),
without having been trained to tell it."""

from __future__ import annotations

from dataclasses import replace

from pipeline.models.abilities import Abilities
from pipeline.models.families import asr
from pipeline.models.family import Files, Limits

ARCHITECTURES = frozenset({"CohereAsrForConditionalGeneration"})
CONTEXT_TOKENS = 1_024  # that transformers' configuration has by default, and vLLM enforces


def matches(files: Files) -> bool:
    """Its architecture."""
    return asr.named(files, ARCHITECTURES) is not None


def limits(files: Files) -> Limits:
    """Its configuration says how long its audio may be, and how many tokens its decoder takes."""
    asr.require_packages(files, ARCHITECTURES)
    config = files.read("config.json")
    chunk_s = min(asr.LONGEST_S, config.get("max_audio_clip_s") or asr.LONGEST_S)
    decoder = (config.get("transf_decoder") or {}).get("config_dict") or {}
    return Limits(chunk_s, min(CONTEXT_TOKENS, decoder.get("max_sequence_length") or CONTEXT_TOKENS))


FAMILY = replace(
    asr.FAMILY,
    abilities=Abilities(longest_window_s=asr.LONGEST_S, needs_language=True, language_methods=("token",)),
    limits=limits,
    description="config.json with architectures CohereAsrForConditionalGeneration",
    matches=matches,
    untold="",
)
