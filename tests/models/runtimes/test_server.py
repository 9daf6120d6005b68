from __future__ import annotations

import asyncio
import base64
import io
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import soundfile

from pipeline.errors import ConfigurationError
from pipeline.models.checkpoint import Checkpoint, inspect
from pipeline.models.protocol import Chat, Clip, ContextError, DeadModelError, Message, Request, RequestError
from pipeline.models.runtimes import server
from pipeline.models.runtimes.scripted import text_of
from pipeline.settings import Engine, Settings
from tests.conftest import tone
from tests.fake_server import Answer, Asked, FakeServer, failure, json_answer, serving, slowly

ASKED = Request(tone(1.5))


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def model_on(*servers: FakeServer, **engine: Any) -> server.ServerModel:
    wanted = Engine(server=tuple(each.url for each in servers), **{"stall_timeout_s": 20.0, **engine})
    return server.ServerModel(Settings(input="i", output="o", engine=wanted), inspect(wanted))


def transcribed(behave: Callable[[Asked], Answer | None], request: Request = ASKED, **engine: Any) -> str:
    with serving(behave=behave) as fake:
        return asyncio.run(model_on(fake, **engine).transcribe(request)).text


# What is known before a run.


def test_what_vllm_tells_of_its_model() -> None:
    card = {"owned_by": "vllm", "root": "mistralai/Voxtral-Mini-3B-2507", "max_model_len": 4096}
    with serving(model="mini", card=card, version="0.32.0") as fake:
        found = inspect(Engine(server=(fake.url,)))
    revision = "mini (mistralai/Voxtral-Mini-3B-2507)"
    assert found == Checkpoint("mini", "server", revision, 30.0, "server", 4096, runtime_version="vllm 0.32.0")


def test_other_servers_tell_less() -> None:
    with serving() as fake:
        assert inspect(Engine(server=(fake.url + "/",))) == Checkpoint("fake", "server", "fake", 30.0, "server")
        assert inspect(Engine(server=(fake.url,), model="fake", family="server")).model == "fake"


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ({"model": "whisper-1"}, "serves fake, and not --engine.model whisper-1"),
        ({"count": 2}, "--engine.count 2: is for engines"),
        ({"revision": "main"}, "--engine.revision main"),
        ({"family": "voxtral"}, "--engine.family voxtral"),
    ],
)
def test_what_a_server_cannot_be_asked(engine: dict[str, Any], said: str) -> None:
    with serving() as fake, pytest.raises(ConfigurationError, match=said):
        inspect(Engine(server=(fake.url,), **engine))


def test_the_only_model_need_not_be_named_but_one_of_many() -> None:
    data = {"data": [{"id": "a"}, {"id": "b"}]}

    class Many(FakeServer):
        def look(self, path: str, headers: dict[str, str]) -> Answer:
            return json_answer(data)

    fake = Many().start()
    with pytest.raises(ConfigurationError, match=f"{fake.url}: serves a, b: name one with --engine.model"):
        inspect(Engine(server=(fake.url,)))
    assert inspect(Engine(server=(fake.url,), model="b")).model == "b"
    data["data"] = []
    with pytest.raises(ConfigurationError, match="serves no model"):
        inspect(Engine(server=(fake.url,)))
    fake.stop()
    with pytest.raises(ConfigurationError, match=f"--engine.server {fake.url}: no answer .*is it up"):
        inspect(Engine(server=(fake.url,)))


def test_a_wrong_path_and_what_is_no_server() -> None:
    with serving() as fake, pytest.raises(ConfigurationError, match=r"HTTP 404\): most such URLs end in /v1"):
        inspect(Engine(server=(fake.url.removesuffix("/v1"),)))
    for answer in (b"<html>", b"[]", b'{"data": 3}', b'{"data": [{"id": 3}]}', b"[" * 100_000):

        class Odd(FakeServer):
            def look(self, path: str, headers: dict[str, str], answer: bytes = answer) -> Answer:
                return 200, {}, answer

        fake = Odd().start()
        with pytest.raises(ConfigurationError, match="no OpenAI-compatible server"):
            inspect(Engine(server=(fake.url,)))
        fake.stop()


def test_replicas_serve_the_same() -> None:
    with serving() as one, serving() as other:
        assert inspect(Engine(server=(one.url, other.url))).model == "fake"
        other.card = {"root": "another"}
        with pytest.raises(ConfigurationError, match=rf"{one.url} has fake, {other.url} has fake \(another\)"):
            inspect(Engine(server=(one.url, other.url)))


def test_the_key_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(key="sk-right") as fake:
        with pytest.raises(ConfigurationError, match="wants a key, and there is none in OPENAI_API_KEY"):
            inspect(Engine(server=(fake.url,)))
        monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")
        with pytest.raises(ConfigurationError, match="does not take the key in OPENAI_API_KEY") as caught:
            inspect(Engine(server=(fake.url,)))
        assert "wrong key: Bearer ***" in str(caught.value) and "sk-wrong" not in str(caught.value)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-right\n")
        model = model_on(fake)
        assert asyncio.run(model.transcribe(ASKED)).text == text_of(ASKED)
        fake.key = "sk-another"
        with pytest.raises(DeadModelError, match=r"the server refuses all requests.*HTTP 401") as died:
            asyncio.run(model_on_another_loop(fake))
        assert "sk-right" not in str(died.value)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-ü")
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        inspect(Engine(server=(fake.url,)))


async def model_on_another_loop(fake: FakeServer) -> None:
    wanted = Engine(server=(fake.url,), stall_timeout_s=20.0)
    checkpoint = Checkpoint("fake", "server", "fake", 30.0, "server")
    await server.ServerModel(Settings(input="i", output="o", engine=wanted), checkpoint).transcribe(ASKED)


def test_redirects_are_not_followed() -> None:
    with serving() as other:

        class Elsewhere(FakeServer):
            def look(self, path: str, headers: dict[str, str]) -> Answer:
                return 307, {"Location": other.url + "/models"}, b""

        fake = Elsewhere().start()
        with pytest.raises(ConfigurationError, match=f"sends requests to {other.url}/models .HTTP 307"):
            inspect(Engine(server=(fake.url,)))
        fake.stop()
    with pytest.raises(DeadModelError, match="HTTP 307"):
        transcribed(lambda _: (307, {"Location": "http://127.0.0.1:9/"}, b""))


# Transcripts.


def test_a_window_goes_there_as_it_is() -> None:
    samples = np.random.default_rng(0).integers(-32768, 32767, 24_000, dtype=np.int16)
    with serving() as fake:
        said = asyncio.run(model_on(fake).transcribe(Request(samples, "de", 0.4)))
    (asked,) = fake.asked
    assert (asked.samples == samples).all()
    sent = {"file": "window.flac", "model": "fake", "language": "de", "temperature": "0.4", "response_format": "json"}
    assert asked.body == sent
    assert said.text == text_of(Request(samples))
    assert (said.finish_reason, said.token_count, said.mean_logprob, said.padded_s) == (None, None, None, 1.5)


def test_opus_is_smaller_and_as_long() -> None:
    with serving() as fake:
        asyncio.run(model_on(fake, server_audio="opus").transcribe(ASKED))
    (asked,) = fake.asked
    assert asked.body["file"] == "window.ogg" and len(asked.samples) == len(ASKED.samples)
    assert "language" not in asked.body


def test_vllm_is_told_how_long_a_text_may_be() -> None:
    with serving(card={"owned_by": "vllm"}, version="0.32.0") as fake:
        asyncio.run(model_on(fake, max_tokens_per_s=2.0).transcribe(Request(ASKED.samples, temperature=0.8)))
    (asked,) = fake.asked
    assert (asked.body["max_completion_tokens"], asked.body["seed"]) == ("11", "0")


def test_tokens_are_counted_where_the_server_does() -> None:
    usage = {"type": "tokens", "input_tokens": 9, "output_tokens": 5}
    with serving(behave=lambda _: json_answer({"text": " a ", "usage": usage})) as fake:
        said = asyncio.run(model_on(fake).transcribe(ASKED))
    assert (said.text, said.token_count) == ("a", 5)


# Trouble.


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
def test_what_passes_is_waited_for(status: int) -> None:
    assert transcribed(lambda asked: failure(status) if asked.number < 2 else None) == text_of(ASKED)


def test_retry_after_is_obeyed() -> None:
    began = time.monotonic()
    assert transcribed(lambda asked: failure(429, Retry_After="2") if not asked.number else None) == text_of(ASKED)
    assert time.monotonic() - began > 2


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_request_fails_alone(status: int) -> None:
    with pytest.raises(RequestError, match=f"HTTP {status}: the audio is odd"):
        transcribed(lambda _: failure(status, "the audio is odd\n"))


def test_a_prompt_that_is_too_long_is_told_apart() -> None:
    with pytest.raises(ContextError):
        transcribed(lambda _: failure(400, "This model's maximum context length is 128 tokens."))


GARBAGE = [b"", b"{", b"[]", b"null", b'{"text": 3}', b'{"text": null}', b'{"text": "\\ud800"}', b'{"error": "x"}']


@pytest.mark.parametrize("body", [*GARBAGE, b'{"text": "' + b"a" * (5 << 20) + b'"}'])
def test_garbage_is_asked_for_again(body: bytes) -> None:
    assert transcribed(lambda asked: (200, {}, body) if not asked.number else None) == text_of(ASKED)


def test_what_fails_again_and_again_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.models.runtimes.replicas.FIRST_PAUSE_S", 0.05)
    with pytest.raises(RequestError, match=r"failed 4 times: .*HTTP 500: no"):
        transcribed(lambda _: failure(500))
    with pytest.raises(RequestError, match=r"failed 4 times: .*no answer: not JSON"):
        transcribed(lambda _: (200, {}, b"?"))
    with pytest.raises(RequestError, match="a compressed answer"):
        transcribed(lambda _: (200, {"Content-Encoding": "gzip"}, b"?"))


def test_a_server_that_cannot_do_it_ends_the_engine() -> None:
    for status in (404, 501, 403, 405):
        with pytest.raises(DeadModelError, match=f"HTTP {status}"):
            transcribed(lambda _, status=status: failure(status))


def test_a_server_that_stays_away_ends_the_engine() -> None:
    with pytest.raises(DeadModelError, match=r"anything for --engine.stall-timeout-s 1 .*HTTP 503: asleep"):
        transcribed(lambda _: failure(503, "asleep"), stall_timeout_s=1.0)


def test_a_server_that_hangs_is_left_for_another() -> None:
    with serving(behave=slowly(30.0)) as stuck, serving() as fake:
        model = model_on(stuck, fake, stall_timeout_s=2.0)

        async def some() -> list[str]:
            return [said.text for said in await asyncio.gather(*(model.transcribe(ASKED) for _ in range(6)))]

        assert asyncio.run(some()) == [text_of(ASKED)] * 6


def test_a_server_that_is_started_again_is_used_again() -> None:
    with serving(behave=slowly(0.2)) as fake:
        model = model_on(fake, max_num_seqs=4)

        async def some() -> list[str]:
            asked = asyncio.gather(*(model.transcribe(Request(tone(1.0 + 0.1 * n))) for n in range(12)))
            await asyncio.sleep(0.3)
            await asyncio.to_thread(fake.stop)
            await asyncio.sleep(1.0)
            fake.start()
            return [said.text for said in await asked]

        assert asyncio.run(some()) == [text_of(Request(tone(1.0 + 0.1 * n))) for n in range(12)]
    assert fake.most_inside <= 4


def test_each_server_has_its_share_and_no_more() -> None:
    with serving(behave=slowly(0.1)) as one, serving(behave=slowly(0.1)) as other:
        model = model_on(one, other, max_num_seqs=3)

        async def some() -> None:
            await asyncio.gather(*(model.transcribe(ASKED) for _ in range(24)))

        asyncio.run(some())
    assert (one.most_inside, other.most_inside) == (3, 3)
    assert abs(len(one.asked) - len(other.asked)) <= 4


# Conversations.

TOOL = {"name": "dial", "description": "Dial.", "parameters": {"type": "object"}}


def chatted(chat: Chat, behave: Callable[[Asked], Answer | None] = lambda _: None, **facts: Any) -> tuple[Any, Any]:
    with serving(behave=behave, **facts) as fake:
        said = asyncio.run(model_on(fake).chat(chat))
    return fake.asked[0].body, said


def test_clips_stand_before_the_first_question() -> None:
    messages = [Message("user", "What?"), Message("assistant", "That."), Message("user", "Sure?")]
    clips = [Clip(tone(1.0)), Clip(tone(0.5))]
    sent, said = chatted(Chat(messages, clips, temperature=0.2, top_p=0.9, seed=4, max_tokens=9))
    first, *others = sent["messages"]
    assert [part["type"] for part in first["content"]] == ["input_audio", "input_audio", "text"]
    audio = first["content"][1]["input_audio"]
    assert audio["format"] == "flac"
    assert (soundfile.read(io.BytesIO(base64.b64decode(audio["data"])), dtype="int16")[0] == tone(0.5)).all()
    assert others == [{"role": "assistant", "content": "That."}, {"role": "user", "content": "Sure?"}]
    assert (sent["temperature"], sent["top_p"], sent["seed"], sent["max_tokens"]) == (0.2, 0.9, 4, 9)
    assert (said.text, said.calls, said.finish_reason) == ("24000: Sure?", None, "stop")
    assert (said.token_count, said.prompt_tokens, said.padded_s) == (3, 7, 1.5)


@pytest.mark.parametrize(("choice", "sent"), [("auto", "auto"), ("required", "required"), ("dial", None)])
def test_tools_are_offered_and_their_calls_read(choice: str, sent: str | None) -> None:
    calls = [{"id": "1", "type": "function", "function": {"name": "dial", "arguments": '{"number": "12"}'}}] * 2
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    answer = json_answer({"choices": [{"message": message, "finish_reason": "tool_calls"}]})
    asked, said = chatted(Chat([Message("user", "Dial.")], tools=[TOOL], tool_choice=choice), lambda _: answer)
    assert asked["tools"] == [{"type": "function", "function": TOOL}]
    assert asked["tool_choice"] == (sent or {"type": "function", "function": {"name": "dial"}})
    assert json.loads(said.calls) == [{"name": "dial", "arguments": {"number": "12"}}] * 2
    assert (said.text, said.finish_reason, said.token_count, said.prompt_tokens) == ("", "stop", None, None)


def test_arguments_that_are_no_json_are_passed_on_as_text() -> None:
    call = {"function": {"name": "dial", "arguments": '{}}, {"name": "other"'}}
    answer = json_answer({"choices": [{"message": {"tool_calls": [call]}}]})
    _, said = chatted(Chat([Message("user", "Dial.")], tools=[TOOL]), lambda _: answer)
    assert json.loads(said.calls) == [{"name": "dial", "arguments": '{}}, {"name": "other"'}]


def test_an_answer_by_a_schema() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    sent, _ = chatted(Chat([Message("user", "What?")], schema=schema), card={"owned_by": "vllm"}, version="1")
    assert sent["response_format"] == {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    assert sent["repetition_detection"]["min_count"]


ODD = ['{"choices": []}', '{"choices": [3]}', '{"choices": [{"message": {"content": [1]}}]}', '{"choices": {}}']
ODD += ['{"choices": [{"message": {"tool_calls": [3]}}]}', '{"choices": [{"message": {"content": "\\ud800"}}]}']


@pytest.mark.parametrize("body", ODD)
def test_an_answer_of_a_wrong_shape_is_asked_for_again(body: str) -> None:
    behave: Callable[[Asked], Answer | None] = lambda asked: (200, {}, body.encode()) if not asked.number else None  # noqa: E731
    _, said = chatted(Chat([Message("user", "What?")]), behave)
    assert said.text == "0: What?"


def test_counts_that_no_column_holds_are_left_out() -> None:
    usage = {"prompt_tokens": 2**31, "completion_tokens": True}
    answer = json_answer({"choices": [{"message": {"content": "a"}}], "usage": usage})
    _, said = chatted(Chat([Message("user", "What?")]), lambda _: answer)
    assert (said.token_count, said.prompt_tokens, said.finish_reason) == (None, None, None)
