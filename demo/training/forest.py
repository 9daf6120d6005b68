"""Many prompts and answers that begin alike, computed at once: a tree of tokens, and rows packed with such trees.

A token attends to its ancestors and itself, and its position is its depth: what a plain causal model makes of each
path from the root, with the shared beginnings computed once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from demo.training.recorded import Recording
from demo.training.vocabulary import AUDIO, AUDIO_TOKENS, PAD

MARKS = 3  # labels for what is known at a token: digits so far, this digit, the largest so far
LONGEST_TABLE = 16
UNKNOWN = -100  # a label that no loss is taken of


@dataclass
class Tree:
    """Token ids of all nodes, parents before their children. Lists are parallel, one entry per node."""

    ids: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    audio: list[tuple[int, int]] = field(default_factory=list)  # recording and token in it; (-1, -1) elsewhere
    marks: list[list[int]] = field(default_factory=list)
    pairs: list[int] = field(default_factory=list)  # which of `others` counts at this audio token; -1 for none
    # at digits of a number that is written down: the digit in the same place of the number before it, and whether it
    # is the same
    written: dict[int, tuple[int, int]] = field(default_factory=dict)
    targets: list[int] = field(default_factory=list)
    skill: list[int] = field(default_factory=list)  # of the target
    recordings: list[Recording] = field(default_factory=list)
    # [k]: the other recording's digit number k, and whether this recording has the same there
    others: list[list[tuple[int, int]]] = field(default_factory=list)
    answers: list[tuple[int, list[int]]] = field(default_factory=list)  # a skill, and the nodes that predict its answer
    _children: dict[tuple[int, int, tuple[int, int]], int] = field(default_factory=dict)

    def add(
        self, ids: Sequence[int], recordings: Sequence[int] = (), answers: Sequence[tuple[int, int, int]] = ()
    ) -> list[int]:
        """Add a path from the root, and return its nodes.

        The [AUDIO] tokens are those of the `recordings` by number, one after another; `answers` are (skill, first,
        last + 1) of the tokens that are to be learned.
        """
        heard = iter([(r, i) for r in recordings for i in range(self.recordings[r].chunks * AUDIO_TOKENS)])
        node, path = -1, []
        for i in ids:
            audio = next(heard) if i == AUDIO else (-1, -1)
            key = (node, i, audio)
            if key not in self._children:
                self._children[key] = len(self.ids)
                self.ids.append(i)
                self.parents.append(node)
                self.depths.append(len(path))
                self.audio.append(audio)
                self.marks.append([UNKNOWN] * MARKS)
                self.pairs.append(-1)
                self.targets.append(UNKNOWN)
                self.skill.append(0)
            node = self._children[key]
            path.append(node)
        for skill, first, last in answers:
            for at in range(first, last):
                assert self.targets[path[at - 1]] in {UNKNOWN, ids[at]}, "two answers to one question"
                self.targets[path[at - 1]], self.skill[path[at - 1]] = ids[at], skill
            self.answers.append((skill, path[first - 1 : last - 1]))
        return path


@dataclass
class Rows:
    """Packed trees as arrays of (rows, length), and the recordings that their [AUDIO] tokens take."""

    ids: np.ndarray
    positions: np.ndarray
    mask: np.ndarray  # (rows, length, length): the first sees the second
    targets: np.ndarray
    skill: np.ndarray
    marks: np.ndarray  # (rows, length, MARKS)
    written: np.ndarray  # (rows, length, 2)
    audio: np.ndarray  # (audio tokens, 2): recording and token in it, in the order of `ids`
    pairs: np.ndarray  # (audio tokens): row of `others`, or -1
    others: np.ndarray  # (pairs, LONGEST_TABLE, 2)
    recordings: list[Recording]
    answers: list[tuple[int, int, list[int]]]  # row, skill, nodes


def pack(rows: Sequence[Sequence[Tree]], length: int) -> Rows:
    """Lay trees that fit one row next to each other."""
    shape = (len(rows), length)
    made = Rows(
        ids=np.full(shape, PAD),
        positions=np.zeros(shape, dtype=np.int64),
        mask=np.zeros((*shape, length), dtype=bool),
        targets=np.full(shape, UNKNOWN),
        skill=np.zeros(shape, dtype=np.int64),
        marks=np.full((*shape, MARKS), UNKNOWN),
        written=np.full((*shape, 2), UNKNOWN),
        audio=np.zeros(0),
        pairs=np.zeros(0),
        others=np.zeros(0),
        recordings=[],
        answers=[],
    )
    audio, pairs, others = [], [], []
    number: dict[int, int] = {}  # of each recording, which several trees may share
    made.mask[:, np.arange(length), np.arange(length)] = True
    for row, trees in enumerate(rows):
        begin = 0
        for tree in trees:
            size, first_pair = len(tree.ids), len(others)
            part = slice(begin, begin + size)
            made.ids[row, part], made.positions[row, part] = tree.ids, tree.depths
            made.targets[row, part], made.skill[row, part] = tree.targets, tree.skill
            made.marks[row, part] = tree.marks
            for node, known in tree.written.items():
                made.written[row, begin + node] = known
            sees = made.mask[row, part, part]
            for node, parent in enumerate(tree.parents):
                if parent >= 0:
                    sees[node] |= sees[parent]
            for recording in tree.recordings:
                if id(recording) not in number:
                    number[id(recording)] = len(number)
                    made.recordings.append(recording)
            heard = [number[id(recording)] for recording in tree.recordings]
            for (recording, token), pair in zip(tree.audio, tree.pairs, strict=True):
                if recording >= 0:
                    audio.append((heard[recording], token))
                    pairs.append(pair if pair < 0 else first_pair + pair)
            others += [[*table, *[(UNKNOWN, UNKNOWN)] * (LONGEST_TABLE - len(table))] for table in tree.others]
            made.answers += [(row, skill, [begin + n for n in nodes]) for skill, nodes in tree.answers]
            begin += size
    made.audio = np.array(audio, dtype=np.int64).reshape(-1, 2)
    made.pairs = np.array(pairs, dtype=np.int64)
    made.others = np.array(others, dtype=np.int64).reshape(-1, LONGEST_TABLE, 2)
    return made


def batches(trees: Iterator[Tree], rows: int, length: int) -> Iterator[Rows]:
    """Fill rows with trees as they come: one that fits no open row closes the fullest."""
    open_rows: list[tuple[int, list[Tree]]] = [(0, [])] * 4
    full: list[list[Tree]] = []
    for tree in trees:
        size = len(tree.ids)
        if not 0 < size <= length:
            continue
        fitting = [i for i, (used, _) in enumerate(open_rows) if used + size <= length]
        if fitting:
            at = max(fitting, key=lambda i: open_rows[i][0])
            used, held = open_rows[at]
            open_rows[at] = (used + size, [*held, tree])
        else:
            at = max(range(len(open_rows)), key=lambda i: open_rows[i][0])
            full.append(open_rows[at][1])
            open_rows[at] = (size, [tree])
        if len(full) == rows:
            yield pack(full, length)
            full = []
