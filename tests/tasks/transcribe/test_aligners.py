from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants

from pipeline.alignment.protocol import Word
from pipeline.command_line import load
from pipeline.errors import ConfigurationError
from pipeline.models.checkpoint import Checkpoint
from pipeline.settings import NamedModel
from pipeline.tasks.transcribe import aligners, fingerprint
from tests.alignment.test_ctc import clip
from tests.conftest import DEMO

GIVEN = ["--input", "in", "--output", "out", "--engine.device", "cpu"]
ALIGNER = str(DEMO / "aligner")


def test_a_small_multilingual_model_is_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"--alignment\.model openai/whisper-base"):
        aligners.fit(load([*GIVEN, "--words"]))


def words(*given: str) -> list[str]:
    return [*GIVEN, "--words", *given]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--alignment.model", "a/b"], r"--alignment\.model a/b: is for --words"),
        (["--alignment.models", "de=a/b"], r"--alignment\.models de: a/b: is for --words"),
        (["--words", "--alignment.model", str(DEMO / "model")], "its config.json cannot be read"),
        (["--words", "--alignment.model", "/no/such"], r"--alignment\.model /no/such: no such folder"),
        (["--words", "--alignment.models", "fr=/no/such"], r"--alignment\.models fr: /no/such: no such folder"),
        (["--words", "--alignment.model", "a/b", "--language.translate"], "words of a translation"),
        (["--words", "--alignment.models", "de:a/b"], "write LANGUAGE=NAME"),
        (["--words", "--alignment.models", "deutsch=a/b"], "deutsch is not a language code"),
        (["--words", "--alignment.models", "de=a/b,de-AT=c/d"], "de is there twice"),
    ],
)
def test_what_cannot_be_is_refused(given: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        aligners.fit(load([*GIVEN, *given]))


def test_only_checkpoints_that_align_do_and_in_windows_that_they_take(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["BertModel"]}')
    with pytest.raises(ConfigurationError, match="no CTC, Whisper or Qwen3"):
        aligners.fit(load(words("--alignment.model", str(tmp_path))))
    (tmp_path / "config.json").write_text('{"architectures": ["WhisperForConditionalGeneration"]}')
    aligners.fit(load(words("--alignment.model", str(tmp_path), "--segmentation.max-window-s", "30")))
    with pytest.raises(
        ConfigurationError, match=r"at most 30 s, and these have up to 60 s: --segmentation.max-window-s"
    ):
        aligners.fit(load(words("--alignment.model", str(tmp_path), "--segmentation.max-window-s", "60")))


def test_each_language_has_its_own_and_each_is_loaded_once(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(ALIGNER, copy)
    settings = aligners.fit(load(words("--alignment.models", f"fr={ALIGNER},de-DE={copy},en={copy}")))
    found = settings.alignment.by_language
    assert {x: named.model for x, named in found.items()} == {"de": str(copy), "en": str(copy), "fr": ALIGNER}
    assert all(named.revision for named in found.values())
    loaded = aligners.load(settings)
    assert loaded
    samples, said, _ = clip(3)
    assert all(word.score for word in loaded.align(samples, said, "en"))
    assert loaded.align(samples, said, "es") == loaded.align(samples, said) == [Word(word) for word in said]


def test_others_take_the_one_without_a_language() -> None:
    settings = aligners.fit(load(words("--alignment.model", ALIGNER, "--alignment.models", f"de={ALIGNER}")))
    loaded = aligners.load(settings)
    samples, said, _ = clip(3)
    assert loaded
    assert loaded.align(samples, said, "es") == loaded.align(samples, said, "de")
    assert aligners.fit(load(GIVEN)) == load(GIVEN)
    assert aligners.load(load(GIVEN)) is None


def test_yaml_may_map_languages(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(json.dumps({"alignment": {"models": {"fr": "a/b@main", "de": "c/d"}}}))
    found = load([*GIVEN, "--config", str(tmp_path / "job.yaml")]).alignment
    assert found.by_language == {"de": NamedModel("c/d", None), "fr": NamedModel("a/b", "main")}


def test_models_of_languages_are_in_the_fingerprint() -> None:
    checkpoint = Checkpoint("m", "voxtral", "1", 30.0, "vllm")

    def facts(*given: str) -> dict[str, object]:
        return fingerprint.facts(aligners.fit(load(words(*given))), checkpoint)

    one, both = (
        facts("--alignment.model", ALIGNER),
        facts("--alignment.model", ALIGNER, "--alignment.models", f"de={ALIGNER}"),
    )
    revision = aligners.fit(load(words("--alignment.model", ALIGNER))).alignment.revision
    assert one["words"] == [revision, 0.1] and "aligners" not in one
    assert both == one | {"aligners": {"de": revision}}
