from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.models.protocol import RequestError
from pipeline.models.runtimes.batches import Batches, Continuation, Prompt


def prompt(number: int) -> Prompt:
    return Prompt([number], [], 1)


class Echo:
    """Answers with the prompt's ids, and notes the batches; a prompt of -1 fails its batch."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.threads = set[int]()

    def __call__(self, prompts: Sequence[Prompt]) -> list[Continuation]:
        self.threads.add(threading.get_ident())
        self.batches.append([each.ids[0] for each in prompts])
        if -1 in self.batches[-1]:
            raise MemoryError("too large")
        return [Continuation(list(each.ids), [], "stop", {}) for each in prompts]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), max_size=30), st.integers(1, 5))
def test_each_has_its_own_answer_and_batches_are_of_one_key(asked: list[tuple[int, int]], largest: int) -> None:
    echo = Echo()
    batches = Batches(echo, largest)

    async def ask() -> list[Continuation]:
        waiting = (batches.answer(prompt(at), key, order) for at, (key, order) in enumerate(asked))
        return await asyncio.gather(*waiting)

    answers = asyncio.run(ask())
    batches.close()
    assert [answer.ids for answer in answers] == [[at] for at in range(len(asked))]
    assert sorted(at for batch in echo.batches for at in batch) == list(range(len(asked)))
    assert all(len(batch) <= largest and len({asked[at][0] for at in batch}) == 1 for batch in echo.batches)
    firsts = [(asked[batch[0]][1], batch[0]) for batch in echo.batches]
    assert firsts == sorted(firsts)  # the lowest order is never kept waiting
    assert threading.get_ident() not in echo.threads and len(echo.threads) <= 1


def test_what_one_batch_raises_all_of_it_raise_and_no_other() -> None:
    batches = Batches(Echo(), 2)

    async def ask() -> list[Continuation | BaseException]:
        waiting = (batches.answer(prompt(number), "key", at) for at, number in enumerate([7, -1, 8]))
        return await asyncio.gather(*waiting, return_exceptions=True)

    first, second, third = asyncio.run(ask())
    batches.close()
    assert isinstance(first, MemoryError) and isinstance(second, MemoryError)
    assert isinstance(third, Continuation) and third.ids == [8]


def test_one_that_fails_alone_raises_alone() -> None:
    def compute(prompts: Sequence[Prompt]) -> list[Continuation | RequestError]:
        return [RequestError("no") if each.ids == [1] else Continuation([], [], "stop", {}) for each in prompts]

    batches = Batches(compute, 4)

    async def ask() -> list[Continuation | BaseException]:
        waiting = (batches.answer(prompt(at), "key", at) for at in range(3))
        return await asyncio.gather(*waiting, return_exceptions=True)

    first, second, third = asyncio.run(ask())
    batches.close()
    assert isinstance(first, Continuation) and isinstance(third, Continuation) and isinstance(second, RequestError)


def test_who_is_gone_is_not_computed() -> None:
    echo = Echo()
    batches = Batches(echo, 1)

    async def ask() -> Continuation:
        gone = asyncio.ensure_future(batches.answer(prompt(1), "key", 0))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        return await batches.answer(prompt(2), "key", 1)

    assert asyncio.run(ask()).ids == [2]
    batches.close()
    assert echo.batches == [[2]]
