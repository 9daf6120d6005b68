"""What an engine's actor does with a batch of parts: pyarrow tables in, pyarrow tables out. No Ray here.

Trouble with one question becomes a failure in its reply and never leaves as an exception; a dead engine does.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline import rows
from pipeline.models import protocol
from pipeline.models.protocol import Chat, Clip, ContextError, Message, Model, RequestError
from pipeline.schema import ANSWERED, FailureCode
from pipeline.tasks.ask import prompts, values
from pipeline.tasks.ask.questions import Conversation, Questions
from pipeline.tasks.ask.schema import COST, REPLIED, Part, Reply
from pipeline.tasks.protocol import Gather

EXCERPT = 100  # characters of an answer that is not what was asked for, in the failure's detail

Row = dict[str, Any]


class Ask:
    """PART rows -> REPLIED rows, one for each. `finished` counts replies."""

    def __init__(self, model: Model, questions: Questions, gather: Gather) -> None:
        self._model, self._questions, self._gather, self.finished = model, questions, gather, 0
        self._tools = [tool.model_dump() for tool in questions.tools]
        self._value = values.arrow_type(questions.answer_schema) if questions.answer_schema else None
        must_call = questions.tools and questions.tool_choice != "auto"
        self._calls = values.calls_schema(questions.tools, questions.tool_choice) if must_call else None

    async def __call__(self, windows: pa.Table) -> pa.Table:
        """All parts of the batch go to the model at once; it batches them as it sees fit."""
        return pa.Table.from_pylist(await asyncio.gather(*map(self._one, rows.read(windows, Part))), REPLIED)

    async def _one(self, part: Part) -> Row:
        if part.samples is None:
            return replied(part, None)
        asked = self._questions.filled(json.loads(part.columns or "{}"))
        clips, at = [], 0
        samples = np.frombuffer(part.samples, dtype="<i2")
        for length in part.lengths:
            clips.append(Clip(samples[at : at + length]))
            at += length
        found = await asyncio.gather(*(self._converse(turns, part, clips) for turns in asked))
        replies = [reply for some in found for reply in some]
        if (part.segment_index, part.segment_count) == (0, 1):
            return replied(part, replies)
        given = [asdict(reply) for reply in replies]
        every = await self._gather(part.recording_id, part.segment_index, part.segment_count, given)
        if every is None:
            return replied(part, replies)
        return replied(
            part, replies, await self._put_together(asked, [[Reply(**one) for one in some] for some in every])
        )

    async def _converse(self, turns: Conversation, part: Part, clips: Sequence[Clip]) -> list[Reply]:
        """The replies to turns that follow one another: what fails takes those behind it along."""
        messages = self._begun(with_audio=bool(clips))
        replies: list[Reply] = []
        for number, turn in enumerate(turns):
            text = prompts.question(turn.question, self._questions)
            messages.append(Message("user", text if number else prompts.first(text, part.names, part.text)))
            reply = await self._reply(messages, clips, number == len(turns) - 1)
            replies.append(reply)
            if reply.failure_code:
                detail = f"the question before it failed: {reply.failure_detail}"
                rest = turns[number + 1 :]
                return replies + [Reply(**_failure(reply.failure_code, detail))] * len(rest)
            messages.append(Message("assistant", reply.answer or "(no answer)"))
        return replies

    async def _put_together(self, asked: Sequence[Conversation], parts: Sequence[Sequence[Reply]]) -> list[Reply]:
        """The replies for a whole recording from those for its parts."""
        turns = [(turn.question, turn is turns[-1]) for turns in asked for turn in turns]
        own = (self._put_one_together(*turn, each) for turn, each in zip(turns, zip(*parts, strict=True), strict=True))
        return list(await asyncio.gather(*own))

    async def _put_one_together(self, asked: str, is_last: bool, parts: Sequence[Reply]) -> Reply:
        for number, reply in enumerate(parts, 1):
            if reply.failure_code:
                detail = f"part {number} of {len(parts)}: {reply.failure_detail}"
                return Reply(**_failure(reply.failure_code, detail))
        if is_last and self._tools:  # what each part asks for is asked for by the whole
            calls = [call for reply in parts for call in reply.tool_calls or []]
            return Reply(answer="\n".join(filter(None, (x.answer for x in parts))), tool_calls=calls)
        asked = prompts.question(asked, self._questions)
        return await self._from_answers(asked, is_last, [reply.answer or "" for reply in parts])

    async def _from_answers(self, asked: str, is_last: bool, answers: Sequence[str]) -> Reply:
        """The reply that answers about parts make; where one prompt does not hold them, that which halves of them make,
        put together first."""
        text = prompts.of_parts(asked, answers)
        reply = await self._reply([*self._begun(with_audio=False), Message("user", text)], (), is_last)
        has_no_room = reply.finish_reason == "length" and (reply.token_count or 0) < self._questions.max_tokens
        if not (has_no_room or reply.failure_code == FailureCode.CONTEXT_LIMIT) or len(answers) < 4:
            return reply
        middle = len(answers) // 2
        halves = [self._from_answers(asked, is_last, some) for some in (answers[:middle], answers[middle:])]
        made = [reply, *await asyncio.gather(*halves)]
        if failed := next((half for half in made[1:] if half.failure_code), None):
            return failed
        made.append(await self._from_answers(asked, is_last, [half.answer or "" for half in made[1:]]))
        return replace(made[-1], **{name: sum(getattr(one, name) or 0 for one in made) for name in COST})

    def _begun(self, with_audio: bool) -> list[Message]:
        system = None if with_audio else self._questions.system
        return [Message("system", system)] if system else []

    async def _reply(self, messages: Sequence[Message], clips: Sequence[Clip], is_last: bool) -> Reply:
        wanted = self._questions
        chat = Chat(
            list(messages),
            clips,
            schema=wanted.answer_schema if is_last else None,
            tools=self._tools if is_last else (),
            tool_choice=wanted.tool_choice if is_last and self._tools else "auto",
            calls_schema=self._calls if is_last else None,
            temperature=wanted.temperature,
            top_p=wanted.top_p,
            seed=wanted.seed,
            max_tokens=wanted.max_tokens,
        )
        try:
            said = await self._model.chat(chat)
        except ContextError as error:
            return Reply(**_failure(FailureCode.CONTEXT_LIMIT, str(error)))
        except RequestError as error:
            return Reply(**_failure(FailureCode.ENGINE_ERROR, str(error)))
        finally:
            self.finished += 1
        cost: Row = {"token_count": said.token_count, "prompt_tokens": said.prompt_tokens, "padded_s": said.padded_s}
        cost["finish_reason"] = said.finish_reason
        try:
            return Reply(answer=said.text, tool_calls=self._checked(said, is_last), **cost)
        except values.AnswerError as error:
            cut = said.finish_reason == "length"
            why = f"cut after {said.token_count} tokens (max_tokens)" if cut else error.detail
            detail = f"{why}; it began: {(said.calls or said.text)[:EXCERPT]!r}"
            return Reply(**_failure(FailureCode.INVALID_ANSWER, detail), **cost)

    def _checked(self, said: protocol.Reply, is_last: bool) -> list[dict[str, str]] | None:
        """The tool calls in an answer. Raises AnswerError where it breaks the schema that it has to follow."""
        if is_last and self._questions.answer_schema and self._value:
            values.value_of(said.text, self._questions.answer_schema, self._value)
        if not (is_last and self._tools):
            return None
        return (
            [] if said.calls is None else [asdict(x) for x in values.tool_calls_of(said.calls, self._questions.tools)]
        )


def engine_died(parts: pa.Table, deaths: int) -> pa.Table:
    """The REPLIED rows of PART rows that engines died of."""
    failure = _failure(FailureCode.ENGINE_DIED, f"{deaths} engines died of it")
    return pa.Table.from_pylist([replied(part, None) | failure for part in rows.read(parts, Part)], REPLIED)


def replied(part: Part, replies: Sequence[Reply] | None, whole: Sequence[Reply] | None = None) -> Row:
    """A REPLIED row."""
    own = {name: getattr(part, name) for name in ANSWERED.names}
    made = [*(replies or []), *(whole or [])]
    sums = {name: sum(getattr(reply, name) or 0 for reply in made) for name in ("token_count", "padded_s")}
    lists = {"replies": replies, "whole": whole}
    return own | sums | {name: some and [asdict(reply) for reply in some] for name, some in lists.items()}


def _failure(code: str, detail: str | None) -> Row:
    return {"failure_code": str(code), "failure_detail": detail}
