"""Models that answer as a test wants, and the parts that they are asked about."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline import rows
from pipeline.flow.tracker import GatheringActor
from pipeline.models.abilities import Abilities
from pipeline.models.protocol import Chat, ContextError, Hypothesis, LanguageScorer, Reply, Request, RequestError
from pipeline.tasks.ask import worker
from pipeline.tasks.ask.questions import Questions
from pipeline.tasks.ask.schema import PART, REPLIED, Part

Row = dict[str, Any]
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
TOOLS = [{"name": "call", "parameters": {"type": "object", "properties": {"who": {"type": "string"}}}}]

FORMED, CALLING = {"answer_schema": SCHEMA}, {"tools": TOOLS}


class Plain:
    """Says what it was asked last, and how long the clips are."""

    abilities = Abilities(30.0, longest_chat_s=30.0)

    def __init__(self) -> None:
        self.asked: list[Chat] = []

    async def chat(self, chat: Chat) -> Reply:
        await asyncio.sleep(0)
        self.asked.append(chat)
        return self.answer(chat)

    def answer(self, chat: Chat) -> Reply:
        return said(f"{[len(clip.samples) for clip in chat.clips]} {chat.messages[-1].text}")

    def language_scorer(self, expected: Sequence[str], methods: Sequence[str]) -> LanguageScorer:
        raise NotImplementedError

    async def transcribe(self, request: Request) -> Hypothesis:
        raise NotImplementedError

    def shutdown(self) -> None:
        pass


def said(text: str, calls: str | None = None, finish_reason: str = "stop") -> Reply:
    return Reply(text, calls, finish_reason, 3, 10, 1.0)


class Says(Plain):
    """The same answer to everything."""

    def __init__(self, *answer: Any) -> None:
        super().__init__()
        self._answer = answer

    def answer(self, chat: Chat) -> Reply:
        return said(*self._answer)


def questions(*turns: Any, **more: Any) -> Questions:
    return Questions.model_validate({"name": "q", "conversations": [[turn] for turn in turns]} | more)


def samples(*lengths: int) -> Row:
    audio = np.concatenate([np.full(length, at, "<i2") for at, length in enumerate(lengths)])
    return {"samples": audio.tobytes(), "lengths": list(lengths)}


def part(index: int = 0, count: int | None = 1, **more: Any) -> Part:
    return Part(
        **({"recording_id": "r", "segment_index": index, "segment_count": count, "start_s": 0.0, "end_s": 1.0} | more)
    )


def ask(model: Plain, asked: Questions, parts: Sequence[Part], gathering: GatheringActor | None = None) -> list[Row]:
    held, before = gathering or GatheringActor(), len(model.asked)

    async def gather(*given: Any) -> Any:
        await asyncio.sleep(0)
        return held.add(*given)

    work = worker.Ask(model, asked, gather)
    table = asyncio.run(work(rows.table(parts, PART)))
    assert table.schema == REPLIED
    assert work.finished == len(model.asked) - before
    return table.to_pylist()


def parted(count: int, **more: Any) -> list[Part]:
    return [part(at, count if at == count - 1 else None, **samples(at + 1), **more) for at in range(count)]


class Random(Plain):
    """Fails, breaks off or says nonsense, as its seed says."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = random.Random(seed)

    def answer(self, chat: Chat) -> Reply:
        what = self._random.randrange(8)
        if what < 2:
            raise (RequestError if what else ContextError)("the seed says so")
        text = [
            '{"n": 1}',
            "\ud800 text",
            '{"n": 1',
            "",
            '{"n": 99999999999999999999}',
            '[{"name": "call", "arguments": {}}]',
        ]
        return said(text[what - 2].encode("utf-8", "replace").decode(), None, self._random.choice(["stop", "length"]))
