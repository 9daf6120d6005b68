"""What a report says of answers: questions answered, tool calls, and what the engines computed for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.log import duration
from pipeline.schema import Outcome

Row = dict[str, Any]


@dataclass
class Numbers:
    """Sums over the finished recordings of a run."""

    questions: int = 0
    answered: int = 0
    flags: Counter[str] = field(default_factory=Counter)
    answer_failures: Counter[str] = field(default_factory=Counter)  # by code, one for each question
    speech_s: float = 0.0  # in the audio that was asked about
    padded_s: float = 0.0  # audio seconds in the prompts, as the engine computes them
    tokens: int = 0  # of answers
    prompt_tokens: int = 0
    in_parts: int = 0  # recordings that one prompt did not hold

    def add(self, rows: Mapping[str, Iterable[Row]]) -> None:
        """Count the rows of recordings and of answers."""
        for recording in rows["recordings"]:
            self.questions += recording["questions"]
            self.answered += recording["answered"]
            self.speech_s += recording["speech_s"] or 0.0
            self.in_parts += recording["part_count"] > 1
        for answer in rows["answers"]:
            self.flags.update(answer["flags"])
            if answer["outcome"] == Outcome.FAILED:
                self.answer_failures[answer["failure_code"]] += 1
            self.padded_s += answer["padded_s"] or 0.0
            self.tokens += answer["token_count"] or 0
            self.prompt_tokens += answer["prompt_tokens"] or 0

    def facts(self) -> Row:
        """The report's numbers."""
        return {
            "questions": self.questions,
            "answered": self.answered,
            "answer_failures": dict(self.answer_failures.most_common()),
            "flags": dict(self.flags.most_common()),
            "in_parts": self.in_parts,
            "speech_s": round(self.speech_s, 3),
            "padded_s": round(self.padded_s, 3),
            "tokens": self.tokens,
            "prompt_tokens": self.prompt_tokens,
        }


def summary(facts: Row) -> list[tuple[str, str]]:
    """Lines for people from the report's numbers, each with its title."""
    failed = ", ".join(f"{count} {code}" for code, count in facts["answer_failures"].items())
    lines = [("answers", f"{facts['answered']} of {facts['questions']}" + (f"; not {failed}" if failed else ""))]
    if facts["in_parts"]:
        lines.append(("in parts", f"{facts['in_parts']} recordings are longer than one prompt holds"))
    if facts["flags"]:
        lines.append(("flags", ", ".join(f"{count} {name}" for name, count in facts["flags"].items())))
    asked = f"{duration(facts['padded_s'])} of audio and {facts['prompt_tokens']:,} tokens in the prompts"
    lines.append(("asked", f"{asked}, {facts['tokens']:,} tokens of answers"))
    return lines
