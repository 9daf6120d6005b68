"""Texts of windows into one: spaces where their script has any, and words of an overlap kept once."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

import regex

from pipeline.unspaced import FOLLOWING, LETTER, LONG_VOWEL, SCRIPTS

WORDS_PER_S = 6.0  # nobody speaks faster for long: how many words the overlap may hold
SLACK_WORDS = 2  # the words that a cut breaks, on either side
MATCH, MISMATCH, GAP = 2, -1, -1
_WIDE = "\u3000-\u303f\u30fb\uff00-\uff65"  # punctuation of kana and CJK, which holds its own space
_IS_WIDE, _IS_UNSPACED = regex.compile(f"[{_WIDE}]"), regex.compile(f"[{SCRIPTS}{LONG_VOWEL}{_WIDE}]")
# A word with the space before it; scripts without spaces are taken letter by letter, each with its marks.
WORD = regex.compile(rf"\s*(?:{LETTER}{FOLLOWING}|(?:(?!{LETTER})\S)+)", regex.V1)


def join(before: str, after: str, overlap_s: float) -> tuple[str, str]:
    """Remove from the end of `before` and the start of `after` what doubles; both hold the same `overlap_s` of sound.

    The end of the one is aligned with the start of the other, word by word (case and punctuation aside). What lies
    behind the last match in `before` is a word that the cut broke, as is what lies before the first match in
    `after`; they go. Without any match nothing goes.
    """
    ahead, behind = WORD.findall(before), WORD.findall(after)
    most = int(overlap_s * WORDS_PER_S) + SLACK_WORDS
    if overlap_s <= 0 or not ahead or not behind:
        return before, after
    tail, head = [_plain(word) for word in ahead[-most:]], [_plain(word) for word in behind[:most]]
    matches = _align(tail, head)
    if not matches:
        return before, after
    # Each side is nearest to its own context in one half of the overlap: change over in the middle of the match.
    at_tail, at_head = matches[len(matches) // 2]
    kept = len(ahead) - len(tail) + at_tail
    if kept == 0:  # the text before would vanish: it keeps the match instead
        kept, at_head = matches[-1][0] + 1, matches[-1][1] + 1
    return "".join(ahead[:kept]).strip(), "".join(behind[at_head:]).strip()


def concatenate(texts: Iterable[str]) -> str:
    """Consecutive texts as one: with a space between, but none between two scripts that have no spaces, nor beside
    their punctuation."""
    whole = ""
    for text in texts:
        ends = whole[-1:], text[:1]
        close = all(map(_IS_UNSPACED.match, ends)) or any(map(_IS_WIDE.match, ends))
        whole += text if close or not whole or not text else f" {text}"
    return whole


def _plain(word: str) -> str:
    """Letters, with their marks, and digits, in lower case; a word of none of them as it is."""
    folded = unicodedata.normalize("NFKC", word).casefold()
    return "".join(letter for letter in folded if unicodedata.category(letter)[0] in "LMN") or word.strip()


def _align(tail: Sequence[str], head: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of positions that match in the best alignment of an end of `tail` with a beginning of `head`.

    Needleman and Wunsch's recurrence, where a beginning of `tail` and an end of `head` may be left out for nothing.
    """
    score = [[0] * (len(head) + 1) for _ in range(len(tail) + 1)]
    score[0] = [GAP * at for at in range(len(head) + 1)]
    for i, one in enumerate(tail, 1):
        for j, other in enumerate(head, 1):
            pair = score[i - 1][j - 1] + (MATCH if one == other else MISMATCH)
            score[i][j] = max(pair, score[i - 1][j] + GAP, score[i][j - 1] + GAP)
    i, j = len(tail), max(range(len(head) + 1), key=lambda at: score[-1][at])
    if score[i][j] <= 0:
        return []
    matches = []
    while i and j:
        same = tail[i - 1] == head[j - 1]
        if score[i][j] == score[i - 1][j - 1] + (MATCH if same else MISMATCH):
            i, j = i - 1, j - 1
            if same:
                matches.append((i, j))
        elif score[i][j] == score[i - 1][j] + GAP:
            i -= 1
        else:
            j -= 1
    return matches[::-1]
