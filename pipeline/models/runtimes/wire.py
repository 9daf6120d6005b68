"""What speech servers are sent and what they answer, in the format of OpenAI's API. Every part of an answer is checked:
servers are not to be trusted."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import numpy as np
import soundfile

from pipeline.models.protocol import Chat
from pipeline.schema import SAMPLE_RATE_HZ

# By --engine.server-audio: soundfile's names, and the extension, by which servers tell the format.
_FORMATS = {"flac": ("FLAC", "PCM_16", "flac"), "opus": ("OGG", "OPUS", "ogg")}
MOST_TOKENS = 2**31 - 1  # that a column holds
MOST_RETRY_AFTER_S = 86_400.0
# Of finish_reason: a call is an end like others, and Mistral's API says model_length. What vLLM says that is told to
# end, and what hosted services say of answers that they keep back, is none.
ENDS, CUT = {"tool_calls": "stop", "model_length": "length"}, ("abort", "error", "content_filter")

Row = dict[str, Any]


class WireError(Exception):
    """What came is no answer to what was asked."""


@dataclass(frozen=True, slots=True)
class Card:
    """What a server tells of a model: its name there, where that comes from, the tokens of its context, who serves it;
    all but the name may be missing."""

    model: str
    root: str | None
    max_context: int | None
    owner: str | None


@dataclass(frozen=True, slots=True)
class Said:
    """An answer. `calls` is a JSON array of {"name", "arguments"}; numbers that the server does not give are None."""

    text: str
    calls: str | None = None
    finish_reason: str | None = None
    token_count: int | None = None
    prompt_tokens: int | None = None


def extension(form: str) -> str:
    """Of files of a form of --engine.server-audio."""
    return _FORMATS[form][2]


def encoded(samples: np.ndarray, form: str) -> bytes:
    """int16 samples as a file of that form."""
    buffer = io.BytesIO()
    format_, subtype, _ = _FORMATS[form]
    soundfile.write(buffer, samples, SAMPLE_RATE_HZ, format=format_, subtype=subtype)
    return buffer.getvalue()


def conversation(chat: Chat, form: str) -> Row:
    """The part of a request that says what is asked."""
    clips = [
        {
            "type": "input_audio",
            "input_audio": {
                "data": base64.b64encode(encoded(clip.samples, form)).decode(),
                "format": extension(form),
            },
        }
        for clip in chat.clips
    ]
    messages: list[Row] = []
    for message in chat.messages:
        content: Any = message.text
        if clips and message.role == "user":
            content, clips = [*clips, {"type": "text", "text": message.text}], []
        messages.append({"role": message.role, "content": content})
    asked: Row = {"messages": messages, "temperature": chat.temperature, "max_tokens": chat.max_tokens}
    if chat.temperature:
        asked |= {"top_p": chat.top_p, "seed": chat.seed}
    if chat.tools:
        asked["tools"] = [{"type": "function", "function": dict(tool)} for tool in chat.tools]
        named = {"type": "function", "function": {"name": chat.tool_choice}}
        asked["tool_choice"] = chat.tool_choice if chat.tool_choice in ("auto", "required") else named
    if chat.schema is not None:
        schema = {"name": "answer", "schema": dict(chat.schema)}
        asked["response_format"] = {"type": "json_schema", "json_schema": schema}
    return asked


def transcript(body: bytes) -> Said:
    """An answer of /audio/transcriptions.

    Raises:
        WireError: it is none.
    """
    found = _object(body)
    usage = found.get("usage")
    count = _count(usage, "output_tokens") if isinstance(usage, dict) else None
    return Said(_text(found.get("text"), "text").strip(), token_count=count)


def reply(body: bytes) -> Said:
    """An answer of /chat/completions.

    Raises:
        WireError: it is none.
    """
    found = _object(body)
    choices = found.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise WireError("no choices[0].message")
    reason, usage, content = choice.get("finish_reason"), found.get("usage"), message.get("content")
    ended = None if reason is None else _text(reason, "finish_reason")
    if ended in CUT:
        raise WireError(f"an answer that was cut: finish_reason {ended}")
    return Said(
        text="" if content is None else _text(content, "content").strip(),
        calls=_calls(message.get("tool_calls")),
        finish_reason=ENDS.get(ended, ended) if ended else None,
        token_count=_count(usage, "completion_tokens"),
        prompt_tokens=_count(usage, "prompt_tokens"),
    )


def cards(body: bytes) -> list[Card]:
    """An answer of /models.

    Raises:
        WireError: it is none.
    """
    listed = _object(body).get("data")
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise WireError("no list `data`")
    return [
        Card(
            _text(each.get("id"), "id"),
            each["root"] if isinstance(each.get("root"), str) else None,
            _count(each, "max_model_len") or None,
            each["owned_by"] if isinstance(each.get("owned_by"), str) else None,
        )
        for each in listed
    ]


def version(body: bytes) -> str:
    """An answer of vLLM's /version.

    Raises:
        WireError: it is none.
    """
    return _text(_object(body).get("version"), "version")


def said_wrong(body: object, secret: str = "") -> str:
    """What a server says of a request that it refuses, in one line without the secret."""
    if isinstance(body, dict):
        body = body.get("error") or body
    if isinstance(body, dict):
        body = next((body[key] for key in ("message", "detail") if body.get(key)), body)
    line = " ".join(str(body or "").split()).encode("utf-8", "replace").decode()
    line = line.replace(secret, "***") if secret else line
    return line if len(line) <= 300 else f"{line[:297]}..."


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """When a server wants to be asked again, in seconds; None where it does not say."""
    said = headers.get("retry-after", "")
    with suppress(ValueError):
        if said[:1].isdigit():
            seconds = float(said)
        else:
            when = parsedate_to_datetime(said)
            seconds = ((when if when.tzinfo else when.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()
        return min(max(0.0, seconds), MOST_RETRY_AFTER_S) if math.isfinite(seconds) else None
    return None


def _object(body: bytes) -> Row:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise WireError("not JSON") from error
    if not isinstance(found, dict):
        raise WireError("no JSON object")
    return found


def _text(value: object, name: str) -> str:
    """A text that can be written as UTF-8."""
    if not isinstance(value, str):
        raise WireError(f"no text `{name}`")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise WireError(f"`{name}` has half of a surrogate pair") from error
    return value


def _count(holder: object, name: str) -> int | None:
    value = holder.get(name) if isinstance(holder, Mapping) else None
    return value if type(value) is int and 0 <= value <= MOST_TOKENS else None


def _calls(found: object) -> str | None:
    if not found:
        return None
    if not isinstance(found, list):
        raise WireError("tool_calls is no list")
    calls = []
    for call in found:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            raise WireError("a tool call has no function")
        name, arguments = _text(function.get("name"), "name"), _text(function.get("arguments") or "{}", "arguments")
        try:
            json.loads(arguments)
        except (ValueError, RecursionError):
            arguments = json.dumps(arguments)  # whoever checks the calls says what is wrong with it
        calls.append(f'{{"name": {json.dumps(name)}, "arguments": {arguments}}}')
    return f"[{', '.join(calls)}]"
