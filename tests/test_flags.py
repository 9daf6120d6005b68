"""`--help` of every job, by its structure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from infra import settings_page
from jobs import __main__ as jobs
from pipeline import __version__, command_line
from pipeline.evaluation.settings import Evaluation, FleursEvaluation
from pipeline.exports.files import Export
from pipeline.flags import COMMON, flag_of, settings_of, similar, variable_of
from pipeline.nightly import Nightly
from pipeline.run_page.page import Page
from pipeline.settings import JobSettings, Settings
from pipeline.tasks.ask.settings import AskSettings
from pipeline.tidy import Tidy

NESTED = ["audio", "segmentation", "engine", "language", "guards", "alignment", "diarization"]
KINDS = [Settings, AskSettings, Evaluation, FleursEvaluation, Nightly, Export, Tidy, Page]
every_job = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


@dataclass(frozen=True)
class Help:
    """A job's help: what stands before its groups, the flags of each group, the text of each flag."""

    text: str
    usage: str
    groups: dict[str, list[str]]
    metavars: dict[str, str]
    about: dict[str, str]


@pytest.fixture
def help_of(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    def read(kind: type[JobSettings], columns: int = 100) -> Help:
        monkeypatch.setenv("COLUMNS", str(columns))
        with pytest.raises(SystemExit) as stopped:
            command_line.load(["--help"], kind)
        assert stopped.value.code == 0
        text = capsys.readouterr().out
        groups: dict[str, list[str]] = {}
        metavars, about = dict[str, str](), dict[str, str]()
        for line in text.partition("\nexamples:")[0].splitlines():
            if found := re.match(r"^([a-z]+):$", line):
                groups[found[1]] = []
            elif found := re.match(r"^  (?:-h, )?(--\S+)(?: (\S+))?(?:\s{2,}(.*))?$", line):
                list(groups.values())[-1].append(flag := found[1])
                metavars[flag], about[flag] = found[2] or "", found[3] or ""
            elif groups and (list(groups.values())[-1]) and line.startswith(" " * 16):
                last = list(groups.values())[-1][-1]
                about[last] = f"{about[last]} {line.strip()}".strip()
        return Help(text, text.split("\n\n")[0], groups, metavars, about)

    return read


def described(kind: type[JobSettings]) -> list[str]:
    return [each.flag for each in settings_of(kind)]


def prog_of(kind: type[JobSettings]) -> str:
    return kind.model_config.get("cli_prog_name") or ""


@every_job
def test_every_setting_is_shown_once_in_a_group(kind: type[JobSettings], help_of) -> None:
    found = help_of(kind)
    shown = [flag for flags in found.groups.values() for flag in flags]
    refused = set(map(flag_of, kind.refused))
    assert refused <= set(described(kind))
    assert sorted(shown) == sorted([*(set(described(kind)) - refused), "--help", "--version"])
    assert all(each.field.description for each in settings_of(kind))


@every_job
@pytest.mark.parametrize("columns", [60, 80, 200])
def test_types_are_written_for_people_and_lines_fit(kind: type[JobSettings], columns: int, help_of) -> None:
    found = help_of(kind, columns)
    for word in ("tuple", "Annotated", "LanguageAlpha2", "FailureCode", "None", "str", "int", "float", "Literal"):
        assert not re.search(rf"\b{word}\b", found.text), word
    assert set(found.metavars.values()) <= {
        *(
            "",
            "URI",
            "URL",
            "NAME",
            "TEXT",
            "LIST",
            "PATH",
            "N",
            "NUMBER",
            "SECONDS",
            "HOURS",
            "MB",
            "GB",
            "TOKENS",
            "KEY=VALUE",
        ),
        *(choices for choices in found.metavars.values() if re.fullmatch(r"\{[\w,-]+\}", choices)),
    }
    longest = max(columns, 80)
    assert all(len(line) <= longest for line in found.text.partition("\nexamples:")[0].splitlines())


@every_job
def test_the_usage_is_one_line_of_what_is_required(kind: type[JobSettings], help_of) -> None:
    usage = help_of(kind).usage
    assert re.fullmatch(r"usage: python -m jobs\.\w+( --input URI)? --output URI \[options\]", usage)
    assert usage.split()[3] == prog_of(kind).split()[2]


def test_the_common_settings_come_first(help_of) -> None:
    found = help_of(Settings)
    assert list(found.groups) == ["common", "run", *NESTED]
    assert found.groups["common"] == [
        *(x for x in map(flag_of, COMMON) if x in described(Settings)),
        "--version",
        "--help",
    ]
    assert found.metavars["--engine.model"] == "NAME"
    assert found.metavars["--engine.device"] == "{auto,gpu,cpu}"
    assert found.metavars["--language.expected"] == "LIST"
    assert found.metavars["--config"] == "PATH"
    assert found.metavars["--audio.stall-timeout-s"] == "SECONDS"
    assert found.metavars["--audio.memory-limit-mb"] == "MB"
    assert found.metavars["--guards.max-chars-per-s"] == "NUMBER"
    assert found.metavars["--dry-run"] == ""


def test_what_to_ask_is_common(help_of) -> None:
    found = help_of(AskSettings)
    assert list(found.groups) == ["common", "run", *NESTED]
    assert {"--question", "--preset", "--task", "--over"} <= set(found.groups["common"])
    assert not {"--words", "--channels"} & set(found.groups["common"]), "they are about transcripts"
    assert found.metavars["--question"] == "TEXT"
    assert help_of(Nightly).groups["common"][2:4] == ["--task", "--over"]


@pytest.mark.parametrize(
    ("kind", "group", "flags"),
    [
        (Nightly, "nightly", ["--max-engine-hours"]),
        (Evaluation, "evaluation", ["--dataset", "--configs", "--split", "--sample"]),
        (FleursEvaluation, "evaluation", ["--configs", "--split", "--sample"]),
        (Export, "export", ["--formats"]),
    ],
)
def test_a_jobs_own_settings_follow_the_common_ones(
    kind: type[JobSettings], group: str, flags: Sequence[str], help_of
) -> None:
    groups = help_of(kind).groups
    assert next(name for name in groups if name != "common") == group
    assert set(flags) <= set(groups[group])


@every_job
def test_a_default_is_shown_once(kind: type[JobSettings], help_of) -> None:
    found = help_of(kind)
    for each in (each for each in settings_of(kind) if each.key not in kind.refused):
        text, default = found.about[each.flag], each.field.default
        assert len(re.findall(r"[Dd]efault: |\(required\)", text)) <= 1, each.flag
        if each.field.is_required():
            assert text.endswith("(required)")
        elif default not in (None, False, ()):
            assert re.search(r"\(default: [^()]+\)$", text), each.flag


def test_defaults_and_choices_of_lists(help_of) -> None:
    found = help_of(Settings, 300)
    assert found.about["--language.expected"].endswith("(default: en,es,fr,pt,hi,de,nl,it)")
    assert found.about["--audio.max-duration-s"].endswith("reported as too_long. (default: 43200)")
    assert "Any of: failed, invalid_row, duplicate_id, " in found.about["--retry"]
    assert (
        help_of(Export)
        .about["--formats"]
        .endswith("vtt-words, txt, json, ctm, rttm, stm, nemo, audiofolder, html. (default: srt,vtt,txt,json)")
    )


@every_job
def test_help_has_examples_of_this_job(kind: type[JobSettings], help_of) -> None:
    examples = help_of(kind).text.partition("\nexamples:\n")[2]
    commands = examples.replace("\\\n", " ").strip().splitlines()
    for command in commands:
        assert command.strip().startswith(f"{prog_of(kind)} ")
        command_line.load(shlex.split(command)[3:], kind)  # each parses
    assert commands


def test_a_switch_is_turned_off_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXTRAL_VERBOSE", "true")
    needed = ["--input", "in", "--output", "out"]
    assert command_line.load(needed).verbose
    assert not command_line.load([*needed, "--no-verbose"]).verbose
    assert command_line.load([*needed, "--engine.elastic"]).engine.elastic


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        command_line.load(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"voxtral-batch {__version__}\n"


def test_the_jobs_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert jobs.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line.split()[2] for line in lines[:-1]) == sorted(
        ["jobs.check", "jobs.show", *(prog_of(kind).split()[2] for kind in KINDS)]
    )


def test_a_job_is_run_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    """As the command voxtral-batch does."""
    assert jobs.main(["transcribe", "--input"]) == 2
    assert "--input needs a value" in capsys.readouterr().err
    assert jobs.main(["transcrib"]) == 2
    assert capsys.readouterr().err == "error: there is no job transcrib (did you mean transcribe?)\n"


def test_the_page_of_settings_is_that_of_the_code() -> None:
    assert settings_page.PAGE.read_text("utf-8") == settings_page.page(), "stale: make docs"


def test_names() -> None:
    assert (flag_of("engine.max_num_seqs"), variable_of(Settings, "engine.model")) == (
        "--engine.max-num-seqs",
        "VOXTRAL_ENGINE__MODEL",
    )
    assert similar("engine-model", ["engine.model", "input"]) == "engine.model"
    assert similar("quite-different", ["engine.model", "input"]) is None
