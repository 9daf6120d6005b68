from __future__ import annotations

import json
from pathlib import Path

import jiwer
import pytest
import whisper_normalizer
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.whisper import english_normalizer

from pipeline.scoring.error_rate import CHARACTER_LANGUAGES, NormalizerName, normalizer, score, tokens

WHISPER, MARKS, NONE = normalizer("whisper"), normalizer("marks"), normalizer("none")
AWKWARD = [
    ("en", "It's ten thousand dollars, Mr. O'Neill!", "it is $10,000 mister oneill"),
    ("en", "the colour of 1998 [laughter] (aside) uh honour", "color of nineteen ninety eight honor"),
    ("en", "don’t won't can't gonna", "do not will not cannot going to"),
    ("fr", "L'été, aujourd’hui : 3,5 %", "l été aujourd hui 3 5"),
    ("de", "Größe & Straße – 20 €", "groesse strasse 20"),
    ("hi", "यह हिंदी है।", "यह हिन्दी है"),
    ("ar", "مَرْحَبًا بِالعالَم، كيف حالك؟", "مرحبا بالعالم كيف حالك"),
    ("he", "שָׁלוֹם עוֹלָם", "שלום עולם"),
    ("ja", "今日は、晴れです。", "今日は晴れでした"),
    ("th", "สวัสดีครับ", "สวัสดีค่ะ"),
    ("es", "¿Qué? ¡Sí!", "que si"),
    ("en", "?!...", "yes"),
    ("en", "one two", "..."),
]


@pytest.mark.parametrize(("language", "reference", "hypothesis"), AWKWARD)
def test_normalisers_are_those_of_whisper(language: str, reference: str, hypothesis: str) -> None:
    """transformers has its own copy of OpenAI's code."""
    if language == "en":
        spellings = Path(whisper_normalizer.__file__).with_name("normalizers") / "english.json"
        theirs = english_normalizer.EnglishTextNormalizer(json.loads(spellings.read_text()))
    else:
        theirs = english_normalizer.BasicTextNormalizer()
    for text in (reference, hypothesis):
        assert WHISPER.apply(text, language).split() == theirs(text).split()


@pytest.mark.parametrize("name", ["whisper", "marks", "none"])
@pytest.mark.parametrize(("language", "reference", "hypothesis"), AWKWARD)
def test_counts_are_those_of_jiwer(language: str, reference: str, hypothesis: str, name: NormalizerName) -> None:
    by = normalizer(name)
    found = score(reference, hypothesis, language, by, by_characters=False)
    said, heard = by.apply(reference, language), by.apply(hypothesis, language)
    if said.split():
        theirs = jiwer.process_words(" ".join(said.split()), " ".join(heard.split()))
        assert (found.substitutions, found.deletions, found.insertions) == (
            theirs.substitutions,
            theirs.deletions,
            theirs.insertions,
        )
        assert found.errors / found.tokens == pytest.approx(theirs.wer)
    else:
        assert (found.tokens, found.errors) == (0, len(heard.split()))


@pytest.mark.parametrize("language", CHARACTER_LANGUAGES)
def test_unspaced_languages_are_scored_by_characters(language: str) -> None:
    reference, hypothesis = "今日は、晴れ です。", "今日は晴れでした"
    found = score(reference, hypothesis, language, WHISPER, by_characters=True)
    said, heard = ("".join(WHISPER.apply(text, language).split()) for text in (reference, hypothesis))
    assert found.errors / found.tokens == pytest.approx(jiwer.cer(said, heard))
    assert found.tokens == 7


def test_a_letter_with_its_marks_is_one_character() -> None:
    assert tokens("e\u0301é", by_characters=True) == ["e\u0301", "é"]
    assert tokens("हिंदी है", by_characters=True) == ["हिं", "दी", "है"]


def test_whispers_normaliser_breaks_words_of_hindi_and_the_other_keeps_them() -> None:
    assert WHISPER.apply("हिंदी है", "hi").split() == ["ह", "द", "ह"]
    assert MARKS.apply("हिंदी है", "hi").split() == ["हिंदी", "है"]
    assert score("हिंदी है", "हिंदी थे", "hi", MARKS, by_characters=False).substitutions == 1


def test_empty_texts_and_failures() -> None:
    assert score("a b c", None, "en", NONE, by_characters=False).deletions == 3
    assert score("a b c", "", "en", NONE, by_characters=False).deletions == 3
    assert score("", "a b", "en", NONE, by_characters=False).insertions == 2
    nothing = score("", None, "en", NONE, by_characters=False)
    assert (nothing.tokens, nothing.errors, nothing.alignment) == (0, 0, ())


words = st.lists(st.sampled_from("a b c d é".split()), max_size=12)


@given(words, words, st.booleans())
def test_the_alignment_tells_both_texts(said: list[str], heard: list[str], by_characters: bool) -> None:
    found = score(" ".join(said), " ".join(heard), "xx", NONE, by_characters)
    joint = "" if by_characters else " "
    assert joint.join(chunk.said for chunk in found.alignment if chunk.said) == joint.join(said)
    assert joint.join(chunk.recognised for chunk in found.alignment if chunk.recognised) == joint.join(heard)
    assert found.tokens == len(said)
    assert found.errors == 0 or any(not chunk.is_hit for chunk in found.alignment)
    assert found.tokens - found.deletions + found.insertions == len(heard)


def test_a_number_that_python_does_not_read_is_a_word() -> None:
    """A model that repeats a digit writes one."""
    found = score("five", "5" * 4_301, "en", WHISPER, False)
    assert (found.tokens, found.errors) == (1, 1)
