"""Make docs/settings.md from the settings of the jobs: `make docs`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.flags import Setting, settings_of, variable_of
from pipeline.settings import JobSettings, Settings
from pipeline.tasks.ask.settings import AskSettings

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"
HEAD = """# Settings

All settings of `jobs.transcribe`, and those that `jobs.ask` has beside them; other jobs list theirs with `--help`. This
page is made from the code: `make docs`.

A flag takes precedence over the environment, and the environment over the YAML file that `--config` names
([operations.md](operations.md#settings)). The YAML key `engine.model` is written `engine: {model: ...}`. A list is
written `a,b`, in YAML also `[a, b]`. A switch such as `--dry-run` is `true` or `false` in the environment and in YAML,
and `--no-dry-run` turns it off.
"""
COLUMNS = "| flag | environment | YAML | default | unit | |\n|---|---|---|---|---|---|"


def page() -> str:
    """The page as Markdown."""
    transcribe = list(settings_of(Settings))
    known = {each.key for each in transcribe}
    ask = [each for each in settings_of(AskSettings) if each.key not in known]
    return "\n".join([HEAD, *_sections(Settings, transcribe), *_section(AskSettings, "jobs.ask", ask)]) + "\n"


def _sections(kind: type[JobSettings], settings: Sequence[Setting]) -> Iterator[str]:
    for group in dict.fromkeys(each.group for each in settings):
        model = kind.model_fields[group].annotation if group in kind.model_fields else None
        yield from _section(kind, group, [each for each in settings if each.group == group], inspect.getdoc(model))


def _section(kind: type[JobSettings], title: str, settings: Sequence[Setting], about: str | None = None) -> list[str]:
    rows = [f"| {' | '.join(_cells(kind, each))} |" for each in settings]
    return [f"## {title}\n", *([f"{about}\n"] if about else []), COLUMNS, *rows, ""]


def _cells(kind: type[JobSettings], setting: Setting) -> Iterator[str]:
    yield f"`{setting.flag}`"
    yield f"`{variable_of(kind, setting.key)}`"
    yield f"`{setting.key}`" if setting.key != "config" else ""
    yield _default(setting)
    yield setting.unit
    text = " ".join((setting.field.description or "").split()).removesuffix(f"[{setting.unit}]").strip()
    if setting.choices:
        text += f" {'Any' if setting.is_list else 'One'} of: {', '.join(setting.choices)}."
    yield text.replace("|", "\\|")


def _default(setting: Setting) -> str:
    value = setting.field.default
    if setting.field.is_required():
        return "required"
    if value is None or value == ():
        return ""
    if isinstance(value, tuple):
        return f"`{','.join(map(str, value))}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
