from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import command_line, settings
from pipeline.errors import ConfigurationError

NEEDED = ["--input", "in", "--output", "out"]


def test_flags_beat_environment_beats_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("engine: {model: from-file, max_num_seqs: 3, count: 7}\nlimit: 5\n")
    monkeypatch.setenv("VOXTRAL_ENGINE__MAX_NUM_SEQS", "4")
    monkeypatch.setenv("VOXTRAL_LIMIT", "6")
    found = command_line.load([*NEEDED, "--config", str(file), "--limit", "9"])
    assert (found.engine.model, found.engine.count) == ("from-file", 7)
    assert found.engine.max_num_seqs == 4
    assert found.limit == 9


@pytest.mark.parametrize("text", ["en,de", "en, de", '["en", "de"]', "de,en-US"])
@pytest.mark.parametrize("way", ["flag", "environment", "file"])
def test_a_list_is_written_alike_in_flags_environment_and_file(
    text: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = NEEDED
    if way == "flag":
        arguments = [*NEEDED, "--language.expected", text]
    elif way == "environment":
        monkeypatch.setenv("VOXTRAL_LANGUAGE__EXPECTED", text)
    else:
        (tmp_path / "job.yaml").write_text(f"language: {{expected: '{text}'}}\n")
        arguments = [*NEEDED, "--config", str(tmp_path / "job.yaml")]
    assert command_line.load(arguments).language.expected == ("de", "en")


def test_a_list_may_be_given_flag_by_flag() -> None:
    found = command_line.load([*NEEDED, "--retry", "truncated", "--retry", "decode_error"])
    assert list(map(str, found.retry)) == ["truncated", "decode_error"]
    assert command_line.load([*NEEDED, "--guards.retry-temperatures", "0.1,1"]).guards.retry_temperatures == (0.1, 1.0)


def test_settings_from_python_take_lists_as_text_or_as_tuples() -> None:
    as_text = settings.Settings(input="in", output="out", allow="/data,s3://b")  # pyright: ignore[reportArgumentType]
    assert as_text.allow == ("/data", "s3://b")
    assert settings.Settings(input="in", output="out", allow=("/a,b",)).allow == ("/a,b",)


@pytest.mark.parametrize("run_id", ["r", "A1._-", "9" * 100])
def test_names_of_runs(run_id: str) -> None:
    assert settings.Settings(input="in", output="out", run_id=run_id).run_id == run_id


@pytest.mark.parametrize("run_id", ["", "../up", "-r", "a/b", "9" * 101, "a\n"])
def test_names_that_no_run_can_have(run_id: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot name a run"):
        command_line.load([*NEEDED, f"--run-id={run_id}"])


def test_servers_are_urls_each_once() -> None:
    given = ["--engine.server", "http://a:8000/v1/", "--engine.server", "https://b/v1,http://a:8000/v1"]
    assert command_line.load([*NEEDED, *given]).engine.server == ("http://a:8000/v1", "https://b/v1")


@pytest.mark.parametrize("url", ["a:8000", "host", "ftp://a/v1", "http://", "http://a:port/v1", "http://[a/v1", "/v1"])
def test_what_is_no_url_of_a_server(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^--engine.server: .*write http://host:8000/v1$"):
        command_line.load([*NEEDED, "--engine.server", url])


@pytest.mark.parametrize("url", ["http://me:secret@a/v1", "http://secret@a/v1", "http://a/v1?key=secret"])
def test_a_url_with_a_secret_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY") as caught:
        command_line.load([*NEEDED, "--engine.server", url])
    assert "secret" not in str(caught.value)


def test_numbers_are_finite() -> None:
    """Reports are JSON, which has no others."""
    for flag in ("--max-hours", "--engine.start-timeout-s"):
        with pytest.raises(ConfigurationError, match=f"{flag} inf: must be"):
            command_line.load(["--input", "in", "--output", "out", flag, "inf"])


def test_a_language_is_called_as_models_call_it() -> None:
    assert [settings.primary_language(tag) for tag in ("nb-NO", "nob", "no", "nn", "zh-CN")] == "no no no nn zh".split()
