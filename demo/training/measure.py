"""Examples of every skill in voices that are not in the training data, and what the training code makes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from demo.training import speech
from demo.training.forest import Tree
from demo.training.mixture import NAMES, Mixture
from demo.training.model import SmallVoxtral
from demo.training.prompts import Prompts
from demo.training.recorded import Recording
from demo.training.speech import SAMPLE_RATE_HZ
from demo.training.vocabulary import CHUNK_S, PAD

UNMEASURED = {"transcription", "lang"}  # these have measures of their own


@dataclass(frozen=True)
class Example:
    """One prompt, the recordings in it, and the answer that is right, up to </s>."""

    skill: str
    ids: tuple[int, ...]
    recordings: tuple[Recording, ...]
    answer: tuple[int, ...]


def of_tree(tree: Tree) -> list[Example]:
    made = []
    for skill, nodes in tree.answers:
        path = [nodes[0]]
        while tree.parents[path[-1]] >= 0:
            path.append(tree.parents[path[-1]])
        path.reverse()
        heard = dict.fromkeys(tree.audio[node][0] for node in path if tree.audio[node][0] >= 0)
        ids, answer = tuple(tree.ids[n] for n in path), tuple(tree.targets[n] for n in nodes)
        made.append(Example(NAMES[skill], ids, tuple(tree.recordings[r] for r in heard), answer))
    return made


def examples(prompts: Prompts, each: int, seed: int) -> list[Example]:
    """`each` examples of every skill, with single phrases of one to six digits."""
    spoken = speech.phrases(600, speech.HELD_OUT_VOICES, seed)
    by_language = {language: [p for p in spoken if p.language == language] for language in speech.DIGITS}
    twins = speech.twins(150, speech.HELD_OUT_VOICES, seed)
    mixture = Mixture(prompts, by_language, twins, np.random.default_rng(seed), single=True)
    made: list[Example] = []
    count, wanted = Counter[str](), set(NAMES) - UNMEASURED
    for tree in mixture.trees():
        for example in of_tree(tree):
            if example.skill in wanted and count[example.skill] < each:
                made.append(example)
                count[example.skill] += 1
        if all(count[skill] == each for skill in wanted):
            return made
    raise AssertionError("the mixture has no end")


@torch.no_grad()
def answered(model: SmallVoxtral, asked: Sequence[Example], batch: int = 32) -> list[bool]:
    """Whether greedy decoding by the training code gives exactly the right answer: each of its tokens is the likeliest
    one behind the right ones before it."""
    right = [False] * len(asked)
    order = sorted(range(len(asked)), key=lambda at: len(asked[at].ids))
    for begin in range(0, len(order), batch):
        some = order[begin : begin + batch]
        whole = [[*asked[at].ids, *asked[at].answer] for at in some]
        ids = torch.full((len(some), max(map(len, whole))), PAD)
        for row, path in enumerate(whole):
            ids[row, : len(path)] = torch.tensor(path)
        heard = [model.listen(torch.from_numpy(r.samples)[None])[0] for at in some for r in asked[at].recordings]
        said = model(torch.cat(heard) if heard else torch.zeros(0), ids).argmax(-1)
        for row, at in enumerate(some):
            first, answer = len(asked[at].ids), asked[at].answer
            right[at] = said[row, first - 1 : first - 1 + len(answer)].tolist() == list(answer)
    return right


def audio_of(example: Example) -> list[tuple[np.ndarray, int]]:
    """The recordings as an engine takes them: float32 samples of whole chunks, and their rate."""
    assert all(len(r.samples) == r.chunks * CHUNK_S * SAMPLE_RATE_HZ for r in example.recordings)
    return [(recording.samples, SAMPLE_RATE_HZ) for recording in example.recordings]
