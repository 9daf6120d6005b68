from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import settings
from pipeline.errors import ConfigurationError

NEEDED = ["--input", "in", "--output", "out"]


def test_flags_beat_environment_beats_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("engine: {model: from-file, max_num_seqs: 3, count: 7}\nlimit: 5\n")
    monkeypatch.setenv("VOXTRAL_ENGINE__MAX_NUM_SEQS", "4")
    monkeypatch.setenv("VOXTRAL_LIMIT", "6")
    found = settings.load([*NEEDED, "--config", str(file), "--limit", "9"])
    assert (found.engine.model, found.engine.count) == ("from-file", 7)
    assert found.engine.max_num_seqs == 4
    assert found.limit == 9


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--input", "x"], "--output is missing"),
        ([*NEEDED, "--engine.count", "0"], "--engine.count '0'"),
        ([*NEEDED, "--engine.dtype", "int3"], "bfloat16"),
        ([*NEEDED, "--run-id", "../up"], "--run-id '../up'"),
        ([*NEEDED, "--nope", "1"], "--nope"),
        ([*NEEDED, "--config", "/no/such.yaml"], "/no/such.yaml: No such file"),
    ],
)
def test_an_error_names_setting_and_value(arguments: list[str], words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        settings.load(arguments)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["a: [", "- 1\n- 2\n", "nope: 1\n"])
def test_a_bad_file_is_one_clear_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(text)
    with pytest.raises(ConfigurationError):
        settings.load([*NEEDED, "--config", str(tmp_path / "job.yaml")])


def test_help_explains_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        settings.load(["--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    for model in (
        settings.Settings,
        settings.Audio,
        settings.Segmentation,
        settings.Engine,
        settings.Language,
        settings.Guards,
    ):
        for name, field in model.model_fields.items():
            assert name.replace("_", "-") in text
            nested = name in ("audio", "segmentation", "engine", "language", "guards")
            assert nested or field.description, f"{model.__name__}.{name} has no explanation"
