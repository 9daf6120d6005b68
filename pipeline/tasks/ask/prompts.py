"""The texts around questions: what a prompt says beside the audio."""

from __future__ import annotations

from collections.abc import Sequence

import pycountry

from pipeline.tasks.ask.questions import Questions


def question(asked: str, questions: Questions) -> str:
    """A question, with the language that the answer is wanted in."""
    if not questions.language:
        return asked
    found = pycountry.languages.get(alpha_2=questions.language)
    return f"{asked}\n\nAnswer in {found.name if found else questions.language}."


def first(asked: str, names: Sequence[str] | None, text: str | None) -> str:
    """The first question of a conversation: behind the transcript that it is about, or behind the names of the
    recordings that it is about, where these are more than one."""
    if text is not None:
        return f"Transcript of a recording:\n\n{text}\n\n{asked}"
    if names:
        return f"The recordings, in order:\n{_list(names)}\n\n{asked}"
    return asked


def of_parts(asked: str, answers: Sequence[str]) -> str:
    """A question about a whole recording, from the answers about its parts."""
    return (
        f"The same question was asked about each part of one recording.\n\nQuestion: {asked}\n\n"
        f"Answers, in order:\n{_list(answers)}\n\nAnswer the question for the whole recording."
    )


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"{number}. {line}" for number, line in enumerate(lines, 1))
