"""Speech recognition models that vLLM's own servers transcribe with: Qwen3-ASR, Granite Speech, GLM-ASR and others.

vLLM's class for a model makes its prompts and cleans its texts (runtimes/vllm_speech.py), so that this file names no
model but where the installation lacks what its class imports.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from pipeline.errors import ConfigurationError
from pipeline.models.abilities import Abilities
from pipeline.models.family import Family, Files, Limits

# What vLLM's registry says supports transcription, less the models with a family of their own.
ARCHITECTURES = frozenset(
    {
        "FireRedASR2ForConditionalGeneration",
        "FunASRForConditionalGeneration",
        "Gemma3nForConditionalGeneration",
        "GlmAsrForConditionalGeneration",
        "GraniteSpeechForConditionalGeneration",
        "GraniteSpeechPlusForConditionalGeneration",
        "MoonshotKimiaForCausalLM",
        "MossTranscribeDiarizeForConditionalGeneration",
        "Qwen3ASRForConditionalGeneration",
        "Qwen3OmniMoeForConditionalGeneration",
    }
)
# Packages beside vLLM's own requirements, or left out of our locks, without which an engine does not start.
PACKAGES = {
    "CohereAsrForConditionalGeneration": "torchaudio",
    "FireRedASR2ForConditionalGeneration": "kaldi_native_fbank",
    "FunASRForConditionalGeneration": "torchaudio",
    "Gemma3nForConditionalGeneration": "timm",
    "GraniteSpeechForConditionalGeneration": "torchaudio",
    "GraniteSpeechPlusForConditionalGeneration": "torchaudio",
    "Qwen3ASRForConditionalGeneration": "torchvision",
    "Qwen3OmniMoeForConditionalGeneration": "torchvision",
}
# Most of these models take more, but some silently drop what is longer, and not all say how long their audio may be.
LONGEST_S = 30.0


def named(files: Files, architectures: Collection[str]) -> str | None:
    """The first of these architectures that a checkpoint is of."""
    found = files.read("config.json").get("architectures") if "config.json" in files else None
    return next((name for name in found or () if name in architectures), None)


def require_packages(files: Files, architectures: Collection[str]) -> None:
    """Check that what a checkpoint's class in vLLM imports is installed.

    Raises:
        ConfigurationError: it is not.
    """
    package = PACKAGES.get(name := named(files, architectures) or "")
    if package and not find_spec(package):
        raise ConfigurationError(
            f"--engine.model {files.place}: vLLM runs {name} only with {package}, which is not installed: pip install"
            f" {package.replace('_', '-')}, in a build for the installed torch"
        )


def matches(files: Files) -> bool:
    """An architecture of this family."""
    return named(files, ARCHITECTURES) is not None


def limits(files: Files) -> Limits:
    """The window that the feature extractor cuts audio to, at most LONGEST_S, and the decoder's positions. Nothing is
    padded to that length.

    Raises:
        ConfigurationError: a package that vLLM needs for the model is not installed.
    """
    require_packages(files, ARCHITECTURES)
    return Limits(min([LONGEST_S, *_chunks_s(files)]), min(_positions(files.read("config.json")), default=None))


def _chunks_s(files: Files) -> Iterator[float]:
    for name in ("preprocessor_config.json", "processor_config.json"):
        described = files.read(name) if name in files else {}
        for extractor in (described, described.get("feature_extractor") or {}):
            if chunk_s := extractor.get("chunk_length"):
                yield float(chunk_s)


def _positions(config: Mapping[str, Any]) -> Iterator[int]:
    thinker = config.get("thinker_config") or {}
    for part in (config, config.get("text_config") or {}, thinker.get("text_config") or {}):
        for name in ("max_position_embeddings", "max_target_positions"):
            if positions := part.get(name):
                yield positions


FAMILY = Family(
    runtimes={"vllm": "config.json"},
    abilities=Abilities(longest_window_s=LONGEST_S, language_methods=("token",)),
    max_pause_s=5.0,  # nothing is padded, so that a pause costs as much as speech
    limits=limits,
    files=("config.json", "preprocessor_config.json", "processor_config.json"),
    description="config.json with an architecture that vLLM transcribes with",
    matches=matches,
    weights=("model.safetensors", "model-*-of-*.safetensors", "pytorch_model*.bin"),
    untold="but for Qwen3-ASR, these models score no languages: the text alone tells its language",
)
