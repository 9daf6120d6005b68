from __future__ import annotations

import pytest

from pipeline.alignment.spelling import WILDCARD, spell


def letters(known: str) -> dict[str, int]:
    return {letter: at for at, letter in enumerate(known)}


def spelled(word: str, known: str) -> str:
    return "".join("*" if token == WILDCARD else known[token] for token in spell(word, letters(known)))


LOWER = "abcdefghijklmnopqrstuvwxyz'"


@pytest.mark.parametrize(
    ("word", "known", "tokens"),
    [
        ("Hello,", LOWER, "hello"),
        ("hello", LOWER.upper(), "HELLO"),
        ("Don’t", LOWER, "don't"),
        ("zéro", LOWER, "zero"),
        ("ZÉRO", LOWER + "é", "zéro"),
        ("ze\u0301ro", LOWER + "é", "zéro"),
        ("fünf", "fnuü", "fünf"),
        ("groß", LOWER, "gro*"),
        ("GROSS", LOWER + "ß", "gross"),
        ("ﬁn²", LOWER + "2", "fin2"),
        ("2024", LOWER, "*"),
        ("mp3-player", LOWER, "mp*player"),
        ("50%,", LOWER, "*"),
        ("…", LOWER, ""),
        ("", LOWER, ""),
        ("你好。", "你好", "你好"),
        ("你好。", LOWER, "*"),
        ("नमस्ते", "नमस्ते", "नमस्ते"),
        ("की", "क", "क"),
        ("مَ", "م", "م"),
        ("İstanbul", LOWER, "istanbul"),
    ],
)
def test_words_in_the_characters_that_are_known(word: str, known: str, tokens: str) -> None:
    assert spelled(word, known) == tokens
