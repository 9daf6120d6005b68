from __future__ import annotations

import pytest

from pipeline import models, registry
from pipeline.errors import ConfigurationError
from pipeline.models.abilities import Abilities, Ability, lacking
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.family import family as load_family
from pipeline.settings import Language, Settings
from pipeline.tasks.transcribe.task import Transcription
from tests.models.conftest import register


@pytest.mark.parametrize(
    ("abilities", "lack"),
    [
        (Abilities(30.0), None),
        (Abilities(30.0, needs_language=True, language_methods=("token",)), None),
        (Abilities(30.0, transcribes=False), "cannot transcribe speech, which the task transcribe needs"),
        (
            Abilities(30.0, needs_language=True),
            "cannot transcribe speech whose language it is not told, which the task transcribe needs",
        ),
    ],
)
def test_the_first_ability_that_a_model_lacks(abilities: Abilities, lack: str | None) -> None:
    assert lacking("transcribe", Transcription.requires, abilities) == lack


def test_what_is_not_required_may_lack() -> None:
    told = Abilities(30.0, needs_language=True)
    assert lacking("dictate", [Ability.TRANSCRIBE], told) is None


def test_a_model_that_lacks_an_ability_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, "mute", Abilities(30.0, transcribes=False))
    with pytest.raises(ConfigurationError) as caught:
        models.require("transcribe", Transcription.requires, Checkpoint("a/b", "mute", "r", 30.0, "mute"))
    assert str(caught.value) == ("--engine.model a/b: mute cannot transcribe speech, which the task transcribe needs")


@pytest.mark.parametrize("name", list(registry.FAMILIES))
def test_every_family_can_transcribe(name: str) -> None:
    for runtime in load_family(name).runtimes:
        models.require("transcribe", Transcription.requires, Checkpoint("m", name, "r", 30.0, runtime))


def test_a_translation_needs_a_model_that_translates() -> None:
    settings = Settings(input="in", output="out", language=Language(translate=True))
    wanted = Transcription(settings).requires
    with pytest.raises(ConfigurationError, match="voxtral cannot write speech down in English"):
        models.require("transcribe", wanted, Checkpoint("m", "voxtral", "r", 30.0, "vllm"))
    models.require("transcribe", wanted, Checkpoint("m", "whisper", "r", 30.0, "vllm"))
