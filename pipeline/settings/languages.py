"""The languages of settings: ISO 639-1 codes."""

from __future__ import annotations

import re
from typing import Annotated, Any

import pycountry
from pydantic import BeforeValidator, TypeAdapter, ValidationError
from pydantic_extra_types.language_code import LanguageAlpha2

from pipeline.text import writable

# The languages of Voxtral's model card.
LANGUAGES = tuple(map(LanguageAlpha2, "en es fr pt hi de nl it".split()))
OF_MODELS = {"nb": "no"}  # what models and detectors call a language that has two codes
_ALPHA2 = TypeAdapter(LanguageAlpha2)  # what mistral_common accepts in a prompt


def primary_language(tag: Any) -> LanguageAlpha2:
    """The ISO 639-1 code of a BCP 47 tag, which is its primary subtag: "en-US" and "eng" -> "en".

    Raises:
        ValueError: it has none; the message names the code where the tag is a language's English name.
    """
    try:
        code = re.split("[-_]", tag.strip())[0].lower()
        found = pycountry.languages.get(alpha_3=code) if len(code) == 3 else None
        code = getattr(found, "alpha_2", code)
        return _ALPHA2.validate_python(OF_MODELS.get(code, code))
    except (AttributeError, ValidationError) as error:
        named = pycountry.languages.get(name=str(tag).strip().title())
        wanted = getattr(named, "alpha_2", "use ISO 639-1, such as en")
        raise ValueError(f"{writable(str(tag)):.80} is not a language code: {wanted}") from error


LanguageCode = Annotated[LanguageAlpha2, BeforeValidator(primary_language)]
