from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.models.runtimes import wire
from pipeline.models.runtimes.wire import WireError

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None))  # surrogates too
KEYS = "text usage output_tokens choices message content tool_calls function name arguments finish_reason data id root"
NAMES = st.sampled_from([*KEYS.split(), "max_model_len", "error", "detail", "version", "other"])


def inside(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(values, max_size=3) | st.dictionaries(NAMES, values, max_size=4)


ANYTHING = st.recursive(LEAVES, inside, max_leaves=20)
MESSAGES = st.fixed_dictionaries(
    {"choices": st.lists(st.fixed_dictionaries({"message": ANYTHING, "finish_reason": LEAVES}), max_size=2)},
    optional={"usage": ANYTHING},
)


@given(ANYTHING | MESSAGES, st.sampled_from([wire.transcript, wire.reply, wire.cards, wire.version]))
def test_whatever_comes_is_an_answer_that_can_be_written_or_none(body: Any, read: Callable[[bytes], Any]) -> None:
    try:
        found = read(json.dumps(body).encode())
    except wire.WireError:
        return
    for each in found if isinstance(found, list) else [found]:
        values = [each] if isinstance(each, str) else [getattr(each, name) for name in each.__slots__]
        for value in values:
            if isinstance(value, str):
                value.encode()
            assert value is None or isinstance(value, str) or 0 <= value < 2**31


@given(st.binary(max_size=50))
def test_bytes_that_are_no_json_are_no_answer(body: bytes) -> None:
    for read in (wire.transcript, wire.reply, wire.cards):
        with pytest.raises(wire.WireError):
            read(b"x" + body)


@given(ANYTHING)
def test_a_refusal_is_a_short_line(body: Any) -> None:
    said = wire.said_wrong(body)
    assert (len(said) <= 300 and said.encode() and "\n" not in said) or not said


def test_a_refusal_holds_no_part_of_the_key() -> None:
    assert "sk-" not in wire.said_wrong({"error": {"message": f"{'x' * 294}sk-secret"}}, "sk-secret")


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))
def test_calls_are_a_list_whatever_the_model_wrote(name: str, arguments: str) -> None:
    call = {"function": {"name": name, "arguments": arguments}}
    said = wire.reply(json.dumps({"choices": [{"message": {"tool_calls": [call]}}]}).encode())
    assert said.calls is not None
    (found,) = json.loads(said.calls)
    assert found.keys() == {"name", "arguments"} and found["name"] == name


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("7", 7.0),
        ("soon", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 21 Oct 2015 07:28:00", 0.0),
        ("Wed, 21 Oct 2015 07:28:00 -0000", 0.0),
    ],
)
def test_when_to_ask_again(said: str, seconds: float | None) -> None:
    assert wire.retry_after_s({"retry-after": said}) == seconds


@pytest.mark.parametrize(
    ("reason", "said"),
    [("stop", "stop"), ("tool_calls", "stop"), ("model_length", "length"), (None, None)]
    + [(cut, WireError) for cut in ("abort", "error", "content_filter")],
)
def test_how_an_answer_ended(reason: str | None, said: Any) -> None:
    body = json.dumps({"choices": [{"message": {"content": "The customer wants to"}, "finish_reason": reason}]})
    if said is WireError:
        with pytest.raises(WireError, match=f"was cut: finish_reason {reason}"):
            wire.reply(body.encode())
    else:
        assert wire.reply(body.encode()).finish_reason == said
