"""Words in the characters that a CTC model knows."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping

import regex

WILDCARD = -1  # stands for characters that are spoken, and that the model does not know: digits, symbols


def spell(word: str, letters: Mapping[str, int]) -> list[int]:
    """The tokens of a word's characters, by `letters`; consecutive characters that these lack are one WILDCARD.

    A character is taken as it is, else in the other case, else in its compatible form, else without its accents.
    Punctuation and marks that the model does not know are left out.
    """
    tokens: list[int] = []
    for character in regex.findall(r"\P{M}\p{M}*|\p{M}+", unicodedata.normalize("NFC", word).replace("’", "'")):
        known = next((form for form in _forms(character) if form and all(part in letters for part in form)), None)
        if known:
            tokens += [letters[part] for part in known]
        elif regex.search(r"[\p{L}\p{N}\p{S}]", character) and tokens[-1:] != [WILDCARD]:
            tokens.append(WILDCARD)
    return tokens


def _forms(character: str) -> Iterator[str]:
    """A character with its marks, in the forms that mean the same; the closest first."""
    whole = unicodedata.normalize("NFKD", character)
    bare = "".join(part for part in whole if not unicodedata.category(part).startswith("M"))
    for form in (character, unicodedata.normalize("NFKC", character), whole, bare):
        yield from (form, form.lower(), form.upper())
