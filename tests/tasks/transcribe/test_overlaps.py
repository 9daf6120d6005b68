from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tasks.transcribe.overlaps import WORDS_PER_S, concatenate, join

# Every word another: where words repeat, no one can tell where an overlap ends.
SENTENCE = st.lists(st.sampled_from([f"w{number}" for number in range(80)]), min_size=2, max_size=40, unique=True)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("we set out at dawn", "at dawn and walked", "we set out at dawn and walked"),
        ("we set out at dawn and wal", "dawn and walked on", "we set out at dawn and walked on"),
        ("we set out at dawn", "t dawn and walked", "we set out at dawn and walked"),
        ("We set out. At dawn", "At dawn, and walked", "We set out. At dawn, and walked"),
        ("the end", "quite another beginning", "the end quite another beginning"),
        ("the end", "", "the end"),
        ("", "beginning", "beginning"),
        ("Größe und Straße", "STRASSE ist lang", "Größe und STRASSE ist lang"),
        ("मैं घर जा रहा", "जा रहा हूँ", "मैं घर जा रहा हूँ"),
        ("? ! ?", "? ! ? what", "? ! ? what"),
        ("यह राम का घर है और उस की", "के बाद हम वहाँ गये", "यह राम का घर है और उस की के बाद हम वहाँ गये"),
        ("今天天气很好我们去", "我们去公园", "今天天气很好我 们去公园"),
        ("ok", "ok so let us begin", "ok so let us begin"),
    ],
)
def test_doubled_words_are_kept_once(before: str, after: str, expected: str) -> None:
    assert " ".join(part for part in join(before, after, 1.0) if part) == expected


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["good morning", "everyone"], "good morning everyone"),
        (["", "one", "", "two"], "one two"),
        (["今天天气很好", "我们去公园"], "今天天气很好我们去公园"),
        (["大きなデータ", "ーを読む"], "大きなデーターを読む"),
        (["これは", "test です"], "これは test です"),
        (["これは。", "test です"], "これは。test です"),
        (["山田・", "Smith"], "山田・Smith"),
        (["ที่นี่", "ดี"], "ที่นี่ดี"),
        (["𠮷野家", "𠮷田"], "𠮷野家𠮷田"),
        (["우리는", "간다"], "우리는 간다"),
    ],
)
def test_spaces_stand_where_the_scripts_have_any(texts: list[str], expected: str) -> None:
    assert concatenate(texts) == expected


def test_without_overlap_nothing_is_removed() -> None:
    assert join("one two two", "two two three", 0.0) == ("one two two", "two two three")


@given(SENTENCE, st.data())
def test_what_two_windows_heard_becomes_one_text_again(words: list[str], draw: st.DataObject) -> None:
    start = draw.draw(st.integers(0, len(words) - 1))
    end = draw.draw(st.integers(start + 1, len(words)))
    overlap_s = (end - start) / 3  # three words a second
    joined = join(" ".join(words[:end]), " ".join(words[start:]), overlap_s)
    assert " ".join(part for part in joined if part).split() == words


@given(SENTENCE.filter(lambda words: len(words) >= 4), st.data())
def test_a_word_broken_by_the_cut_goes(words: list[str], draw: st.DataObject) -> None:
    start = draw.draw(st.integers(0, len(words) - 4))
    end = draw.draw(st.integers(start + 4, len(words)))  # two words at least that both have whole
    before, after = [*words[: end - 1], "brok"], ["oken", *words[start + 1 :]]
    joined = join(" ".join(before), " ".join(after), (end - start) / 3)
    assert [word for word in " ".join(joined).split() if word not in ("brok", "oken")] == words


@given(SENTENCE, SENTENCE, st.floats(0, 3))
def test_never_more_is_removed_than_the_overlap_can_hold(one: list[str], other: list[str], overlap_s: float) -> None:
    before, after = join(" ".join(one), " ".join(other), overlap_s)
    most = int(overlap_s * WORDS_PER_S) + 2
    assert before.split()[: max(0, len(one) - most)] == one[: max(0, len(one) - most)]
    assert not other[most:] or after.split()[-len(other[most:]) :] == other[most:]
