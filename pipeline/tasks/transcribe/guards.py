"""Is this the text of that speech? What makes a hypothesis suspicious, and which of two is the better one."""

from __future__ import annotations

import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.models.protocol import Hypothesis
from pipeline.schema import Flag
from pipeline.settings import Guards

MAX_OTHER_SCRIPT_SHARE = 0.2  # of a text's letters
DENSE = range(0x3040, 0xD7A4)  # kana, CJK, Hangul: a letter is a syllable or a word
DENSE_LETTER = 3  # letters of other scripts that it is worth
# Scripts by the first word of their letters' Unicode names; Latin letters may stand in any language.
_SCRIPTS = {
    "ARABIC": "ar fa ku ps sd ug ur",
    "ARMENIAN": "hy",
    "BENGALI": "as bn",
    "CJK": "ja ko yue zh",
    "CYRILLIC": "ba be bg kk mk mn ru sr tg tk tt uk uz",
    "DEVANAGARI": "hi mr ne sa",
    "ETHIOPIC": "am ti",
    "GEORGIAN": "ka",
    "GREEK": "el",
    "GUJARATI": "gu",
    "GURMUKHI": "pa",
    "HANGUL": "ko",
    "HEBREW": "he yi",
    "HIRAGANA": "ja",
    "KANNADA": "kn",
    "KATAKANA": "ja",
    "KATAKANA-HIRAGANA": "ja",
    "KHMER": "km",
    "LAO": "lo",
    "MALAYALAM": "ml",
    "MYANMAR": "my",
    "SINHALA": "si",
    "TAMIL": "ta",
    "TELUGU": "te",
    "THAI": "th",
    "TIBETAN": "bo",
}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way to transcribe a window ("whole", "split", "temperature 0.4"), and what speaks against its text."""

    name: str
    hypothesis: Hypothesis
    flags: Sequence[Flag]


def suspicions(
    hypothesis: Hypothesis, speech_s: float, no_speech: float | None, languages: Sequence[str], guards: Guards
) -> list[Flag]:
    """What is wrong with a text, given the seconds of speech, the model's own doubt that there are any (0 to 1), and
    the languages that it may be in."""
    text, flags = hypothesis.text, []
    judged = speech_s >= guards.min_speech_s
    silent = no_speech is not None and no_speech > guards.max_no_speech_probability
    if not text:
        return [Flag.NO_TEXT] if judged and not silent else []
    size = letters(text)
    if hypothesis.finish_reason == "length":
        flags.append(Flag.LENGTH_LIMIT)
    if hypothesis.finish_reason == "repetition" or compression_ratio(text) > guards.max_compression_ratio:
        flags.append(Flag.REPETITION)
    if judged and size < guards.min_chars_per_s * speech_s:
        flags.append(Flag.LITTLE_TEXT)
    if size > guards.max_chars_per_s * max(speech_s, guards.min_speech_s):
        flags.append(Flag.MUCH_TEXT)
    if other_script_share(text, languages) > MAX_OTHER_SCRIPT_SHARE:
        flags.append(Flag.OTHER_SCRIPT)
    if hypothesis.mean_logprob is not None and hypothesis.mean_logprob < guards.min_mean_logprob:
        flags.append(Flag.LOW_CONFIDENCE)
        if silent:
            flags.append(Flag.NO_SPEECH)
    return flags


def letters(text: str) -> int:
    """Length of a text in characters, each of a dense script counted as DENSE_LETTER."""
    return sum(DENSE_LETTER if ord(letter) in DENSE else 1 for letter in text)


def compression_ratio(text: str) -> float:
    """Bytes of UTF-8 over bytes that zlib makes of them: about 1 to 2 for speech, more for loops."""
    raw = text.encode()
    return len(raw) / len(zlib.compress(raw)) if raw else 0.0


def other_script_share(text: str, languages: Sequence[str]) -> float:
    """Share of a text's letters that none of the languages (ISO 639-1) is written in."""
    usual = {"LATIN"} | {script for script, users in _SCRIPTS.items() if set(users.split()) & set(languages)}
    scripts = [unicodedata.name(letter, "").split(" ")[0] for letter in text if letter.isalpha()]
    scripts = [script for script in scripts if script == "LATIN" or script in _SCRIPTS]  # without signs such as º
    return sum(script not in usual for script in scripts) / len(scripts) if scripts else 0.0


def best(attempts: Sequence[Attempt]) -> Attempt:
    """The attempt with text that does not repeat itself; of those the one with the fewest flags, then the highest mean
    log-probability, then the first. (Models are sure of their loops, and of saying nothing.)"""

    def rank(attempt: Attempt) -> tuple[bool, bool, int, float]:
        flags, logprob = attempt.flags, attempt.hypothesis.mean_logprob
        logprob = logprob if logprob is not None else float("-inf")
        return bool(attempt.hypothesis.text), Flag.REPETITION not in flags, -len(flags), logprob

    return max(attempts, key=rank)
