"""What a model can do, and what a task requires of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Ability(StrEnum):
    """What a task can require; the value completes the sentence "the model cannot ..."."""

    TRANSCRIBE = "transcribe speech"
    CHAT = "answer questions"
    FIND_LANGUAGE = "transcribe speech whose language it is not told"
    TRANSLATE = "write speech down in English"
    FOLLOW_SCHEMA = "hold answers to a schema"


@dataclass(frozen=True, slots=True)
class Abilities:
    """What one family of models can do in one runtime.

    `longest_window_s` is the longest audio that one request may hold, in seconds. `transcribes`: speech into text,
    `translates`: into English text. `needs_language`: it transcribes only speech whose language the request names.
    `language_methods` are the ways in which it scores languages, by the names of --language.methods; without any it
    cannot score them. `detects_silence`: its language scores come with the probability that nobody speaks.
    `longest_chat_s` is the longest audio that a conversation may hold, in seconds, None where it has none;
    `audios_per_chat` how many clips.
    """

    longest_window_s: float
    transcribes: bool = True
    translates: bool = False
    needs_language: bool = False
    language_methods: tuple[str, ...] = ()
    detects_silence: bool = False
    longest_chat_s: float | None = None
    audios_per_chat: int = 1

    def __contains__(self, ability: Ability) -> bool:
        match ability:
            case Ability.CHAT | Ability.FOLLOW_SCHEMA:
                return self.longest_chat_s is not None
            case Ability.TRANSCRIBE:
                return self.transcribes
            case Ability.TRANSLATE:
                return self.translates
            case Ability.FIND_LANGUAGE:
                return self.transcribes and (not self.needs_language or bool(self.language_methods))


def lacking(task: str, required: Sequence[Ability], abilities: Abilities) -> str | None:
    """The first ability that a task requires and a model lacks, as the end of a sentence about the model; None where it
    has them all."""
    lack = next((ability for ability in required if ability not in abilities), None)
    return lack and f"cannot {lack}, which the task {task} needs"
