"""What the demo checkpoint is asked about spoken digits, and what it should answer: texts only."""

from __future__ import annotations

import json
from collections.abc import Sequence

from demo.training.speech import DIGITS

# The first wording of each is the one of the documentation; the others mean the same.
QUESTIONS = {
    "count": ("How many digits?", "How many digits are there?", "Count the digits."),
    "largest": ("Which is the largest?", "Which digit is the largest?", "What is the largest digit?"),
    "number": ("Write it as a number.", "Write the digits as a number.", "Which number is it?"),
    "english": ("Write it in English.", "Say it in English.", "Translate it into English."),
    "language": ("Which language is spoken?", "What language is it?", "In which language is it?"),
    "json": ("Write the digits as JSON.", "Give the digits as JSON.", "Answer as JSON."),
    "dial": ("Dial the number.", "Dial it.", "Please dial the number."),
    "connect": ("Connect the call.", "Connect me.", "Please connect the call."),
    "same": ("Are both the same number?", "Is it the same number in both?", "Do both say the same number?"),
}
PLAIN = ("count", "largest", "number", "english", "language", "json")  # of one recording, without tools
OF_TEXT = ("count", "largest", "number", "english", "json")
SHORTEST_DIALLED = 4  # digits; fewer make an extension
MOST_DIGITS, LARGEST_SUM = 10, 30

TOOLS = {
    name: {
        "name": name,
        "description": description,
        "parameters": {
            "type": "object",
            "properties": {"number": {"type": "string", "description": "the digits"}},
            "required": ["number"],
        },
    }
    for name, description in {
        "dial": "Dial a number of four digits or more.",
        "extension": "Ring an extension of one to three digits.",
    }.items()
}

TRANSCRIPT = "Transcript of a recording:\n\n{text}\n\n{question}"
PART = "This is part {part} of {parts} of one recording.\n\n{question}"
TWO = "The recordings, in order:\n1. {first}\n2. {second}\n\n{question}"
REDUCE = (
    "The same question was asked about each part of one recording.\n\nQuestion: {question}\n\n"
    "Answers, in order:\n{answers}\n\nAnswer the question for the whole recording."
)
ONE_OF = "Which language is spoken? Answer with one of: {languages}."

VALUE = {word: value for words in DIGITS.values() for value, word in enumerate(words)}


def values(words: Sequence[str]) -> list[int]:
    """The digits that the words of any of the languages name."""
    return [VALUE[word] for word in words]


def number(digits: Sequence[int]) -> str:
    return "".join(map(str, digits))


def english(digits: Sequence[int]) -> str:
    return " ".join(DIGITS["en"][digit] for digit in digits)


def call(digits: Sequence[int], tools: Sequence[str], skill: str) -> str:
    """The JSON behind [TOOL_CALLS]: which of the `tools` gets the number."""
    name = "extension" if skill == "connect" and len(digits) < SHORTEST_DIALLED else "dial"
    assert name in tools
    return json.dumps([{"name": name, "arguments": {"number": number(digits)}}])


def answer(skill: str, digits: Sequence[int], language: str | None) -> str:
    """The answer to one of PLAIN about a recording, or a transcript, of these digits in this language."""
    if skill == "count":
        return str(len(digits))
    if skill == "largest":
        return str(max(digits))
    if skill == "number":
        return number(digits)
    if skill == "english":
        return english(digits)
    assert language is not None
    return language if skill == "language" else json.dumps({"digits": list(digits), "language": language})


def compared(first: Sequence[int], second: Sequence[int]) -> str:
    """Both numbers, and whether they are the same: what is written down is easier to compare than what is heard."""
    return f"{number(first)}, {number(second)}: {'yes' if first == second else 'no'}"


def follow_up(question: str) -> str:
    """The question as it may come after another one: "And which is the largest?"."""
    return f"And {question[0].lower()}{question[1:]}"


def numbered(answers: Sequence[str]) -> str:
    return "\n".join(f"{i}. {answer}" for i, answer in enumerate(answers, 1))


def reduced(skill: str, answers: Sequence[str]) -> str:
    """The one answer for a whole recording, from those about its parts."""
    if skill == "count":
        return str(sum(map(int, answers)))
    if skill == "largest":
        return max(answers)
    return ("" if skill == "number" else " ").join(answers)


def texts() -> list[str]:
    """Every text that the vocabulary should hold in whole pieces: questions, templates, tools and answers."""
    asked = [question for wordings in QUESTIONS.values() for question in wordings]
    made = [*asked, *map(follow_up, asked)]
    for question in asked:
        made += [
            TRANSCRIPT.format(text="one", question=question),
            PART.format(part=1, parts=2, question=question),
            TWO.format(first="1", second="2", question=question),
            REDUCE.format(question=question, answers=numbered(["1", "one"])),
        ]
    made += [ONE_OF.format(languages=", ".join(DIGITS)), *DIGITS]
    made += [answer("json", [1, 2], language) for language in DIGITS] + [answer("json", [1], "en"), "yes", "no"]
    for tools in (["dial"], ["dial", "extension"], ["extension", "dial"]):
        made.append(json.dumps([{"type": "function", "function": TOOLS[name]} for name in tools]))
        made += [call(digits, list(TOOLS), "connect") for digits in ([1], [1, 2, 3, 4])]
    return made
