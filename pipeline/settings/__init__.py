"""Every setting of a job, from flags, environment and a YAML file, in that order of precedence."""

from pipeline.settings.engine import Engine
from pipeline.settings.fields import TEXTS
from pipeline.settings.job import JobSettings, Settings
from pipeline.settings.languages import LANGUAGES, LanguageCode, primary_language
from pipeline.settings.sections import Alignment, Audio, Diarization, Guards, Language, NamedModel, Segmentation

__all__ = [
    "LANGUAGES",
    "TEXTS",
    "Alignment",
    "Audio",
    "Diarization",
    "Engine",
    "Guards",
    "JobSettings",
    "Language",
    "LanguageCode",
    "NamedModel",
    "Segmentation",
    "Settings",
    "primary_language",
]
