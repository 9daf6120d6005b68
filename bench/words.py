"""How exact word times are: against espeak-ng's own, and by cutting real speech where they say that words part.

    python -m bench.words --aligner demo/aligner
    [SPEECH_CORPUS=folder WHISPER_MODEL=folder] python -m bench.words --aligner folder --crops \
        [--languages en,de] [--clips 20]

The first speaks the demo's words with voices that its aligner was not trained on; espeak-ng tells when. The second
needs no reference times: each clip of a corpus with references is cut between two words near its middle, and a model
transcribes the halves. Words that a cut hits are lost: the halves' recall of the reference's words is held against that
of the whole clip, and of halves that are cut where the words would part if all were equally long. It also counts the
texts that would be flagged as not in the audio: true ones, and those of the next clip.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np
from rich.console import Console
from rich.table import Table

from bench import speech
from bench.harness import fitted
from bench.quality import WORDS
from demo.training import aligner as demo_aligner
from pipeline import models
from pipeline.alignment import loading
from pipeline.alignment.protocol import Aligner
from pipeline.alignment.words import words_of
from pipeline.models import checkpoint
from pipeline.models.demand import of_windows
from pipeline.models.protocol import Model, Request
from pipeline.schema import SAMPLE_RATE_HZ
from pipeline.settings import Alignment, Engine, Language
from pipeline.tasks.transcribe.words import unsupported

LEAST_WORDS = 4  # of a clip that is cut


@dataclass
class Recall:
    """Words of references, and how many of them transcripts have, of clips as they are and in halves: cut where the
    aligner says that words part, and where they would if all were equally long."""

    words: int = 0
    whole: int = 0
    halves: int = 0
    even: int = 0
    clips: int = 0
    not_aligned: int = 0
    flagged: int = 0
    flagged_others: int = 0

    def cells(self) -> list[str]:
        """As the table shows it."""
        recalls = (f"{count / max(1, self.words):.1%}" for count in (self.whole, self.halves, self.even))
        flagged = (f"{count} of {self.clips}" for count in (self.not_aligned, self.flagged, self.flagged_others))
        return [str(self.words), *recalls, *flagged]


def cut(aligner: Aligner, clip: speech.Clip) -> tuple[int, int] | None:
    """The word, of those that whitespace parts, before which a clip's second half begins, and its first sample: midway
    between that word and the one before. The nearest to the middle that has a time; None where no two words have."""
    words = clip.reference.split()
    parts = [len(words_of(word)) for word in words]
    found = aligner.align(clip.samples, words_of(clip.reference), clip.language)
    ends = np.cumsum(parts)
    for at in sorted(range(1, len(words)), key=lambda at: abs(2 * at - len(words))):
        before_s, after_s = found[ends[at - 1] - 1].end_s, found[ends[at - 1]].start_s
        if before_s is not None and after_s is not None:
            return at, round((before_s + after_s) / 2 * SAMPLE_RATE_HZ)
    return None


def common(reference: str, text: str) -> tuple[int, int]:
    """Words of a reference, and how many of them a text has in this order."""
    said, heard = (WORDS([each])[0] for each in (reference, text))
    matches = SequenceMatcher(None, said, heard, autojunk=False).get_matching_blocks()
    return len(said), sum(match.size for match in matches)


async def crops(aligner: Aligner, clips: Sequence[speech.Clip], model: Model) -> Recall:
    """The recall of one language's clips, whole and in halves."""
    score = Recall()

    async def recalled(reference: str, samples: np.ndarray) -> tuple[int, int]:
        return common(reference, (await model.transcribe(Request(samples, clips[0].language))).text)

    async def in_halves(clip: speech.Clip, at: int, sample: int) -> int:
        words = clip.reference.split()
        halves = [(words[:at], clip.samples[:sample]), (words[at:], clip.samples[sample:])]
        return sum([(await recalled(" ".join(own), samples))[1] for own, samples in halves])

    for clip in clips:
        place = cut(aligner, clip)
        score.clips += 1
        if place is None:
            score.not_aligned += 1
            continue
        count, whole = await recalled(clip.reference, clip.samples)
        score.words += count
        score.whole += whole
        score.halves += await in_halves(clip, *place)
        score.even += await in_halves(clip, place[0], len(clip.samples) * place[0] // len(clip.reference.split()))
    return score


def flagged(aligner: Aligner, clips: Sequence[speech.Clip], texts: Iterable[str]) -> int:
    """Clips whose texts would be flagged as `unsupported_words`."""
    least = Alignment().min_score
    found = (
        aligner.align(clip.samples, words_of(text), clip.language) for clip, text in zip(clips, texts, strict=True)
    )
    return sum(unsupported([word.score for word in words], least) for words in found)


async def main() -> None:
    """One of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--aligner", required=True, help="a folder, or a name on the hub")
    parser.add_argument("--crops", action="store_true", help="real speech, cut at word edges")
    parser.add_argument("--languages", default="en,de,es,fr,pt", help="of the real speech")
    parser.add_argument("--clips", type=int, default=20, help="of each language")
    wanted = parser.parse_args()
    name, revision, config = checkpoint.identify("--aligner", wanted.aligner, None)
    aligner = loading.load(config, name, revision=revision)
    if not wanted.crops:
        return demo_aligner.measure(aligner)
    if missing := speech.missing():
        parser.error(f"--crops: {missing}")
    languages = wanted.languages.split(",")
    engine = Engine(model=speech.WHISPER, device="cpu", runtime="transformers")
    settings = fitted(engine, Language.model_validate({"expected": languages}))
    seen = checkpoint.inspect(engine)
    model = models.start(settings, seen, of_windows(settings, seen))
    console, everything = Console(width=140), speech.clips(speech.REAL)
    table = Table("", "words", "recall: whole", "halves", "evenly cut", "not aligned", "flagged: true", "others'")
    for language in languages:
        own = [each for each in everything if each.language == language and len(each.reference.split()) >= LEAST_WORDS]
        own = own[: wanted.clips]
        score = await crops(aligner, own, model)
        texts = [clip.reference for clip in own]
        score.flagged, score.flagged_others = (
            flagged(aligner, own, texts),
            flagged(aligner, own, [*texts[1:], texts[0]]),
        )
        table.add_row(language, *score.cells())
        console.print(language, *score.cells(), highlight=False)
    console.print(table)
    model.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
