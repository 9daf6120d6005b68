"""The models that find the times of words, as the settings name them."""

from __future__ import annotations

from pipeline.alignment import loading
from pipeline.alignment.by_language import ByLanguage
from pipeline.alignment.protocol import Aligner
from pipeline.errors import ConfigurationError
from pipeline.models import checkpoint
from pipeline.settings import NamedModel, Settings

# 74 million parameters, 99 languages, Apache-2.0; what is known of its times is in docs/words.md.
DEFAULT = NamedModel("openai/whisper-base", None)


def fit(settings: Settings) -> Settings:
    """The settings, with the aligners' places and revisions resolved.

    Raises:
        ConfigurationError: one is not there, cannot align, or takes shorter windows.
    """
    named, revision = settings.alignment.by_language, settings.alignment.revision
    if revision and (None not in named) and (named or not settings.words):
        raise ConfigurationError(
            f"--alignment.revision {revision}: is of --alignment.model, with --words; --alignment.models takes"
            " NAME@REVISION"
        )
    if not settings.words:
        for language, one in named.items():
            raise ConfigurationError(f"{_flag(language)} {one.model}: is for --words, which is not there")
        return settings
    if settings.language.translate:
        raise ConfigurationError("--words: the words of a translation are not in the audio; leave it out")
    named = named or {None: DEFAULT._replace(revision=revision)}
    found = {language: _identified(settings, language, one) for language, one in named.items()}
    model, revision = found.pop(None, (None, None))
    models = tuple(f"{language}={one.model}@{one.revision}" for language, one in found.items())
    chosen = settings.alignment.model_copy(update={"model": model, "revision": revision, "models": models})
    return settings.model_copy(update={"alignment": chosen})


def load(settings: Settings) -> Aligner | None:
    """What the settings of `fit` ask for, each model once, beside the engine: on its GPU, or on the CPU."""
    if not settings.words:
        return None
    on_gpu = settings.engine.device == "gpu" and not settings.engine.server
    named, loaded = settings.alignment.by_language, {}
    for language, one in named.items():
        if one not in loaded:
            config = checkpoint.identify(_flag(language), *one)[2]
            loaded[one] = loading.load(config, one.model, "cuda" if on_gpu else "cpu", one.revision)
    return ByLanguage({language: loaded[one] for language, one in named.items()})


def _identified(settings: Settings, language: str | None, named: NamedModel) -> NamedModel:
    flag = f"{_flag(language)} {named.model}"
    model, revision, config = checkpoint.identify(_flag(language), *named)
    if not (kind := loading.kind(config)):
        raise ConfigurationError(
            f"{flag}: no CTC, Whisper or Qwen3-ForcedAligner model, by the architectures in its config"
        )
    window_s, longest_s = settings.segmentation.max_window_s or 0.0, loading.LONGEST_S[kind]
    if window_s > longest_s:
        raise ConfigurationError(
            f"{flag}: takes windows of at most {longest_s:g} s, and these have up to {window_s:g} s:"
            f" --segmentation.max-window-s {longest_s:g}"
        )
    return NamedModel(model, revision)


def _flag(language: str | None) -> str:
    return f"--alignment.models {language}:" if language else "--alignment.model"
