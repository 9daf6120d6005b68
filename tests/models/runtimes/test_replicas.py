from __future__ import annotations

import asyncio
from collections import Counter
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.models.protocol import DeadModelError, RequestError
from pipeline.models.runtimes import replicas
from pipeline.models.runtimes.replicas import BrokenError, Replicas, UnavailableError

PLANS = st.lists(st.lists(st.sampled_from(["answer", "answer", "away", "broken", "refuse"]), max_size=6), max_size=12)


@settings(max_examples=30, deadline=None)
@given(PLANS, st.integers(1, 3), st.integers(1, 3))
def test_every_request_has_one_outcome(plans: list[list[str]], servers: int, most: int) -> None:
    """Each request meets what its plan says, one after the other, and then is answered: what comes of it is known."""
    inside, most_inside, tries = Counter[int](), Counter[int](), Counter[int]()

    async def one(asked: Replicas[int], number: int) -> str:
        async def send(server: int) -> str:
            way = dict(enumerate(plans[number])).get(tries[number], "answer")
            tries[number] += 1
            inside[server] += 1
            most_inside[server] = max(most_inside[server], inside[server])
            await asyncio.sleep(0)
            inside[server] -= 1
            if way == "away":
                raise UnavailableError("gone")
            if way == "broken":
                raise BrokenError("odd")
            if way == "refuse":
                raise RequestError("no")
            return "answer"

        try:
            return await asked.ask(send)
        except RequestError as error:
            return str(error)

    async def every() -> list[str]:
        asked = Replicas(range(servers), most, 60.0)
        return await asyncio.gather(*(one(asked, number) for number in range(len(plans))))

    with patch.multiple(replicas, FIRST_PAUSE_S=0.001, LONGEST_PAUSE_S=0.002):
        found = asyncio.run(every())
    for plan, outcome in zip(plans, found, strict=True):
        broken = 0
        for way in [*plan, "answer"]:
            broken += way == "broken"
            if way in ("answer", "refuse") or broken == replicas.TRIES:
                wanted = {"answer": "answer", "refuse": "no"}.get(way, "failed 4 times: odd")
                assert outcome == wanted
                break
    assert max(most_inside.values(), default=0) <= most


def test_a_server_that_failed_is_left_alone_and_tried_with_one_request() -> None:
    log, fails = list[str](), [True]

    async def send(server: str) -> str:
        if fails:
            fails.clear()
            raise UnavailableError("gone", retry_after_s=0.2)
        log.append("in")
        await asyncio.sleep(0.05)
        log.append("out")
        return server

    async def every() -> None:
        asked = Replicas(["a"], 8, 60.0)
        first = asyncio.create_task(asked.ask(send))
        await asyncio.sleep(0.01)
        others = [asyncio.create_task(asked.ask(send)) for _ in range(4)]
        await asyncio.sleep(0.1)
        assert not log
        await asyncio.gather(first, *others)

    asyncio.run(every())
    assert log == ["in", "out", *["in"] * 4, *["out"] * 4]


def test_a_request_that_alone_times_out_is_given_up() -> None:
    """Others are answered meanwhile: it is not an outage, and a run must end."""

    async def send(_: str, is_odd: bool) -> str:
        if is_odd:
            await asyncio.sleep(0.03)
            raise UnavailableError("no answer", timed_out=True)
        await asyncio.sleep(0.002)
        return "answer"

    async def every() -> str:
        asked, odd = Replicas(["a", "b"], 4, 60.0), asyncio.Event()

        async def others() -> None:
            while not odd.is_set():
                await asked.ask(lambda server: send(server, False))

        busy = asyncio.create_task(others())
        try:
            return await asked.ask(lambda server: send(server, True))
        finally:
            odd.set()
            await busy

    with (
        patch.multiple(replicas, FIRST_PAUSE_S=0.001, LONGEST_PAUSE_S=0.002),
        pytest.raises(RequestError, match="timed out 4 times: no answer"),
    ):
        asyncio.run(asyncio.wait_for(every(), 30))


def test_a_server_that_refuses_all_is_left_to_the_others() -> None:
    async def send(server: str) -> str:
        if server == "gone":
            raise DeadModelError("the server refuses all requests")
        return server

    async def every(*servers: str) -> list[str]:
        asked = Replicas(servers, 1, 60.0)
        return await asyncio.gather(*(asked.ask(send) for _ in range(8)))

    with patch.multiple(replicas, FIRST_PAUSE_S=0.001, LONGEST_PAUSE_S=0.002):
        assert asyncio.run(every("gone", "a")) == ["a"] * 8
        with pytest.raises(DeadModelError):
            asyncio.run(every("gone"))
