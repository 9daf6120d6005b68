"""Which of a few strings would the model say next? Asked by one-token questions, answered with log-probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Question:
    """Where the strings part: after `prefix` token ids, `following` are the next ids to be scored."""

    prefix: tuple[int, ...]
    following: tuple[int, ...]


class Candidates:
    """Named strings of token ids, none the beginning of another."""

    def __init__(self, strings: Mapping[str, Sequence[int]]) -> None:
        self._strings = {name: tuple(ids) for name, ids in strings.items()}

    @cached_property
    def questions(self) -> list[Question]:
        """The questions whose answers give every whole string a probability.

        Most strings differ in one token, but not all (Dutch's `lang:nl` is longer in Voxtral's vocabulary), so they
        are followed as a tree: one question for each place at which they part or go on alone.
        """
        first_parting = common(list(self._strings.values()))
        following: dict[tuple[int, ...], set[int]] = {}
        for ids in self._strings.values():
            for at in range(min(first_parting, len(ids) - 1), len(ids)):
                following.setdefault(ids[:at], set()).add(ids[at])
        return [Question(prefix, tuple(sorted(ids))) for prefix, ids in following.items()]

    def logprobs(self, answers: Mapping[tuple[int, ...], Mapping[int, float]]) -> dict[str, float]:
        """Each string's natural log-probability, less that of the beginning that all share.

        `answers` holds, for each question's prefix, the log-probability of each following id.
        """
        return {
            name: sum(answers[ids[:at]][ids[at]] for at in range(len(ids)) if ids[:at] in answers)
            for name, ids in self._strings.items()
        }


def common(strings: Sequence[Sequence[int]]) -> int:
    """With how many of the same ids all strings begin."""
    return next((at for at, ids in enumerate(zip(*strings, strict=False)) if len(set(ids)) > 1), min(map(len, strings)))
