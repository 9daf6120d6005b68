from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.alignment.words import words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" \n", []),
        ("Don't say »no«, please.", ["Don't", "say", "»no«,", "please."]),
        ("version 3.14 of (a)b/c", ["version", "3.14", "of", "(a)b/c"]),
        ("Bonjour ! – 5 %", ["Bonjour", "!", "–", "5", "%"]),
        ("एक दो", ["एक", "दो"]),
        ("안녕하세요 여러분", ["안녕하세요", "여러분"]),
        ("他说：「你好。」", ["他", "说：", "「你", "好。」"]),
        ("我用iPhone 15手机，2024年", ["我", "用", "iPhone", "15", "手", "机，", "2024", "年"]),
        ("データが「", ["デー", "タ", "が「"]),
        ("か\u3099き", ["か\u3099", "き"]),
        ("สวัสดี ๑๒๓", ["ส", "วั", "ส", "ดี", "๑๒๓"]),
        ("ສະບາຍດີ", ["ສ", "ະ", "ບ", "າ", "ຍ", "ດີ"]),
        ("ភាសា", ["ភា", "សា"]),
        ("မြန်မာ", ["မြ", "န်", "မာ"]),
        ("…", ["…"]),
    ],
)
def test_words_with_their_punctuation(text: str, words: list[str]) -> None:
    assert words_of(text) == words


MIXED = st.text(st.one_of(st.characters(), st.sampled_from(" 　\n。「」、.'-()«»a1語かーกัำ\u200b\u3099")))


@given(MIXED)
def test_no_character_is_lost(text: str) -> None:
    words = words_of(text)
    assert "".join(words) == "".join(text.split())
    assert all(words)


@given(MIXED)
def test_words_of_words_are_themselves(text: str) -> None:
    words = words_of(text)
    assert words_of(" ".join(words)) == words
