"""Embeddings into speakers: average linkage, without the rare voices, then each embedding to its nearest speaker."""

from __future__ import annotations

import numpy as np

# Chosen on half of the conversations of docs/speakers.md, which has the figures for the other half.
THRESHOLD = 0.31  # mean cosine of the typical embeddings of two speakers, at which they are one
LINKED = 0.06  # above it: first groups are merged while all of their embeddings are so much more alike
TYPICAL = 0.5  # share of a speaker's embeddings, those nearest to the mean: others are of two voices, or of noise
TYPICAL_VOICES = 6  # at least
# A speaker with less, of windows that overlap by half, is noise or a mixture of others: this times the square root of
# how many there are: 4 windows of one minute, 7 of three, 28 of an hour, 88 of ten.
RARE = 0.4
# Long recordings are first brought down to so many groups of alike neighbours: 2000 embeddings are 25 minutes.
CHUNK = 2000
GROUPS = 100  # of each chunk
ROUNDS = 10  # of moving embeddings to the nearest speaker, at most
TIE = 1e-6


def cluster(
    embeddings: np.ndarray, least: int = 1, most: int | None = None, threshold: float = THRESHOLD
) -> np.ndarray:
    """float32 (n, d), each of length 1, in order of time -> int64 (n,), the speaker of each, numbered as they appear.

    There are at least `least` speakers, or n if that is less, and at most `most`; between these as many as are less
    alike than `threshold`, a mean cosine. Deterministic. Memory grows with n, not with its square.
    """
    count = len(embeddings)
    least = min(max(1, least), count)
    most = count if most is None else max(most, least)
    if count == 0:
        return np.empty(0, dtype=np.int64)
    embeddings = np.asarray(embeddings, dtype=np.float32)
    labels = _linked(embeddings, _groups(embeddings, least), least, threshold + LINKED)
    labels = _without_rare(embeddings, labels, least)
    labels = _merged(embeddings, labels, least, most, threshold)
    return _by_appearance(_nearest(embeddings, labels))


def _groups(embeddings: np.ndarray, least: int) -> np.ndarray:
    """Labels of groups that are one speaker's without doubt; each embedding is its own where there are few."""
    labels = np.arange(len(embeddings))
    if len(labels) <= 2 * CHUNK:
        return labels
    wanted = max(GROUPS, least)
    for start in range(0, len(labels), CHUNK):
        chunk = slice(start, start + CHUNK)
        alone = np.arange(len(labels[chunk]))
        labels[chunk] = start + _linked(embeddings[chunk], alone, wanted, threshold=-1.0)
    return np.unique(labels, return_inverse=True)[1]


def _linked(embeddings: np.ndarray, labels: np.ndarray, least: int, threshold: float) -> np.ndarray:
    """Merge groups by average linkage while they are alike by `threshold` and more than `least`.

    The mean cosine of all pairs of two groups is the product of their means: no matrix of pairs is needed. Merges are
    found along chains of nearest neighbours, and are those of always merging the most alike.
    """
    means, sizes = _means(embeddings, labels)
    count = len(means)
    merges: list[tuple[float, int, int]] = []
    alive = np.ones(count, dtype=bool)
    chain: list[int] = []
    ties: list[float] = []  # how alike each of the chain is to the one before
    while len(merges) < count - 1:
        if not chain:
            chain, ties = [int(alive.argmax())], [-np.inf]
        here = chain[-1]
        alike = np.where(alive, means @ means[here], -np.inf)
        alike[here] = -np.inf
        near = int(alike.argmax())
        if alike[near] > ties[-1] + TIE:
            chain.append(near)
            ties.append(float(alike[near]))
            continue
        before = chain[-2]
        merges.append((ties[-1], min(here, before), max(here, before)))
        kept, gone = merges[-1][1:]
        total = sizes[kept] + sizes[gone]
        means[kept] = (means[kept] * sizes[kept] + means[gone] * sizes[gone]) / total
        sizes[kept], alive[gone] = total, False
        del chain[-2:], ties[-2:]
    merges.sort(key=lambda merge: -merge[0])
    wanted = min(count - least, sum(alike >= threshold for alike, _, _ in merges))
    return _united(count, [pair for _, *pair in merges[: max(0, wanted)]])[labels]


def _united(count: int, pairs: list[list[int]]) -> np.ndarray:
    """int (count,): labels of what the pairs connect."""
    parents = list(range(count))

    def root(at: int) -> int:
        while parents[at] != at:
            parents[at] = at = parents[parents[at]]
        return at

    for one, other in pairs:
        first, second = sorted((root(one), root(other)))
        parents[second] = first
    return np.unique([root(at) for at in range(count)], return_inverse=True)[1]


def _without_rare(embeddings: np.ndarray, labels: np.ndarray, least: int) -> np.ndarray:
    """Give the embeddings of rare speakers to the nearest other; the `least` most frequent stay."""
    sizes = np.bincount(labels)
    order = np.argsort(-sizes, kind="stable")
    enough = RARE * np.sqrt(len(labels))
    kept = order[: max(least, int((sizes >= enough).sum()))]
    rare = ~np.isin(labels, kept)
    if not rare.any():
        return labels
    means, _ = _means(embeddings, labels)
    labels = labels.copy()
    labels[rare] = kept[(embeddings[rare] @ _unit(means[kept]).T).argmax(axis=1)]
    return np.unique(labels, return_inverse=True)[1]


def _merged(embeddings: np.ndarray, labels: np.ndarray, least: int, most: int, threshold: float) -> np.ndarray:
    """Merge the most alike speakers while they are one by `threshold`, then down to `most` at the least cost."""
    typical = [_typical(embeddings[labels == speaker]) for speaker in range(int(labels.max()) + 1)]
    while len(typical) > least:
        alike = np.stack(typical) @ np.stack(typical).T
        np.fill_diagonal(alike, -np.inf)
        if alike.max() < threshold:
            if len(typical) <= most:
                break
            sizes = np.bincount(labels)  # Ward's cost: what is merged against its will should be little
            alike = (alike - 1.0) * (sizes * sizes[:, np.newaxis] / (sizes + sizes[:, np.newaxis]))
        kept, gone = sorted(map(int, np.unravel_index(alike.argmax(), alike.shape)))
        labels = np.where(labels == gone, kept, labels - (labels > gone))
        typical[kept] = _typical(embeddings[labels == kept])
        del typical[gone]
    return labels


def _typical(embeddings: np.ndarray) -> np.ndarray:
    """(n, d) -> (d,), the mean of those nearest to the mean of all."""
    alike = embeddings @ embeddings.mean(axis=0)
    count = max(round(TYPICAL * len(alike)), TYPICAL_VOICES)
    return embeddings[np.argsort(-alike, kind="stable")[:count]].mean(axis=0)


def _nearest(embeddings: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Move each embedding to the speaker whose mean it is nearest to, until none moves or a speaker would vanish."""
    count = int(labels.max()) + 1
    for _ in range(ROUNDS if count > 1 else 0):
        centres = _unit(_means(embeddings, labels)[0])
        moved = (embeddings @ centres.T).argmax(axis=1)
        if len(np.unique(moved)) < count or np.array_equal(moved, labels):
            break
        labels = moved
    return labels


def _means(embeddings: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32 (groups, d), the mean of each group, and float32 (groups,), how many are in it."""
    sizes = np.bincount(labels).astype(np.float32)
    order = np.argsort(labels, kind="stable")
    sums = np.add.reduceat(embeddings[order], np.concatenate([[0], np.cumsum(sizes[:-1])]).astype(np.int64))
    return sums / sizes[:, np.newaxis], sizes


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-9))


def _by_appearance(labels: np.ndarray) -> np.ndarray:
    _, first, labels = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[labels]
