"""Teach a checkpoint that transcribes to answer questions: the second stage of `make demo-checkpoint`.

What the model knows at each audio token is taught too: how many digits there were so far, which one this is, the
largest so far, and whether they were those of the other recording; and at each digit that an answer writes down, the
one that it is compared with. A head for words (CTC) says where in the audio the digits are, and keeps the encoder
listening while it learns on. None of these heads is exported.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from demo.training import speech
from demo.training.forest import LONGEST_TABLE, UNKNOWN, Rows, batches
from demo.training.mixture import NAMES, NO_DIGIT, SKILL, Mixture
from demo.training.model import DECODER, SmallVoxtral, export
from demo.training.muon import Muon
from demo.training.prompts import Prompts
from demo.training.recorded import Recording
from demo.training.skills import LARGEST_SUM, values
from demo.training.train import WORD_INDEX, load_phrases
from demo.training.vocabulary import AUDIO, AUDIO_TOKENS, WORDS

ROW = 544  # tokens of a row of packed trees
KNOWN_AFTER, COMPARED_AFTER = 2, 3  # layers whose states must tell the digits so far, and those of another recording
HEAVY = ("count", "largest", "same", "language", "reduce count", "reduce largest", "transcription")  # each token


Speech = tuple[dict[str, list[speech.Phrase]], list[speech.Twins]]


class Heads(nn.Module):
    """What the states of the decoder's layers must tell: each mark; the other recording's digit of the same
    number, and whether it is the same."""

    def __init__(self) -> None:
        super().__init__()
        dim = DECODER["dim"]
        self.marks = nn.ModuleList(nn.Sequential(nn.RMSNorm(dim), nn.Linear(dim, n)) for n in (LARGEST_SUM + 1, 11, 11))
        self.equal = nn.Sequential(nn.RMSNorm(dim), nn.Linear(dim, 2))
        self.other = nn.Sequential(nn.RMSNorm(dim), nn.Linear(dim, 11))


def listen(model: SmallVoxtral, recordings: Sequence[Recording]) -> list[Tensor]:
    """The (audio tokens, dim) embeddings of each recording."""
    heard: dict[int, Tensor] = {}
    for chunks in {r.chunks for r in recordings}:
        own = [i for i, r in enumerate(recordings) if r.chunks == chunks]
        made = model.listen(torch.from_numpy(np.stack([recordings[i].samples for i in own])))
        heard |= dict(zip(own, made, strict=True))
    return [heard[i] for i in range(len(recordings))]


@torch.no_grad()
def embedded(model: SmallVoxtral, mixture: Mixture, count: int) -> tuple[Tensor, list[Tensor]]:
    """Audio embeddings (count, AUDIO_TOKENS, dim) of recordings of one chunk, and their words by number."""
    recordings: list[Recording] = []
    while len(recordings) < count:
        if (drawn := mixture.recording()).chunks == 1:
            recordings.append(drawn)
    audio = [heard for i in range(0, count, 32) for heard in listen(model, recordings[i : i + 32])]
    return torch.stack(audio), [torch.tensor([WORD_INDEX[w] for w in r.words]) for r in recordings]


def fit_spotter(model: SmallVoxtral, mixture: Mixture, steps: int = 1000, batch: int = 32) -> nn.Linear:
    """A head for words (CTC) on the audio embeddings of the model as it is."""
    head = nn.Linear(DECODER["dim"], len(WORDS) + 1)
    optimiser = torch.optim.AdamW(head.parameters(), lr=0.02)
    audio, words = embedded(model, mixture, 1024)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 0.02 * (1 - step / steps)
        some = torch.randperm(len(words))[:batch]
        loss = F.ctc_loss(
            head(audio[some]).log_softmax(-1).transpose(0, 1),
            torch.cat([words[i] for i in some]),
            torch.full((batch,), AUDIO_TOKENS),
            torch.tensor([len(words[i]) for i in some]),
            zero_infinity=True,
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if (step + 1) % 250 == 0:
            print(f"words in the audio, step {step + 1}: ctc {loss.item():.3f}", flush=True)
    return head


def spotted(head: nn.Linear, audio: Tensor, recording: Recording) -> np.ndarray:
    """(audio tokens, 3): digits so far, the digit here or NO_DIGIT, the largest so far or NO_DIGIT.

    All UNKNOWN where the head does not find the words that are there.
    """
    found = head(audio).argmax(-1).numpy()
    starts = np.flatnonzero((found != 0) & (found != np.concatenate([[0], found[:-1]])))
    marks = np.full((len(found), 3), UNKNOWN)
    if [WORDS[found[at] - 1] for at in starts] != list(recording.words):
        return marks
    digits = np.array(values(recording.words), dtype=np.int64)
    marks[:, 0] = (np.arange(len(found))[:, None] >= starts).sum(1)
    so_far = np.concatenate([[NO_DIGIT], np.maximum.accumulate(digits)]) if len(digits) else np.array([NO_DIGIT])
    marks[:, 1] = np.where(found != 0, np.concatenate([[NO_DIGIT], digits])[marks[:, 0]], NO_DIGIT)
    marks[:, 2] = so_far[marks[:, 0]]
    return marks


def labelled(head: nn.Module, states: Tensor, labels: np.ndarray) -> Tensor:
    """The head's cross-entropy where there are labels."""
    wanted = torch.from_numpy(labels)
    known = wanted != UNKNOWN
    return F.cross_entropy(head(states[known]), wanted[known]) if known.any() else torch.zeros(())


class Teacher:
    def __init__(self, model: SmallVoxtral, spotter: nn.Linear) -> None:
        self.model, self.spotter, self.heads = model, spotter, Heads()
        self.weight = torch.ones(len(NAMES))
        for name in HEAVY:
            self.weight[SKILL[name]] = 3.0
        self.need = torch.ones(len(NAMES))  # grows with a skill's error rate

    def states(self, rows: Rows) -> tuple[list[Tensor], list[Tensor]]:
        heard = listen(self.model, rows.recordings)
        begins = np.concatenate([[0], np.cumsum([len(h) for h in heard])])
        flat = torch.cat(heard)[torch.from_numpy(begins[rows.audio[:, 0]] + rows.audio[:, 1])]
        ids, positions, mask = map(torch.from_numpy, (rows.ids, rows.positions, rows.mask))
        return self.model.states(flat, ids, positions, mask), heard

    def words_loss(self, heard: Sequence[Tensor], recordings: Sequence[Recording]) -> Tensor:
        """CTC of the words that the head finds in the audio: keeps the encoder listening."""
        words = [torch.tensor([WORD_INDEX[w] for w in r.words], dtype=torch.long) for r in recordings]
        return F.ctc_loss(
            self.spotter(nn.utils.rnn.pad_sequence(list(heard))).log_softmax(-1),
            torch.cat(words),
            torch.tensor(list(map(len, heard))),
            torch.tensor(list(map(len, words))),
            zero_infinity=True,
        )

    def losses(self, rows: Rows) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of the answers, of the marks, of comparisons, and of the words in the audio."""
        states, heard = self.states(rows)
        targets = torch.from_numpy(rows.targets)
        asked = targets != UNKNOWN
        logits = self.model.output(self.model.norm(states[-1][asked]))
        weight = (self.weight * self.need)[torch.from_numpy(rows.skill)[asked]]
        each = F.cross_entropy(logits, targets[asked], reduction="none")
        answer_loss = (each * weight).sum() / weight.sum()

        with torch.no_grad():
            found = [spotted(self.spotter, h, r) for h, r in zip(heard, rows.recordings, strict=True)]
        marks, compared = rows.marks.copy(), rows.written.copy()
        flat = np.concatenate(found)
        begins = np.concatenate([[0], np.cumsum([len(f) for f in found])])
        there = flat[begins[rows.audio[:, 0]] + rows.audio[:, 1]]
        is_audio = rows.ids == AUDIO
        marks[is_audio] = there
        if len(rows.others):
            known = (rows.pairs >= 0) & (there[:, 0] != UNKNOWN)
            compared[is_audio] = np.where(
                known[:, None], rows.others[rows.pairs, np.clip(there[:, 0], 0, LONGEST_TABLE - 1)], UNKNOWN
            )
        mark_loss, compared_loss = torch.zeros(()), torch.zeros(())
        for at, head in enumerate(self.heads.marks):
            for where in (is_audio, ~is_audio):
                mark_loss = mark_loss + labelled(head, states[KNOWN_AFTER], np.where(where, marks[..., at], UNKNOWN))
        for at, head in enumerate((self.heads.other, self.heads.equal)):
            compared_loss = compared_loss + labelled(head, states[COMPARED_AFTER], compared[..., at])
        return answer_loss, mark_loss, compared_loss, self.words_loss(heard, rows.recordings)

    @torch.no_grad()
    def accuracy(self, measured: Sequence[Rows]) -> dict[str, float]:
        """The share of answers of which every token is the likeliest: those that greedy decoding would give."""
        right: dict[str, list[bool]] = defaultdict(list)
        for rows in measured:
            states, _ = self.states(rows)
            said = self.model.output(self.model.norm(states[-1])).argmax(-1).numpy()
            for row, skill, nodes in rows.answers:
                right[NAMES[skill]].append(bool((said[row, nodes] == rows.targets[row, nodes]).all()))
        return {name: float(np.mean(right[name])) for name in NAMES if name in right}


class Stream(torch.utils.data.IterableDataset):
    """Packed rows without end, from a seed."""

    def __init__(self, mixture: Mixture, rows: int) -> None:
        super().__init__()
        self.mixture, self.rows = mixture, rows

    def __iter__(self) -> Iterator[Rows]:
        return batches(self.mixture.trees(), self.rows, ROW)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--start", type=Path, default=Path("build/demo-training/listening"), help="the first stage's")
    parser.add_argument("--output", type=Path, default=Path("demo/model"))
    parser.add_argument("--work", type=Path, default=Path("build/demo-training"))
    parser.add_argument("--phrases", type=int, default=24_000)
    parser.add_argument("--twins", type=int, default=2_600)
    parser.add_argument("--steps", type=int, default=5_000)
    parser.add_argument("--decay-steps", type=int, default=2_500, help="the last steps, with the rate falling to zero")
    parser.add_argument("--rows", type=int, default=5)
    parser.add_argument("--rate", type=float, default=1.5e-3, help="of Adam: embeddings and norms")
    parser.add_argument("--listening-rate", type=float, default=4e-4, help="of Adam: the encoder, which can listen")
    parser.add_argument("--matrix-rate", type=float, default=0.012, help="of Muon: the decoder's layers")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(2)

    def speech_of(phrases: int, twins: int, voices: Sequence[str], seed: int, name: str) -> Speech:
        cache = args.work / f"{name}_twins.pt"
        if not cache.exists():
            torch.save(speech.twins(twins, voices, seed), cache)
        by_language = load_phrases(phrases, voices, seed, args.work / f"{name}.pt")
        return by_language, torch.load(cache, weights_only=False)

    train = speech_of(args.phrases, args.twins, speech.TRAINING_VOICES, args.seed, "train")
    held_out = speech_of(600, 150, speech.HELD_OUT_VOICES, args.seed + 1, "held_out")
    prompts = Prompts(args.work / "tokenizer")
    test = Mixture(prompts, *held_out, np.random.default_rng([args.seed, 6]), single=True)
    measured = [rows for rows, _ in zip(batches(test.trees(), 8, ROW), range(8), strict=False)]

    torch.manual_seed(args.seed)
    model, progress, first = SmallVoxtral(), args.work / "skills.pt", 0
    model.load_state_dict(load_file(args.start / "consolidated.safetensors"))
    state = torch.load(progress, weights_only=False) if progress.exists() else None
    if state:
        spotter = nn.Linear(DECODER["dim"], len(WORDS) + 1)
        spotter.load_state_dict(state["spotter"])
    else:
        spotter = fit_spotter(model, Mixture(prompts, *train, np.random.default_rng([args.seed, 7])))
    teacher = Teacher(model, spotter)
    parameters = [*model.parameters(), *teacher.heads.parameters(), *spotter.parameters()]
    audio = ("mm_whisper_embeddings.whisper_encoder.", "mm_whisper_embeddings.audio_language_projection.")
    listening = [*spotter.parameters(), *(p for name, p in model.named_parameters() if name.startswith(audio))]
    matrices = [p for p in model.layers.parameters() if p.ndim == 2]
    others = [p for p in parameters if all(p is not m for m in (*matrices, *listening))]
    optimisers = {
        "muon": (Muon(matrices, lr=args.matrix_rate), args.matrix_rate),
        "adam": (torch.optim.AdamW(others, lr=args.rate, betas=(0.9, 0.98), weight_decay=0.01), args.rate),
        "listening": (torch.optim.AdamW(listening, betas=(0.9, 0.98), weight_decay=0.01), args.listening_rate),
    }
    if state:
        model.load_state_dict(state["model"])
        teacher.heads.load_state_dict(state["heads"])
        for name, (optimiser, _) in optimisers.items():
            optimiser.load_state_dict(state[name])
        teacher.need, first = state["need"], state["step"]
    drawn = Mixture(prompts, *train, np.random.default_rng([args.seed, 8, first]))
    stream = torch.utils.data.DataLoader(Stream(drawn, args.rows), batch_size=None, num_workers=1, prefetch_factor=4)

    started, losses = time.monotonic(), []
    for step, rows in zip(range(first, args.steps), stream, strict=False):
        share = min(1.0, (step + 1 - first) / 100, (args.steps - step) / args.decay_steps)
        for optimiser, rate in optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = rate * share
            optimiser.zero_grad(set_to_none=True)
        answer, marks, compared, words = teacher.losses(rows)
        (answer + 0.3 * marks + 0.4 * compared + 0.3 * words).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimiser, _ in optimisers.values():
            optimiser.step()
        losses.append((answer.item(), marks.item(), compared.item(), words.item()))
        if (step + 1) % 25 == 0:
            mean, pace = np.mean(losses[-25:], axis=0), (time.monotonic() - started) / (step + 1 - first)
            print(f"step {step + 1}: {mean.round(3)}, {pace:.2f} s a step, {time.strftime('%H:%M')}", flush=True)
        if (step + 1) % 100 == 0 or step + 1 == args.steps:
            shares = teacher.accuracy(measured)
            for name, right in shares.items():
                teacher.need[SKILL[name]] = 1.0 + 2.0 * (1.0 - right)
            made = {"model": model.state_dict(), "heads": teacher.heads.state_dict(), "spotter": spotter.state_dict()}
            made |= {name: optimiser.state_dict() for name, (optimiser, _) in optimisers.items()}
            torch.save(made | {"need": teacher.need, "step": step + 1}, progress)
            export(model, args.output)
            print(f"step {step + 1}: " + ", ".join(f"{n} {r:.1%}" for n, r in shares.items()), flush=True)


if __name__ == "__main__":
    main()
