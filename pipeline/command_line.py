"""Reading a job's settings, and one line for whatever is wrong with them."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsError

from pipeline.errors import ConfigurationError
from pipeline.flags import SIMILAR, Setting, did_you_mean, flag_of, settings_of, similar, source_of, variable_of
from pipeline.redaction import redacted
from pipeline.settings import JobSettings, Settings
from pipeline.settings.job import OF_FILE

# Of the environment variables of all jobs.
JOB_PREFIXES = ("VOXTRAL_", "VOXTRAL_EXPORT_", "VOXTRAL_TIDY_", "VOXTRAL_REPORT_")
# Variables of this prefix that other code reads: the lease, and processes of vLLM.
NO_SETTINGS = {"VOXTRAL_JOB_ID", "VOXTRAL_END_WITH_PARENT"}
# Kubernetes sets these in every pod for each service of its namespace: VOXTRAL_ABCDE_HEAD_SVC_PORT_8265_TCP_ADDR.
OF_KUBERNETES = re.compile(r".*_(SERVICE_(HOST|PORT\w*)|PORT(_\d+_(TCP|UDP|SCTP)\w*)?)")
# What is wrong with a value, by pydantic's type of the error.
REASONS = {
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "too_short": "must name one or more",
    "tuple_type": "must be a list",
    "model_type": "must hold settings by name",
    "value_error": "{error}",
}

Job = TypeVar("Job", bound=JobSettings)


def load(arguments: Sequence[str], kind: type[Job] = Settings) -> Job:
    """A job's settings from command line arguments, environment and YAML file; `--help` prints and exits.

    Raises:
        ConfigurationError: naming each setting that is missing, unknown or out of its limits.
    """
    settings = list(settings_of(kind))
    source = source_of(kind, settings)
    try:
        source(args=list(arguments))
    except SettingsError as error:  # quotes or brackets that have no end
        raise ConfigurationError(f"{error} (see --help)") from error
    path = source.env_vars.get("config") or _environment().get(variable_of(kind, "config"))
    content = _content(Path(path)) if path and "config" in kind.model_fields else {}
    problems = [f"--config {path}: {problem}" for problem in _unknown_keys(content, settings)]
    problems += _unknown_variables(kind, settings)
    if problems:
        raise ConfigurationError("; ".join(problems))

    def place(key: str) -> str:
        in_file = f"--config {path}: {key}"
        return flag_of(key) if key in source.env_vars else _variable(kind, key) or in_file

    of_file = OF_FILE.set(content)
    try:
        made = kind(_cli_settings_source=source)  # pyright: ignore[reportCallIssue]
    except ValidationError as error:
        raise ConfigurationError(_explain(error, settings, place, flag_of)) from error
    finally:
        OF_FILE.reset(of_file)
    if given := [x.key for x in settings if x.key in kind.refused and attrgetter(x.key)(made) != x.field.default]:
        raise ConfigurationError("; ".join(f"{place(key)}: is not for this job; leave it out" for key in given))
    return made


def given(kind: type[Job], facts: Mapping[str, Any]) -> Job:
    """A job's settings from Python: by name, groups as mappings; and those of the environment.

    Raises:
        ConfigurationError: as `load`.
    """
    try:
        return kind(**facts)
    except ValidationError as error:

        def place(key: str) -> str:
            group, _, name = key.partition(".")
            own = facts.get(group)
            is_own = name in own if isinstance(own, Mapping) and name else group in facts
            return key if is_own else _variable(kind, key) or key

        raise ConfigurationError(_explain(error, list(settings_of(kind)), place, str)) from error


def _content(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text("utf-8")) or {}
    except OSError as error:
        raise ConfigurationError(f"--config {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--config {path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"--config {path}: must hold settings by name, not {content!r:.80}")
    return {str(name): value for name, value in content.items()}


def _unknown_keys(content: Mapping[Any, Any], settings: Sequence[Setting], above: str = "") -> Iterator[str]:
    """What is wrong with the names in a YAML file."""
    known = [each.key for each in settings]
    for name, value in content.items():
        key = f"{above}{name}"
        if any(each.startswith(f"{key}.") for each in known) and isinstance(value, Mapping):
            yield from _unknown_keys(value, settings, f"{key}.")
        elif "." in str(name):
            group, _, rest = str(name).partition(".")
            yield f"write {group}: {{{rest}: ...}} in place of {name}"
        elif key not in known and not any(each.startswith(f"{key}.") for each in known):
            yield f"there is no setting {key} ({did_you_mean(similar(key, known))})"


def _unknown_variables(kind: type[JobSettings], settings: Sequence[Setting]) -> Iterator[str]:
    """What is wrong with the names in the environment that begin as this job's settings do."""
    prefix = kind.model_config.get("env_prefix", "")
    others = [each for each in JOB_PREFIXES if each != prefix and each.startswith(prefix)]
    known = {variable_of(kind, each.key): each.key for each in settings}
    for name in sorted(_environment()):
        if not name.startswith(prefix) or name.startswith(tuple(others)) or name in known or name in NO_SETTINGS:
            continue
        if not OF_KUBERNETES.fullmatch(name):
            meant = similar(name.removeprefix(prefix).replace("__", "."), list(known.values()))
            yield f"{name} in the environment is no setting ({did_you_mean(meant and variable_of(kind, meant))})"


def _variable(kind: type[JobSettings], key: str) -> str | None:
    """The environment variable that holds a setting, where there is one."""
    name = variable_of(kind, key)
    return name if name in _environment() else None


def _environment() -> dict[str, str]:
    """The environment, its names in upper case: pydantic takes either."""
    return {name.upper(): value for name, value in os.environ.items()}


def _explain(
    error: ValidationError, settings: Sequence[Setting], place: Callable[[str], str], name: Callable[[str], str]
) -> str:
    """What is wrong with each setting: the `place` where it was given, or the `name` of one that is missing; its value;
    the reason."""
    by_key, found = {each.key: each for each in settings}, dict[str, list[str]]()
    for problem in error.errors():
        parts = [str(part) for part in problem["loc"]]
        key = next((".".join(parts[:end]) for end in (2, 1) if ".".join(parts[:end]) in by_key), ".".join(parts))
        if problem["type"] == "missing":
            found.setdefault(key, []).append(f"{name(key)} is missing")
            continue
        value = "" if problem["type"] in ("value_error", "too_short") else f" {redacted(str(problem['input'])):.80}"
        if problem["type"] != "too_short" or key not in found:  # a list whose values are wrong is empty, too
            found.setdefault(key, []).append(f"{place(key)}{value}: {_reason(problem, by_key.get(key))}")
    return "; ".join(dict.fromkeys(line for lines in found.values() for line in lines))


def _reason(problem: ErrorDetails, setting: Setting | None) -> str:
    if setting and setting.choices and problem["type"] != "value_error":
        meant = difflib.get_close_matches(str(problem["input"]), setting.choices, 1, SIMILAR)
        hint = f"did you mean {meant[0]}? It " if meant else ""
        return f"{hint}must be one of {', '.join(setting.choices)}"
    return REASONS.get(problem["type"], problem["msg"]).format_map(problem.get("ctx", {}))
