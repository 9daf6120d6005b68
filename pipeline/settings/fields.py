"""What all settings have in common: how lists are written, and sections that nothing changes."""

from __future__ import annotations

from typing import Any, get_origin

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic_core import from_json

TEXTS = "texts"  # in a field's annotation: a list of texts, whose commas are their own


def as_list(cls: type[BaseModel], value: Any, info: ValidationInfo) -> Any:
    """Lists may be written a,b (or as JSON: ["a", "b"]) in flags, environment and YAML alike."""
    field = cls.model_fields[info.field_name or ""]
    if not isinstance(value, str) or get_origin(field.annotation) is not tuple:
        return value
    if value.lstrip().startswith("["):
        try:
            return from_json(value)
        except ValueError as error:
            raise ValueError(f"{value:.80} is not a list: write a,b") from error
    return (value,) if TEXTS in field.metadata else tuple(part.strip() for part in value.split(",") if part.strip())


class Section(BaseModel):
    """Settings that belong together."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    _lists = field_validator("*", mode="before")(as_list)
