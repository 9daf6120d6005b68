"""What a job says of settings that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import command_line
from pipeline.errors import ConfigurationError
from pipeline.evaluation.settings import FleursEvaluation
from pipeline.exports.files import Export
from pipeline.nightly import Nightly
from pipeline.settings import JobSettings, Settings
from pipeline.tasks.ask.settings import AskSettings

NEEDED = ["--input", "in", "--output", "out"]


def said(arguments: list[str], kind: type[JobSettings] = Settings) -> str:
    with pytest.raises(ConfigurationError) as caught:
        command_line.load(arguments, kind)
    return str(caught.value)


def said_of(given: str) -> str:
    return said([*NEEDED, *given.split()])


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("--model x", "there is no --model (did you mean --engine.model?)"),
        ("--engine.modl x", "there is no --engine.modl (did you mean --engine.model?)"),
        ("--engine.modl=x", "there is no --engine.modl (did you mean --engine.model?)"),
        ("--run_id x", "there is no --run_id (did you mean --run-id?)"),
        ("--dryrun", "there is no --dryrun (did you mean --dry-run?)"),
        ("--language en", "there is no --language (did you mean --language.expected?)"),
        ("--limi 3", "there is no --limi (did you mean --limit?)"),
        ("--nope 1", "there is no --nope (see --help)"),
        ("calls/", "unexpected argument calls/ (did you mean --input calls/?)"),
        ("--limit", "--limit needs a value (see --help)"),
        ("--dry-run=yes", "--dry-run takes no value, but has 'yes' (see --help)"),
        (
            "--modl x --limt 3 calls/",
            "there is no --modl (did you mean --engine.model?); there is no --limt (did you mean --limit?);"
            " unexpected argument calls/ (did you mean --input calls/?)",
        ),
    ],
)
def test_a_flag_that_does_not_exist(given: str, line: str) -> None:
    assert said_of(given) == line


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("--language.expected english", "--language.expected: english is not a language code: en"),
        ("--language.expected en,xx", "--language.expected: xx is not a language code: use ISO 639-1, such as en"),
        ("--language.expected ,", "--language.expected: must name one or more"),
        ("--engine.count 0", "--engine.count 0: must be at least 1"),
        ("--limit x", "--limit x: must be a whole number"),
        ("--limit 1.5", "--limit 1.5: must be a whole number"),
        ("--audio.max-duration-s long", "--audio.max-duration-s long: must be a number"),
        ("--segmentation.overlap-s 6", "--segmentation.overlap-s 6: must be at most 5"),
        ("--max-hours 0", "--max-hours 0: must be more than 0"),
        ("--guards.min-mean-logprob 0", "--guards.min-mean-logprob 0: must be less than 0"),
        ("--guards.retry-temperatures 0.4,9", "--guards.retry-temperatures 9: must be at most 2"),
        ("--channels both", "--channels both: must be one of mix, split"),
        (
            "--engine.dtype bfloat",
            "--engine.dtype bfloat: did you mean bfloat16? It must be one of auto, bfloat16, float16, float32",
        ),
        ("--allow [a", "--allow: [a is not a list: write a,b"),
        (
            "--engine.count 0 --channels both",
            "--channels both: must be one of mix, split; --engine.count 0: must be at least 1",
        ),
    ],
)
def test_a_value_that_cannot_be(given: str, line: str) -> None:
    assert said_of(given) == line


def test_a_misspelled_failure_code_is_one_problem() -> None:
    line = said_of("--retry truncatd")
    assert line.startswith("--retry truncatd: did you mean truncated? It must be one of failed, invalid_row, ")
    assert line.count("--retry") == 1


def test_what_is_missing() -> None:
    assert said([]) == "--input is missing; --output is missing"
    assert said([], Export) == "--input is missing; --output is missing"


def test_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXTRAL_LANGUAGE__EXPECTED", "english")
    monkeypatch.setenv("VOXTRAL_LIMIT", "0")
    monkeypatch.setenv("VOXTRAL_MAX_HOURS", "0")
    assert said_of("--max-hours -1") == (
        "VOXTRAL_LIMIT 0: must be at least 1; --max-hours -1: must be more than 0;"
        " VOXTRAL_LANGUAGE__EXPECTED: english is not a language code: en"
    )


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("VOXTRAL_ENGIN__MODEL", "did you mean VOXTRAL_ENGINE__MODEL?"),
        ("VOXTRAL_ENGINE__MODL", "did you mean VOXTRAL_ENGINE__MODEL?"),
        ("VOXTRAL_MODEL", "did you mean VOXTRAL_ENGINE__MODEL?"),
        ("voxtral_limt", "did you mean VOXTRAL_LIMIT?"),
        ("VOXTRAL_NOPE", "see --help"),
    ],
)
def test_a_variable_that_is_no_setting(name: str, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "x")
    assert said_of("") == f"{name.upper()} in the environment is no setting ({hint})"


def test_variables_of_other_programs_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [
        "VOXTRAL_JOB_ID",
        "VOXTRAL_END_WITH_PARENT",
        "VOXTRAL_EXPORT_FORMATS",
        "VOXTRALX",
        "VOXTRAL_A_SERVICE_PORT",
    ]
    names += ["VOXTRAL_X7_HEAD_SVC_SERVICE_HOST", "VOXTRAL_X7_HEAD_SVC_PORT", "VOXTRAL_X7_HEAD_SVC_PORT_8265_TCP_ADDR"]
    names += ["VOXTRAL_X7_HEAD_SVC_SERVICE_PORT_DASHBOARD", "VOXTRAL_X7_HEAD_SVC_PORT_8265_TCP"]
    for name in names:
        monkeypatch.setenv(name, "x")
    assert command_line.load(NEEDED).input == "in"
    monkeypatch.setenv("VOXTRAL_EXPORT_FORMATS", "srt,txt")
    assert command_line.load(NEEDED, Export).formats == ("srt", "txt")
    monkeypatch.setenv("VOXTRAL_EXPORT_FORMAT", "srt")
    assert said(NEEDED, Export) == (
        "VOXTRAL_EXPORT_FORMAT in the environment is no setting (did you mean VOXTRAL_EXPORT_FORMATS?)"
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("nope: 1\n", "there is no setting nope (see --help)"),
        ("engin: {model: x}\n", "there is no setting engin (did you mean engine.model?)"),
        ("engine: {modl: x}\n", "there is no setting engine.modl (did you mean engine.model?)"),
        ("run-id: x\n", "there is no setting run-id (did you mean run_id?)"),
        ("engine.model: x\n", "write engine: {model: ...} in place of engine.model"),
        ("- 1\n- 2\n", "must hold settings by name, not [1, 2]"),
        ("engine: {count: 0}\n", "engine.count 0: must be at least 1"),
        ("channels: both\n", "channels both: must be one of mix, split"),
        ("limit: [1]\n", "limit [1]: must be a whole number"),
        ("audio: 3\n", "audio 3: must hold settings by name"),
        ("verbose: perhaps\n", "verbose perhaps: must be true or false"),
    ],
)
def test_the_file_is_named(text: str, line: str, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(text)
    found = said([*NEEDED, "--config", str(path)])
    assert found.startswith(f"--config {path}: ")
    assert found.removeprefix(f"--config {path}: ") == line


def test_a_file_that_cannot_be_read_or_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "job.yaml").write_text("a: [")
    found = said([*NEEDED, "--config", str(tmp_path / "job.yaml")])
    assert found.startswith(f"--config {tmp_path}/job.yaml: not YAML: ") and "\n" not in found
    monkeypatch.setenv("VOXTRAL_CONFIG", "/no/such.yaml")
    assert said(NEEDED) == "--config /no/such.yaml: No such file or directory"


def test_an_empty_file_sets_nothing(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("")
    assert command_line.load([*NEEDED, "--config", str(tmp_path / "job.yaml")]).limit is None


def test_a_job_has_settings_of_its_own() -> None:
    assert command_line.load([*NEEDED, "--max-engine-hours", "2"], Nightly).max_engine_hours == 2.0
    # The closest that jobs.transcribe has.
    assert said_of("--max-engine-hours 2").startswith("there is no --max-engine-hours (")


@pytest.mark.parametrize(
    ("kind", "flags"),
    [
        (FleursEvaluation, ["--dataset", "mls"]),
        (FleursEvaluation, ["--corrections", "a.jsonl"]),
        (AskSettings, ["--language.translate"]),
        (AskSettings, ["--engine.beams", "5"]),
    ],
)
def test_what_a_job_does_not_know_is_refused(kind: type[Settings], flags: list[str]) -> None:
    """Though it has it from another job, and its help does not show it."""
    with pytest.raises(ConfigurationError, match=f"^{flags[0]}: is not for this job; leave it out$"):
        command_line.load(["--input", "in", "--output", "out", *flags], kind)
