"""CTC forced alignment: the likeliest path through a sequence of tokens, by Viterbi's algorithm.

A path has one of 2 N + 1 states at each frame: the N tokens, and a blank before, between and after them. A blank may be
left out, unless the tokens beside it are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Span:
    """The frames `[start, end)` of one token, and the mean of its probabilities there."""

    start: int
    end: int
    score: float


def align(logprobs: np.ndarray, tokens: Sequence[int], blank: int) -> list[Span] | None:
    """(frames, vocabulary) log-probabilities, all finite -> the span of each token on the likeliest path.

    None where no path exists: more tokens, counting a blank between two that are the same, than frames.

    Takes 3 bits for each pair of frame and token, beside a few numbers for each token: 110 MB for 10,000 tokens on
    30,000 frames.
    """
    if not tokens:
        return []
    frames, ids = len(logprobs), np.asarray(tokens)
    if frames < len(ids) + np.count_nonzero(ids[1:] == ids[:-1]):
        return None
    moves, ends_in_blank = _forward(logprobs, ids, blank)
    token_of = _backward(moves, len(ids), ends_in_blank)
    said = np.flatnonzero(token_of >= 0)
    probabilities = np.exp(logprobs[said, ids[token_of[said]]], dtype=np.float64)
    starts = np.flatnonzero(np.diff(token_of[said], prepend=-1))
    sizes = np.diff(starts, append=len(said))
    scores = np.add.reduceat(probabilities, starts) / sizes
    return [
        Span(int(said[start]), int(said[start + size - 1]) + 1, float(score))
        for start, size, score in zip(starts, sizes, scores, strict=True)
    ]


def _forward(logprobs: np.ndarray, ids: np.ndarray, blank: int) -> tuple[np.ndarray, bool]:
    """How the best path came to each state, and whether the best one ends in the last blank.

    The moves are bits, packed along the tokens, of shape (3, frames, tokens / 8): whether a path came to the blank
    behind a token from that token; to a token from another state; and if so, from the token before it.
    """
    frames, count = len(logprobs), len(ids)
    moves = np.zeros((3, frames, (count + 7) // 8), dtype=np.uint8)
    same = np.concatenate([[-np.inf], np.where(ids[1:] == ids[:-1], -np.inf, 0.0)])
    letters, blanks = np.full(count, -np.inf), np.full(count + 1, -np.inf)  # blanks[i] is the one before token i
    letters[0], blanks[0] = logprobs[0, ids[0]], logprobs[0, blank]
    before = np.full(count, -np.inf)
    for at in range(1, frames):
        before[1:] = letters[:-1]
        before += same
        entering = np.maximum(before, blanks[:-1])
        moves[0, at] = np.packbits(letters > blanks[1:])
        moves[1, at] = np.packbits(entering > letters)
        moves[2, at] = np.packbits(before > blanks[:-1])
        np.maximum(blanks[1:], letters, out=blanks[1:])
        blanks += logprobs[at, blank]
        np.maximum(letters, entering, out=letters)
        letters += logprobs[at][ids]
    return moves, bool(blanks[-1] > letters[-1])


def _backward(moves: np.ndarray, count: int, ends_in_blank: bool) -> np.ndarray:
    """(frames,) the token's position at each frame of the best path, -1 in blanks."""

    def moved(kind: int, at: int, token: int) -> bool:
        return bool(moves[kind, at, token >> 3] >> (7 - (token & 7)) & 1)

    token_of = np.full(moves.shape[1], -1)
    token, in_blank = count - 1, ends_in_blank  # where in a blank, the one behind the token
    for at in range(moves.shape[1] - 1, -1, -1):
        if not in_blank:
            token_of[at] = token
            if moved(1, at, token):
                in_blank = not moved(2, at, token)
                token -= 1
        elif token >= 0:
            in_blank = not moved(0, at, token)
    return token_of
