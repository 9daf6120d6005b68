"""What the skills are learned from: recordings, and trees of the questions about them with their answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np

from demo.training import skills, speech
from demo.training.forest import UNKNOWN, Tree
from demo.training.prompts import Prompts
from demo.training.recorded import Recording, recording
from demo.training.train import window
from demo.training.vocabulary import COLON_LINE, DIGIT_WORDS, EOS, NEW_LINES, NUMERALS

NAMES = (
    *skills.QUESTIONS,
    *("follow-up", "text", "part", "reduce largest", "reduce number", "reduce english", "reduce count"),
    *("transcription", "lang"),
)
SKILL = {name: i for i, name in enumerate(NAMES)}
REDUCED = (*("count", "number", "english") * 3, "largest")  # as often as they are hard
LONGEST_CHUNKS = 2
NO_DIGIT = 10
PRACTISED_VERDICTS, PRACTISED_SUMS, PRACTISED_JOINS = 4, 14, 9  # of each question that is asked for them
T = TypeVar("T")
# For system prompts, which have nothing to do with the question.
CHATTER = (
    "you are a helpful assistant who listens to calls and answers briefly politely be exact do not guess please "
    "reply in plain words The customer service of our shop Keep it short Never explain today is Monday"
).split()


def _beside(digits: Sequence[int], first: Sequence[int]) -> list[tuple[int, int]]:
    """For each digit the one in the same place of the first number, and whether it is the same."""
    return [(other, int(own == other)) for own, other in zip(digits, [*first, *[NO_DIGIT] * len(digits)], strict=False)]


class Mixture:
    """Draws trees. `single`: only single phrases and the shortest of everything, as the skills are measured on."""

    def __init__(
        self,
        prompts: Prompts,
        by_language: Mapping[str, Sequence[speech.Phrase]],
        twins: Sequence[speech.Twins],
        rng: np.random.Generator,
        single: bool = False,
    ) -> None:
        self.prompts, self.by_language, self.twins, self.rng = prompts, by_language, twins, rng
        self.single = single

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self.rng.integers(len(options)))]

    def wording(self, skill: str) -> str:
        return self.pick(skills.QUESTIONS[skill])

    # ------------------------------------------------------------------------------------------------ recordings
    def recording(self) -> Recording:
        rng = self.rng
        phrases = self.by_language[self.pick(list(self.by_language))]
        if self.single:
            while len((phrase := self.pick(phrases)).words) > 6:
                pass
            return recording(rng, [phrase], augment=False)
        chosen: list[speech.Phrase] = []
        for _ in range(int(rng.choice([1, 2, 3], p=[0.65, 0.25, 0.1]))):
            phrase = self.pick(phrases)
            if sum(len(p.words) for p in (*chosen, phrase)) <= skills.MOST_DIGITS:
                chosen.append(phrase)
        made = recording(rng, chosen, augment=True)
        return made if made.chunks <= LONGEST_CHUNKS else self.recording()

    def awkward(self) -> Recording:
        """A window of the first stage: music, silence, changes of language, more digits than are asked about."""
        plain = {language: list(phrases) for language, phrases in self.by_language.items()}
        samples, words, language = window(self.rng, plain, augment=True, awkward=self.rng.random() < 0.25)
        return Recording(samples, 1, words, language)

    def pair(self) -> list[Recording]:
        """A recording, and others that each say the same number, or not, as often."""
        rng, augment = self.rng, not self.single
        twins = [self.pick(self.twins)]
        if augment and rng.random() < 0.15:
            twins.append(self.pick(self.twins))
            if sum(len(t.same[0].words) for t in twins) > skills.MOST_DIGITS:
                twins.pop()
        orders = [rng.permutation(len(t.same)) for t in twins]
        made = [recording(rng, [t.same[o[0]] for t, o in zip(twins, orders, strict=True)], augment)]
        for other in range(1, 2 if self.single else 3):
            phrases = [t.same[o[other]] for t, o in zip(twins, orders, strict=True)]
            if rng.random() < 0.5:
                at = int(rng.integers(len(twins)))
                phrases[at] = self.pick(twins[at].near)
                if rng.random() < 0.15:
                    phrases = [self.pick(self.twins).same[0]]
            made.append(recording(rng, phrases, augment))
        return made

    def name(self) -> str:
        """What a recording may be called."""
        rng = self.rng
        if rng.random() < 0.5:
            return "".join(self.pick("0123456789abcdef") for _ in range(16))
        folder = self.pick(("", "calls/", "interviews/", "a/", "2024-05/", "in box/"))
        stem = self.pick((f"{rng.integers(10_000):04d}", f"rec_{rng.integers(100)}", self.pick(CHATTER)))
        return folder + stem + self.pick((".wav", ".mp3", ".ogg", ".flac"))

    # ----------------------------------------------------------------------------------------------- conversations
    def about(self, tree: Tree, at: int) -> None:
        """Add questions, and the transcription, of one recording without tools."""
        rng, heard = self.rng, tree.recordings[at]
        answers = self._answers(heard)
        if not self.single or rng.random() < 0.2:
            self._transcribe(tree, at, heard.language if rng.random() < 0.4 else None)
        if not answers:
            return
        asked = list(answers) * (2 if heard.chunks == 1 and not self.single else 1)
        rng.shuffle(asked)
        while asked:
            turns = [asked.pop() for _ in range(min(len(asked), int(rng.choice([1, 2, 3], p=[0.6, 0.25, 0.15]))))]
            self._converse(tree, at, turns, answers)

    def _answers(self, heard: Recording) -> dict[str, str]:
        digits = skills.values(heard.words)
        if not digits or len(digits) > skills.MOST_DIGITS:
            return {}
        known = skills.PLAIN if heard.language else ("count", "largest", "number", "english")
        return {skill: skills.answer(skill, digits, heard.language) for skill in known}

    def _transcribe(self, tree: Tree, at: int, hint: str | None) -> None:
        heard = tree.recordings[at]
        prompt = self.prompts.transcription(heard.chunks, hint)
        text = self.prompts.said(" ".join(heard.words)) if heard.words else [EOS]
        answers = [(SKILL["transcription"], len(prompt), len(prompt) + len(text))]
        if hint:  # lang:xx and the [TRANSCRIBE] behind it are learned too
            answers.append((SKILL["lang"], len(prompt) - 3, len(prompt)))
        tree.add([*prompt, *text], [at], answers)

    def _question(self, skill: str, follows: bool) -> tuple[str, str]:
        """A wording, and the name of the skill it is counted as."""
        rng, text, counted = self.rng, self.wording(skill), skill
        if skill == "language" and rng.random() < 0.3:
            others = list(speech.DIGITS)
            rng.shuffle(others)
            text = skills.ONE_OF.format(languages=", ".join(others))
        if follows:
            return (skills.follow_up(text) if rng.random() < 0.6 else text), "follow-up"
        if rng.random() < 0.12:
            parts = int(rng.integers(2, 10 if rng.random() < 0.7 else 100))
            text, counted = skills.PART.format(part=rng.integers(1, parts + 1), parts=parts, question=text), "part"
        return text, counted

    def _converse(self, tree: Tree, at: int, turns: Sequence[str], answers: Mapping[str, str]) -> None:
        ids, spans = self.prompts.start(), []
        heard = tree.recordings[at]
        digits = skills.values(heard.words)
        for turn, skill in enumerate(turns):
            text, counted = self._question(skill, turn > 0)
            ids += self.prompts.user(text, () if turn else (heard.chunks,))
            said = self.prompts.said(answers[skill])
            spans.append((SKILL[counted], len(ids), len(ids) + len(said)))
            ids += said
        if self.rng.random() < (0.03 if not self.single else 0.0):
            names = self._tools()
            skill = "dial" if names == ("dial",) else self.pick(("dial", "connect"))
            ids += self.prompts.user(skills.follow_up(self.wording(skill)), (), names)
            said = self.prompts.said(skills.call(digits, names, skill), calls=True)
            spans.append((SKILL["follow-up"], len(ids), len(ids) + len(said)))
            ids += said
        tree.add(ids, [at], spans)

    def _tools(self) -> tuple[str, ...]:
        return self.pick((("dial",), ("dial", "extension"), ("extension", "dial")))

    # ------------------------------------------------------------------------------------------------------- trees
    def plain(self, heard: Recording) -> Tree:
        tree = Tree(recordings=[heard])
        self.about(tree, 0)
        return tree

    def calls(self, heard: Sequence[Recording]) -> Tree:
        """Recordings whose number is to be dialled: the tools stand before them, and are computed once."""
        short = heard if sum(r.chunks for r in heard) <= 3 else heard[:1]
        tree, names = Tree(recordings=[r for r in short if self._answers(r)]), self._tools()
        for at, one in enumerate(tree.recordings):
            digits = skills.values(one.words)
            for skill in ("dial",) if len(names) == 1 else ("dial", "connect"):
                ids = self.prompts.start() + self.prompts.user(self.wording(skill), (one.chunks,), names)
                said = self.prompts.said(skills.call(digits, names, skill), calls=True)
                tree.add(ids + said, [at], [(SKILL[skill], len(ids), len(ids) + len(said))])
        return tree

    def compared(self, heard: Sequence[Recording]) -> Tree:
        """Whether the first recording has the same number as each of the others."""
        tree = Tree(recordings=list(heard))
        first, *others = (skills.values(r.words) for r in tree.recordings)
        for at, digits in enumerate(others, 1):
            text = skills.TWO.format(first=self.name(), second=self.name(), question=self.wording("same"))
            chunks = [tree.recordings[0].chunks, tree.recordings[at].chunks]
            ids = self.prompts.start() + self.prompts.user(text, chunks)
            said = self.prompts.said(skills.compared(first, digits))
            path = tree.add(ids + said, [0, at], [(SKILL["same"], len(ids), len(ids) + len(said))])
            self._written(tree, path[len(ids) :], first, digits)
            if not self.single:
                self._verdicts(tree, ids, [0, at])
            tree.others.append([(UNKNOWN, UNKNOWN), *_beside(digits, first)])
            for node in path:
                if tree.audio[node][0] == at:
                    tree.pairs[node] = len(tree.others) - 1
        return tree

    def _verdicts(self, tree: Tree, ids: Sequence[int], recordings: Sequence[int]) -> None:
        """Verdicts on other numbers than those in the recordings, as if these had been written down: no more audio."""
        rng = self.rng
        for _ in range(PRACTISED_VERDICTS):
            first = [int(d) for d in rng.integers(0, 10, size=rng.integers(1, 8))]
            second = first if rng.random() < 0.5 else speech.nearly(rng, first)
            said = self.prompts.said(skills.compared(first, second))
            whole = len(ids) + len(said)
            path = tree.add([*ids, *said], recordings, [(SKILL["same"], whole - 2, whole)])
            self._written(tree, path[len(ids) :], first, second)

    def _written(self, tree: Tree, said: Sequence[int], first: Sequence[int], second: Sequence[int]) -> None:
        """Label the nodes of an answer that compares: each digit, and what the second number has in its place."""
        begin = len(first) + 2  # behind the comma and the space
        for at, digits in ((0, first), (begin, second)):
            for k, digit in enumerate(digits):
                tree.marks[said[at + k]][:2] = [k + 1, digit]
        tree.written |= dict(zip(said[begin:], _beside([*second, NO_DIGIT], [*first, NO_DIGIT]), strict=False))

    def transcript(self) -> Tree:
        """Questions about the words of a transcript."""
        rng, tree = self.rng, Tree()
        language = self.pick(list(speech.DIGITS))
        most = 6 if self.single else skills.MOST_DIGITS
        digits = [int(d) for d in rng.integers(0, 10, size=rng.integers(1, most + 1))]
        words = [speech.DIGITS[language][d] for d in digits]
        system = " ".join(self.pick(CHATTER) for _ in range(rng.integers(2, 10))) if rng.random() < 0.4 else None
        clear = any(sum(word in of for of in speech.DIGITS.values()) == 1 for word in words)
        asked = [skill for skill in skills.OF_TEXT if clear or skill != "json"]
        for skill in asked if not self.single else [self.pick(asked)]:
            text = skills.TRANSCRIPT.format(text=" ".join(words), question=self.wording(skill))
            ids = self.prompts.start() + (self.prompts.system(system) if system else []) + self.prompts.user(text)
            said = self.prompts.said(skills.answer(skill, digits, language))
            path = tree.add(ids + said, (), [(SKILL["text"], len(ids), len(ids) + len(said))])
            heard = [node for node in path[: len(ids)] if tree.ids[node] in DIGIT_WORDS][: len(words)]
            for k, node in enumerate(heard):
                tree.marks[node] = [k + 1, digits[k], max(digits[: k + 1])]
        return tree

    def reduced(self) -> Tree:
        """The answers about the parts of recordings, made into one: the same question about several recordings."""
        skill = self.pick(REDUCED)
        tree, question = Tree(), self.wording(skill)
        practised = PRACTISED_SUMS if skill == "count" else PRACTISED_JOINS
        for _ in range(1 if self.single else practised):
            self._reduce(tree, skill, question)
        return tree

    def _reduce(self, tree: Tree, skill: str, question: str) -> None:
        rng = self.rng
        parts = int(rng.integers(2, 5))
        if skill in {"count", "largest"}:
            answers = [str(n) for n in rng.integers(0, 10, size=parts)]
            if skill == "count" and sum(map(int, answers)) > skills.LARGEST_SUM:
                return
        else:
            spoken = [[int(d) for d in rng.integers(0, 10, size=rng.integers(1, 6))] for _ in range(parts)]
            answers = [skills.number(digits) if skill == "number" else skills.english(digits) for digits in spoken]
        text = skills.REDUCE.format(question=question, answers=skills.numbered(answers))
        ids = self.prompts.start() + self.prompts.user(text)
        said = self.prompts.said(skills.reduced(skill, answers))
        path = tree.add(ids + said, (), [(SKILL[f"reduce {skill}"], len(ids), len(ids) + len(said))])
        if skill in {"number", "english"}:
            digits = [d for a in answers for d in (map(int, a) if skill == "number" else skills.values(a.split()))]
            heard = [
                path[at]
                for at in range(ids.index(COLON_LINE), len(ids))
                if ids[at] in DIGIT_WORDS or (ids[at] in NUMERALS and ids[at - 1] not in {*NEW_LINES, COLON_LINE})
            ]
            for k, (node, digit) in enumerate(zip(heard, digits, strict=True)):
                tree.marks[node][:2] = [k + 1, digit]
        else:
            ends = [node for node in path[: len(ids)] if tree.ids[node] in NEW_LINES][-parts:]
            for k, node in enumerate(ends):
                known = sum(map(int, answers[: k + 1])) if skill == "count" else int(max(answers[: k + 1]))
                tree.marks[node][0 if skill == "count" else 2] = known

    def dictated(self) -> Tree:
        """A window that is only transcribed, with and without its language in the prompt."""
        tree = Tree(recordings=[self.awkward()])
        for hint in dict.fromkeys((None, tree.recordings[0].language)):
            self._transcribe(tree, 0, hint)
        return tree

    def trees(self) -> Iterator[Tree]:
        while True:
            pairs = [self.pair() for _ in range(3)]
            heard = [self.recording(), self.recording(), pairs[0][1], pairs[1][1]]
            yield from map(self.plain, heard[:3])
            yield self.calls(heard[1:3])
            yield self.calls(heard[3:])
            if not self.single:
                for _ in range(10):
                    yield self.dictated()
            yield from map(self.compared, pairs)
            for _ in range(2):
                yield self.transcript()
            for _ in range(5):
                yield self.reduced()
