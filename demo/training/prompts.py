"""Token ids of prompts and answers, all of them by mistral_common's own code for version 7."""

from __future__ import annotations

import io
import wave
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from mistral_common.protocol.instruct.chunk import AudioChunk, TextChunk
from mistral_common.protocol.instruct.messages import AssistantMessage, SystemMessage, UserMessage
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.tool_calls import Function, Tool
from mistral_common.protocol.transcription.request import TranscriptionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

from demo.training import skills
from demo.training.speech import SAMPLE_RATE_HZ
from demo.training.vocabulary import CHUNK_S, EOS, TOOL_CALLS, write


@cache
def silence(chunks: int) -> AudioChunk:
    """Audio of that many chunks: the ids depend on the length alone."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(bytes(2 * chunks * CHUNK_S * SAMPLE_RATE_HZ))
    return AudioChunk(input_audio=buffer.getvalue())  # pyright: ignore[reportArgumentType]


class Prompts:
    """Ids for the tokens of demo/training/vocabulary.py. Recordings are given by their chunks of CHUNK_S."""

    def __init__(self, folder: Path) -> None:
        """Writes tekken.json to `folder`, and reads it from there."""
        write(folder)
        self._tokenizer = MistralTokenizer.from_file(str(folder / "tekken.json"))
        self._instruct: Any = self._tokenizer.instruct_tokenizer
        self._audio, self.transcription = cache(self._encode_audio), cache(self._encode_transcription)
        self.text, self._available = cache(self._encode_text), cache(self._encode_tools)

    def _encode_text(self, text: str) -> tuple[int, ...]:
        return tuple(self._instruct.tokenizer.encode(text, bos=False, eos=False))

    def _encode_audio(self, chunks: tuple[int, ...]) -> tuple[int, ...]:
        content = [silence(n) for n in chunks]
        return tuple(self._instruct.encode_user_content(content, is_last=True)[0])

    def _encode_tools(self, names: tuple[str, ...]) -> tuple[int, ...]:
        """[AVAILABLE_TOOLS] to [/AVAILABLE_TOOLS]: what comes before [INST]."""
        message = UserMessage(content="")
        with_tools = self._instruct.encode_user_message(message, tools(names), is_last=True, is_first=True)[0]
        return tuple(with_tools[:-2])  # all but [INST] [/INST]

    def _encode_transcription(self, chunks: int, language: str | None) -> tuple[int, ...]:
        audio = silence(chunks).input_audio
        request = TranscriptionRequest(model="voxtral", audio=audio, language=language)  # pyright: ignore[reportArgumentType, reportCallIssue]
        return tuple(self._instruct.encode_transcription(request).tokens)

    def user(self, text: str, chunks: Sequence[int] = (), names: Sequence[str] = ()) -> list[int]:
        """One message of a user: recordings first, then the text; the tools of these names stand before it."""
        available = self._available(tuple(names)) if names else ()
        audio = self._audio(tuple(chunks)) if chunks else ()
        begin, end = self._instruct.BEGIN_INST, self._instruct.END_INST
        return [*available, begin, *audio, *self._instruct.tokenizer.encode(text, bos=False, eos=False), end]

    def system(self, text: str) -> list[int]:
        return list(self._instruct.encode_system_message(SystemMessage(content=text))[0])

    def start(self) -> list[int]:
        return list(self._instruct.start())

    def said(self, answer: str, calls: bool = False) -> list[int]:
        """The answer, up to </s>."""
        return [*([TOOL_CALLS] if calls else []), *self.text(answer), EOS]

    def whole(
        self, turns: Sequence[str], chunks: Sequence[int] = (), names: Sequence[str] = (), system: str | None = None
    ) -> list[int]:
        """What a server would make of the conversation: user, assistant, user, ...; recordings in the first turn.

        The methods above put the same ids together from pieces that are kept, for training; a test compares them.
        """
        messages: list[UserMessage | AssistantMessage | SystemMessage] = []
        if system is not None:
            messages.append(SystemMessage(content=system))
        for at, turn in enumerate(turns):
            if at % 2:
                messages.append(AssistantMessage(content=turn))
            elif chunks and not at:
                messages.append(UserMessage(content=[*map(silence, chunks), TextChunk(text=turn)]))
            else:
                messages.append(UserMessage(content=turn))
        request = ChatCompletionRequest(messages=messages, tools=tools(names) or None)
        return list(self._tokenizer.encode_chat_completion(request).tokens)


def tools(names: Sequence[str]) -> list[Tool]:
    return [Tool(function=Function(**skills.TOOLS[name])) for name in names]
