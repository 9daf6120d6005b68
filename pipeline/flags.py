"""The flags of a job: how `--help` shows them, and what it says to one that does not exist."""

from __future__ import annotations

import argparse
import difflib
import inspect
import json
import re
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_settings import CliSettingsSource

from pipeline import __version__
from pipeline.errors import ConfigurationError
from pipeline.settings import TEXTS, JobSettings, Settings

# The settings that most runs need, in the order in which `--help` shows them.
COMMON = (
    "input",
    "output",
    "question",
    "preset",
    "task",
    "over",
    "engine.model",
    "engine.device",
    "language.expected",
    "channels",
    "words",
    "speakers",
    "dry_run",
    "limit",
    "run_id",
    "config",
)
METAVARS = {
    "answers": "URI",
    "audio_base": "URL",
    "input": "URI",
    "output": "URI",
    "question": "TEXT",
    "engine.family": "NAME",  # its choices are too many for one line
    "engine.server": "URL",
    "engine.vllm": "KEY=VALUE",
}
METAVAR_OF_TYPE = {bool: "", int: "N", float: "NUMBER", str: "NAME", Path: "PATH"}
WIDEST_HELP = 110
SIMILAR = 0.7  # of difflib's ratio, from where on a name is taken for a misspelling of another


@dataclass(frozen=True)
class Setting:
    """One setting. `key` is its path (engine.max_num_seqs), `group` the part of `--help` that shows it."""

    key: str
    group: str
    field: FieldInfo

    @property
    def flag(self) -> str:
        return flag_of(self.key)

    @property
    def is_list(self) -> bool:
        return any(get_origin(kind) is tuple for kind in _kinds(self.field.annotation))

    @property
    def choices(self) -> list[str]:
        """The values it may have, where they can be counted."""
        found: list[str] = []
        for kind in _kinds(self.field.annotation):
            for member in _kinds(get_args(kind)[0]) if get_origin(kind) is tuple else [kind]:
                if get_origin(member) is Literal:
                    found += map(str, get_args(member))
                elif isinstance(member, type) and issubclass(member, Enum):
                    found += [str(value) for value in member]
        return found

    @property
    def unit(self) -> str:
        """The unit that ends its description: "[seconds]"."""
        found = re.search(r"\[([^]]+)\]$", (self.field.description or "").strip())
        return found[1] if found else ""

    @property
    def metavar(self) -> str:
        if self.key in METAVARS or self.is_list:
            return METAVARS.get(self.key, "LIST")
        if self.choices:
            return "{" + ",".join(self.choices) + "}"
        if self.unit and " " not in self.unit:
            return self.unit.upper()
        return next(METAVAR_OF_TYPE[kind] for kind in _kinds(self.field.annotation) if kind in METAVAR_OF_TYPE)

    @property
    def help(self) -> str:
        text = " ".join((self.field.description or "").split())
        if self.unit.upper() == self.metavar:
            text = text.removesuffix(f"[{self.unit}]").strip()
        if self.choices and (self.is_list or self.key in METAVARS):
            text += f" Any of: {', '.join(self.choices)}."
        default = self.field.default
        if self.field.is_required():
            text += " (required)"
        elif self.is_list and default:
            text += f" (default: {','.join(map(str, default))})"
        elif default is not None and default is not False and default != ():
            text += f" (default: {default:g})" if isinstance(default, float) else f" (default: {default})"
        return text.replace("%", "%%")


def _kinds(annotation: Any) -> list[Any]:
    """The members of a union but None, or the one type that it is."""
    if isinstance(annotation, type) or get_origin(annotation) in (tuple, Literal):
        return [annotation]
    return [member for member in get_args(annotation) if member is not type(None)]


def settings_of(kind: type[BaseModel], above: str = "") -> Iterator[Setting]:
    """Every setting of a job, those of its groups among them."""
    for name, field in kind.model_fields.items():
        model = field.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            yield from settings_of(model, f"{above}{name}.")
            continue
        key = f"{above}{name}"
        yield Setting(key, "common" if key in COMMON else above.rstrip(".") or _job_of(kind, name), field)


def _job_of(kind: type[BaseModel], name: str) -> str:
    """The job that has brought a setting to those of `kind`; what several jobs derive from is none."""
    bases = [base for base in reversed(kind.__mro__) if issubclass(base, BaseModel)]
    first = next(at for at, base in enumerate(bases) if name in inspect.get_annotations(base))
    owner = next(base for base in bases[first:] if base in (Settings, kind) or _prog(base) != _prog(Settings))
    return "run" if owner is Settings else owner.__name__.lower()


def _prog(kind: type[BaseModel]) -> Any:
    return kind.model_config.get("cli_prog_name")


class _Parser(argparse.ArgumentParser):
    """Fails with ConfigurationError, and names the flag that may have been meant."""

    def __init__(self, known: Sequence[str], **given: Any) -> None:
        super().__init__(**given)
        self._known = known  # keys of settings

    def parse_args(self, *given: Any) -> argparse.Namespace:  # pyright: ignore[reportIncompatibleMethodOverride]
        parsed, unknown = self.parse_known_args(*given)
        problems, is_value = [], False
        for word in unknown:
            if word.startswith("-"):
                name = word.partition("=")[0]
                meant = similar(name.lstrip("-"), self._known)
                problems.append(f"there is no {name} ({did_you_mean(meant and flag_of(meant))})")
            elif not is_value:
                meant = "input" if "input" in self._known else "output"
                problems.append(f"unexpected argument {word} (did you mean --{meant} {word}?)")
            is_value = word.startswith("-") and "=" not in word
        if problems:
            raise ConfigurationError("; ".join(problems))
        return parsed

    def error(self, message: str) -> NoReturn:
        message = message.removeprefix("argument ").replace(": expected one argument", " needs a value")
        message = re.sub(r": ignored explicit argument (.*)", r" takes no value, but has \1", message)
        raise ConfigurationError(f"{message} (see --help)")


def flag_of(key: str) -> str:
    """The flag of a setting: --engine.model."""
    return f"--{key.replace('_', '-')}"


def variable_of(kind: type[JobSettings], key: str) -> str:
    """The environment variable of a setting: VOXTRAL_ENGINE__MODEL."""
    return f"{kind.model_config.get('env_prefix', '')}{key.replace('.', '__')}".upper()


def similar(wrong: str, known: Sequence[str]) -> str | None:
    """The setting that somebody may have meant, by its key: spelled alike, or with a group before it (model:
    engine.model), or the first of a group (language: language.expected)."""
    names = {key.partition(".")[0]: key for key in reversed(known)}
    names |= {key.rpartition(".")[2]: key for key in reversed(known)} | {key: key for key in known}
    found = difflib.get_close_matches(wrong.replace("-", "_").lower(), list(names), 1, SIMILAR)
    return names[found[0]] if found else None


def did_you_mean(name: str | None) -> str:
    """What to say to an unknown name, with the one that may have been meant."""
    return f"did you mean {name}?" if name else "see --help"


def _width() -> int:
    return min(shutil.get_terminal_size().columns - 2, WIDEST_HELP)


def _filled(paragraphs: str) -> str:
    return "\n\n".join(textwrap.fill(" ".join(text.split()), _width()) for text in paragraphs.split("\n\n"))


def _parser(kind: type[JobSettings], settings: Sequence[Setting]) -> _Parser:
    """A parser without flags, whose help says what the job does and how settings are given."""
    described, _, examples = inspect.cleandoc(kind.__doc__ or "").partition("\nExamples:\n")
    keys = [each.key for each in settings]
    variable = variable_of(kind, "engine.model" if "engine.model" in keys else keys[-1])
    file = ", else from the YAML file that --config names" if "config" in keys else ""
    ways = f"Settings come from these flags, else from environment variables such as {variable}{file}."
    ways += " A list is written a,b." + (" --no-verbose turns --verbose off, and so on." if "verbose" in keys else "")
    required = [f"{each.flag} {each.metavar}" for each in settings if each.field.is_required()]
    return _Parser(
        keys,
        prog=kind.model_config.get("cli_prog_name"),
        usage=" ".join(["%(prog)s", *required, "[options]"]),
        description=_filled(described),
        epilog=_filled(ways) + (f"\n\nexamples:\n\n{examples.strip(chr(10))}" if examples else ""),
        formatter_class=partial(argparse.RawDescriptionHelpFormatter, width=_width(), max_help_position=32),
        add_help=False,
        allow_abbrev=False,
    )


class _Source(CliSettingsSource[_Parser]):
    """Takes texts as they are: pydantic-settings parts all lists at commas."""

    def _resolve_parsed_args(self, parsed_args: dict[str, list[str] | str]) -> list[str]:
        for each in settings_of(self.settings_cls):
            if TEXTS in each.field.metadata and each.key in parsed_args:
                parsed_args[each.key] = json.dumps(parsed_args[each.key])
        return super()._resolve_parsed_args(parsed_args)


def source_of(kind: type[JobSettings], settings: Sequence[Setting]) -> CliSettingsSource[_Parser]:
    """What pydantic-settings reads flags with; its parser has them in groups, the common ones first."""
    found: dict[str, dict[str, Any]] = {}

    def note(_: Any, *names: str, **options: Any) -> None:
        found[options.get("dest", "")] = options

    source = _Source(
        kind,
        root_parser=_parser(kind, settings),
        parse_args_method=_Parser.parse_args,
        add_argument_method=note,
        add_argument_group_method=lambda parser, **_: parser,
    )
    names = list(dict.fromkeys(["common", *(each.group for each in settings)]))
    names.sort(key=lambda name: (name != "common", name in kind.model_fields, name == "run"))  # else as they come
    for name in names:
        model = kind.model_fields[name].annotation if name in kind.model_fields else None
        group = source.root_parser.add_argument_group(name, _filled(inspect.getdoc(model) or "") if model else None)
        inside = [each for each in settings if each.group == name]
        if name == "common":
            inside.sort(key=lambda each: COMMON.index(each.key))
        for each in inside:
            options: dict[str, Any] = {"dest": each.key, "default": argparse.SUPPRESS}
            text = argparse.SUPPRESS if each.key in kind.refused else each.help
            if found[each.key].get("action") is argparse.BooleanOptionalAction:
                group.add_argument(each.flag, action="store_true", help=text, **options)
                off = f"--no-{each.flag.removeprefix('--')}"
                group.add_argument(off, action="store_false", help=argparse.SUPPRESS, **options)
            else:
                action = found[each.key].get("action", "store")
                group.add_argument(each.flag, action=action, metavar=each.metavar, help=text, **options)
        if name == "common":
            group.add_argument("--version", action="version", version=f"voxtral-batch {__version__}", help="Print it.")
            group.add_argument("-h", "--help", action="help", help="Print this help.")
    return source
