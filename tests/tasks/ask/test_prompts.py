from __future__ import annotations

import pytest

from pipeline.tasks.ask import prompts
from pipeline.tasks.ask.questions import from_texts

PLAIN = from_texts(["Who?"])


@pytest.mark.parametrize(
    ("language", "said"), [(None, "Who?"), ("de", "Who?\n\nAnswer in German."), ("no", "Who?\n\nAnswer in Norwegian.")]
)
def test_a_question_names_the_language_of_its_answer(language: str | None, said: str) -> None:
    assert prompts.question("Who?", PLAIN.model_copy(update={"language": language})) == said


def test_what_is_asked_about_comes_first() -> None:
    assert prompts.first("Who?", None, None) == "Who?"
    assert prompts.first("Who?", ["a.wav", "b {x}"], None) == "The recordings, in order:\n1. a.wav\n2. b {x}\n\nWho?"
    assert prompts.first("Who?", None, "Hello.") == "Transcript of a recording:\n\nHello.\n\nWho?"


def test_answers_about_parts_stand_in_order_behind_the_question() -> None:
    said = prompts.of_parts("Who?", ["Ann", "", "Bob\nand Cid"])
    assert said.index("Who?") < said.index("1. Ann\n2. \n3. Bob\nand Cid\n") < said.index("whole recording")
