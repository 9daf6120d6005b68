"""The one module that touches OpenAI's client: models that run on servers, such as `vllm serve` or hosted ones."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeVar

import httpx2
import openai

from pipeline.errors import ConfigurationError
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.demand import Demand, max_tokens
from pipeline.models.families.server import FAMILY
from pipeline.models.protocol import (
    Chat,
    ContextError,
    DeadModelError,
    Hypothesis,
    LanguageScorer,
    LanguageScores,
    Reply,
    Request,
    RequestError,
)
from pipeline.models.runtime import Runtime
from pipeline.models.runtimes import served, wire
from pipeline.models.runtimes.replicas import BrokenError, Replicas, UnavailableError
from pipeline.models.runtimes.vllm import LOOP
from pipeline.schema import SAMPLE_RATE_HZ
from pipeline.settings import Engine, Settings

KEY = "OPENAI_API_KEY"
NO_KEY = "none"  # what servers that want none are sent
LOOK_S, CONNECT_S = 30.0, 10.0
MOST_BYTES = 4 << 20  # of an answer
REFUSED = frozenset({400, 413, 415, 422})
UNAVAILABLE = frozenset({408, 425, 429, 502, 503, 504, 529})
GATEWAY_TIMEOUT = 504
NOT_THERE = 501  # with this vLLM says that a model cannot do what is asked
TOO_LONG = re.compile(r"context.?length|context window|maximum model length", re.IGNORECASE)

Answer = TypeVar("Answer")


class _TooLargeError(Exception):
    """An answer has more than MOST_BYTES, or is compressed."""


class _Bounded(httpx2.AsyncByteStream, httpx2.SyncByteStream):
    """An answer's bytes, no more than MOST_BYTES."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._room = stream, MOST_BYTES

    def _counted(self, chunk: bytes) -> bytes:
        self._room -= len(chunk)
        if self._room < 0:
            raise _TooLargeError(f"an answer of more than {MOST_BYTES:,} bytes")
        return chunk

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            yield self._counted(chunk)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            yield self._counted(chunk)

    def close(self) -> None:
        self._stream.close()

    async def aclose(self) -> None:
        await self._stream.aclose()


def _bound(response: httpx2.Response) -> None:
    if response.headers.get("content-encoding", "identity") != "identity":  # none was asked for
        raise _TooLargeError("a compressed answer")
    response.stream = _Bounded(response.stream)


async def _bound_later(response: httpx2.Response) -> None:
    _bound(response)


def _arguments(url: str, timeout_s: float) -> dict[str, Any]:
    """What a client is made with."""
    key = os.environ.get(KEY, "").strip()
    if not key.isascii() or not key.isprintable():
        raise ConfigurationError(f"{KEY} in the environment: a key has letters, digits and signs of ASCII alone")
    return {
        "base_url": url,
        "api_key": key or NO_KEY,
        "timeout": httpx2.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s)),
        "default_headers": {"Accept-Encoding": "identity"},
    }


def _said(error: openai.APIStatusError) -> str:
    """What a server says of a failure, in one line without the key."""
    said = wire.said_wrong(error.body, os.environ.get(KEY, "").strip())
    return f"HTTP {error.status_code}{said and ': '}{said}"


def _cause(error: BaseException) -> str:
    """What lies below an exception of the client, in a few words."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(f"{type(error).__name__}: {error}".split())[:200].rstrip(": ")


def look(engine: Engine) -> Checkpoint:
    """Ask the servers which model they run; see served.look."""
    return served.look(engine, _get)


def _get(url: str) -> bytes:
    """What lies there.

    Raises:
        ConfigurationError: nothing does, or it is not for us. The message says what to do.
    """
    http = openai.DefaultHttpxClient(follow_redirects=False, event_hooks={"response": [_bound]})
    with openai.OpenAI(**_arguments(url, LOOK_S), http_client=http) as client:
        try:
            # With a path that it does not know, the client sends no key by itself.
            headers = {"Authorization": f"Bearer {client.api_key}"}
            return client.get(url, cast_to=httpx2.Response, options={"headers": headers}).content
        except Exception as error:  # the client lets those of its HTTP library through
            raise ConfigurationError(_trouble(error)) from error


def _trouble(error: Exception) -> str:
    match error:
        case openai.APIStatusError(status_code=401 | 403):
            wants = "does not take the key in" if os.environ.get(KEY) else "wants a key, and there is none in"
            return f"it {wants} {KEY} ({_said(error)}): set it to one that the server knows"
        case openai.APIStatusError(status_code=404):
            return "it has no models (HTTP 404): most such URLs end in /v1"
        case openai.APIStatusError(status_code=status) if 300 <= status < 400:
            where = error.response.headers.get("location", "elsewhere")
            return f"it sends requests to {where:.100} (HTTP {status}): name the server itself"
        case openai.APIStatusError():
            return f"it cannot say which models it has ({_said(error)}): try again when it can"
        case openai.APIConnectionError():
            return f"no answer ({_cause(error)}): is it up, and is this its address?"
        case _:
            return f"no OpenAI-compatible server answers there ({_cause(error)}): most such URLs end in /v1"


class ServerModel:
    """A model on one server or more."""

    abilities = FAMILY.abilities

    def __init__(self, settings: Settings, checkpoint: Checkpoint) -> None:
        """Nothing is asked yet.

        Raises:
            ConfigurationError: the key in the environment cannot be one.
        """
        engine = settings.engine
        self._model, self._form, self._tokens_per_s = checkpoint.model, engine.server_audio, engine.max_tokens_per_s
        self._timeout_s = engine.stall_timeout_s / 2  # a server that hangs leaves time to ask another
        self._on_vllm = (checkpoint.runtime_version or "").startswith(served.VLLM)
        self._replicas = Replicas(
            [self._client(url, engine.max_num_seqs) for url in engine.server],
            engine.max_num_seqs,
            engine.stall_timeout_s,
        )

    def _client(self, url: str, connections: int) -> openai.AsyncOpenAI:
        http = openai.DefaultAsyncHttpxClient(
            follow_redirects=False,
            event_hooks={"response": [_bound_later]},
            limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
        )
        return openai.AsyncOpenAI(**_arguments(url, self._timeout_s), http_client=http, max_retries=0)

    def language_scorer(self, expected: Sequence[str], methods: Sequence[str]) -> LanguageScorer:
        async def score(request: Request) -> LanguageScores:
            return LanguageScores({})

        return score

    async def transcribe(self, request: Request) -> Hypothesis:
        """Transcribe one window.

        Raises:
            RequestError: servers refused it, or failed at it again and again.
            DeadModelError: no server answers any more, or one refuses all that we ask.
        """
        audio = await asyncio.to_thread(wire.encoded, request.samples, self._form)
        extra: dict[str, Any] = {}
        if self._on_vllm:
            extra["max_completion_tokens"] = max_tokens(request.duration_s, self._tokens_per_s)
            extra |= {"seed": 0} if request.temperature else {}

        async def send(client: openai.AsyncOpenAI) -> wire.Said:
            answer = await client.audio.transcriptions.with_raw_response.create(
                file=(f"window.{wire.extension(self._form)}", audio),
                model=self._model,
                language=request.language or openai.omit,
                temperature=request.temperature,
                response_format="json",
                extra_body=extra,
            )
            return wire.transcript(answer.content)

        said = await self._ask(send)
        return Hypothesis(said.text, said.finish_reason, said.token_count, None, None, request.duration_s)

    async def chat(self, chat: Chat) -> Reply:
        """Answer in a conversation.

        Raises:
            ContextError: the conversation is longer than the model's context.
            RequestError: as in `transcribe`, and DeadModelError.
        """
        asked: Any = await asyncio.to_thread(wire.conversation, chat, self._form)
        extra = {"repetition_detection": LOOP} if self._on_vllm else {}

        async def send(client: openai.AsyncOpenAI) -> wire.Said:
            answer = await client.chat.completions.with_raw_response.create(
                **asked, model=self._model, extra_body=extra
            )
            return wire.reply(answer.content)

        said = await self._ask(send)
        return Reply(
            text=said.text,
            calls=said.calls,
            finish_reason=said.finish_reason,
            token_count=said.token_count,
            prompt_tokens=said.prompt_tokens,
            padded_s=sum(len(clip.samples) for clip in chat.clips) / SAMPLE_RATE_HZ,
        )

    def shutdown(self) -> None:
        """The connections end with the process."""

    async def _ask(self, send: Callable[[openai.AsyncOpenAI], Awaitable[Answer]]) -> Answer:
        async def told(client: openai.AsyncOpenAI) -> Answer:
            url = str(client.base_url).rstrip("/")
            try:
                async with asyncio.timeout(self._timeout_s):  # the client's own is for each piece of an answer
                    return await send(client)
            except (
                TimeoutError,
                openai.APIStatusError,
                openai.APIConnectionError,
                wire.WireError,
                _TooLargeError,
            ) as error:
                raise self._failure(error, url) from error

        return await self._replicas.ask(told)

    def _failure(self, error: Exception, url: str) -> Exception:
        """What a failure means, for Replicas."""
        match error:
            case openai.APIStatusError():
                return _refusal(error, f"{url}: {_said(error)}")
            case openai.APITimeoutError() | TimeoutError():
                return UnavailableError(f"{url}: no answer within {self._timeout_s:g} s", timed_out=True)
            case openai.APIConnectionError() if not isinstance(error.__cause__, _TooLargeError):
                return UnavailableError(f"{url}: {_cause(error)}")
            case wire.WireError():
                return BrokenError(f"{url}: what it said is no answer: {error}")
            case _:
                return BrokenError(f"{url}: what it said is no answer: {_cause(error)}")


def _refusal(error: openai.APIStatusError, said: str) -> Exception:
    status = error.status_code
    if status in UNAVAILABLE:
        return UnavailableError(said, wire.retry_after_s(error.response.headers), status == GATEWAY_TIMEOUT)
    if status in REFUSED:
        return (ContextError if TOO_LONG.search(said) else RequestError)(said)
    if status >= 500 and status != NOT_THERE:
        return BrokenError(said)
    return DeadModelError(f"the server refuses all requests: {said}")


def start(settings: Settings, checkpoint: Checkpoint, demand: Demand, in_ray: bool) -> ServerModel:
    """A model that is ready at once."""
    return ServerModel(settings, checkpoint)


RUNTIME = Runtime(version=lambda: None, start=start, uses_gpus=False, look=look)
