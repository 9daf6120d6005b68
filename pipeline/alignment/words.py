"""The words of a text, as they get times: what whitespace parts, and single characters in scripts without spaces."""

from __future__ import annotations

import regex

from pipeline.unspaced import FOLLOWING, LETTER

RUN = rf"(?:(?!{LETTER})\P{{P}})+"
CORE = rf"(?:{LETTER}{FOLLOWING}|{RUN}(?:\p{{P}}+{RUN})*)"
CLOSING = r"[\p{P}--\p{Ps}--\p{Pi}]*"
_WORD = regex.compile(rf"\p{{P}}*{CORE}{CLOSING}(?:\p{{P}}+\Z)?|\p{{P}}+", regex.V1)


def words_of(text: str) -> list[str]:
    """The text's own words in order, with their punctuation: joined, they are the text without its whitespace.

    Chinese, Japanese, Thai, Lao, Khmer and Burmese are cut into characters with their marks; what stands in other
    scripts or digits between them stays whole. Opening punctuation belongs to what follows, other punctuation to what
    comes before. Punctuation between spaces is a word of its own.
    """
    return [word for token in text.split() for word in _WORD.findall(token)]
