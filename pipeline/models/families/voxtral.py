"""Voxtral: its checkpoints and limits, prompts built by mistral_common, and two ways to ask it for the language."""

from __future__ import annotations

import io
import json
import math
import wave
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from itertools import groupby
from typing import Any, ClassVar

import numpy as np
from mistral_common.exceptions import MistralCommonException
from mistral_common.protocol.instruct.chunk import AudioChunk, TextChunk
from mistral_common.protocol.instruct.messages import AssistantMessage, SystemMessage, UserMessage
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.tool_calls import Function, Tool
from mistral_common.protocol.transcription.request import TranscriptionRequest
from mistral_common.tokens.tokenizers.base import SpecialTokenPolicy
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

from pipeline.models import padding
from pipeline.models.abilities import Abilities
from pipeline.models.candidates import Candidates
from pipeline.models.family import Family, Files, LanguageQuestion, Limits
from pipeline.models.protocol import Chat, Message, RequestError
from pipeline.schema import SAMPLE_RATE_HZ

# Of the model card, as the number of clips is of vLLM ("performance tends to degrade after 5").
LONGEST_WINDOW_S, LONGEST_CHAT_S, CONTEXT_TOKENS, AUDIOS = 1_800.0, 2_400.0, 32_768, 5
AUDIO_TOKENS_PER_S = 12.5  # Voxtral's frame rate
CHATS_KEPT = 1_024  # whose token ids are remembered: questions that many recordings are asked
PROMPT_TOKENS = 128  # around the audio in the longest prompt, with room to spare


class Voxtral:
    """Prompts for one Voxtral tokenizer.

    Answers and tool calls are those of mistral_common's tokenizer version, v7 for the released models: calls are a JSON
    array behind [TOOL_CALLS], and a conversation with audio has no system message.

    Voxtral transcribes without being told a language, and names none. There are two ways to ask it for the language:
    score the prompt's own `lang:xx` ("score"), or ask a question ("words"). We know of no training for either.
    """

    load_arguments: ClassVar[Mapping[str, Any]] = {
        "tokenizer_mode": "mistral",
        "config_format": "mistral",
        "load_format": "mistral",
    }

    def __init__(self, tokenizer: Any) -> None:
        """`tokenizer` is vLLM's or transformers', around one of mistral_common's."""
        self._tokenizer: MistralTokenizer = getattr(tokenizer, "mistral", None) or tokenizer.tokenizer
        encoder = self._tokenizer.instruct_tokenizer.audio_encoder
        assert encoder is not None and encoder.audio_config.chunk_length_s is not None
        self.chunk_s: float = encoder.audio_config.chunk_length_s
        self._audio_token, self.begin_calls = encoder.special_ids.audio, self._special("[TOOL_CALLS]")
        self._transcription_ids, self._question_ids = cache(self._build_transcription), cache(self._build_question)
        self._chat_ids = lru_cache(CHATS_KEPT)(self._build_chat)

    @staticmethod
    def context(padded_s: float) -> int:
        return math.ceil(padded_s * AUDIO_TOKENS_PER_S) + PROMPT_TOKENS

    def padded(self, samples: np.ndarray) -> np.ndarray:
        return padding.padded(samples, self.chunk_s)

    def transcription(self, audio: np.ndarray, language: str | None) -> list[int]:
        """Token ids that ask for a transcript; they hold `lang:xx` only where a language is given."""
        return self._transcription_ids(len(audio), language)

    def language_questions(self, languages: Sequence[str]) -> Mapping[str, LanguageQuestion]:
        words = f"Which language is spoken? Answer with one of: {', '.join(languages)}."

        def question(audio: np.ndarray) -> list[int]:
            return self._question_ids(len(audio), words)

        return {
            "score": LanguageQuestion(self._before_language, Candidates({x: self._language_ids(x) for x in languages})),
            "words": LanguageQuestion(question, Candidates({x: self._word_ids(x) for x in languages})),
        }

    def prompt(self, ids: Sequence[int], audio: np.ndarray, audio_id: int) -> dict[str, Any]:
        return {
            "prompt_token_ids": list(ids),
            "multi_modal_data": {"audio": [(audio, SAMPLE_RATE_HZ)]},
            "multi_modal_uuids": {"audio": [str(audio_id)]},
        }

    def text(self, written: str) -> str:
        return written

    def chat(self, chat: Chat, padded: Sequence[np.ndarray]) -> list[int]:
        chunks = [round(len(audio) / (self.chunk_s * SAMPLE_RATE_HZ)) for audio in padded]
        build = self._chat_ids if padded else self._build_chat  # about audio, many conversations are the same
        short = build(tuple(chat.messages), len(chunks), json.dumps(list(chat.tools)))
        ids, at = list[int](), 0
        for token, run in groupby(short):
            count = len(list(run))
            if token == self._audio_token:
                count, at = count * chunks[at], at + 1
            ids += [token] * count
        return ids

    def chat_prompt(self, ids: Sequence[int], padded: Sequence[np.ndarray], audio_ids: Sequence[int]) -> dict[str, Any]:
        if not padded:
            return {"prompt_token_ids": list(ids)}
        return {
            "prompt_token_ids": list(ids),
            "multi_modal_data": {"audio": [(audio, SAMPLE_RATE_HZ) for audio in padded]},
            "multi_modal_uuids": {"audio": [str(audio_id) for audio_id in audio_ids]},
        }

    def reply(self, ids: Sequence[int]) -> tuple[str, str | None]:
        end = ids.index(self.begin_calls) if self.begin_calls in ids else len(ids)
        return self._text(ids[:end]), self._text(ids[end + 1 :]) if end < len(ids) else None

    def _special(self, name: str) -> int:
        return self._tokenizer.instruct_tokenizer.tokenizer.get_special_token(name)

    def _text(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(list(ids), special_token_policy=SpecialTokenPolicy.IGNORE).strip()

    def _build_chat(self, messages: Sequence[Message], clips: int, tools: str) -> list[int]:
        """Token ids of a conversation with so many clips of one chunk each, which any length below it is padded to."""
        audio = [AudioChunk(input_audio=_silence(SAMPLE_RATE_HZ // 10)) for _ in range(clips)]  # pyright: ignore[reportArgumentType]
        said: list[Any] = []
        for message in messages:
            if message.role == "user":
                said.append(UserMessage(content=[*audio, TextChunk(text=message.text)]))
                audio = []
            else:
                kind = SystemMessage if message.role == "system" else AssistantMessage
                said.append(kind(content=message.text))
        offered = [Tool(function=Function(**tool)) for tool in json.loads(tools)]
        try:
            request = ChatCompletionRequest(messages=said, tools=offered or None)
            return list(self._tokenizer.encode_chat_completion(request).tokens)
        except (MistralCommonException, ValueError) as error:
            raise RequestError(f"not a conversation for Voxtral: {error}") from error

    def _before_language(self, audio: np.ndarray) -> list[int]:
        """Token ids up to [/INST], after which `lang:xx` may come."""
        return self._transcription_ids(len(audio), None)[:-1]  # all but [TRANSCRIBE]

    def _language_ids(self, language: str) -> list[int]:
        chunk = int(self.chunk_s * SAMPLE_RATE_HZ)
        plain, hinted = self._transcription_ids(chunk, None), self._transcription_ids(chunk, language)
        return hinted[len(plain) - 1 : -1]

    def _word_ids(self, language: str) -> list[int]:
        return self._tokenizer.instruct_tokenizer.tokenizer.encode(language, bos=False, eos=False)

    # The ids depend on the audio's length alone, so silence of that length serves for all.

    def _build_transcription(self, length: int, language: str | None) -> list[int]:
        request = TranscriptionRequest(model="voxtral", audio=_silence(length), language=language)  # pyright: ignore[reportArgumentType, reportCallIssue]
        return list(self._tokenizer.instruct_tokenizer.encode_transcription(request).tokens)

    def _build_question(self, length: int, words: str) -> list[int]:
        audio = AudioChunk(input_audio=_silence(length))  # pyright: ignore[reportArgumentType]
        message = UserMessage(content=[audio, TextChunk(text=words)])
        return list(self._tokenizer.encode_chat_completion(ChatCompletionRequest(messages=[message])).tokens)


def _silence(length: int) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(bytes(2 * length))
    return buffer.getvalue()


def audio_parameters(files: Files) -> Mapping[str, Any] | None:
    """What params.json says of a model of audio; None where it is of no such model."""
    return (files.read("params.json").get("multimodal") or {}).get("whisper_model_args")


def is_causal(audio: Mapping[str, Any]) -> bool:
    """Whether the audio encoder hears only what was said before: that of Voxtral Realtime does."""
    return bool((audio.get("encoder_args") or {}).get("causal"))


def matches(files: Files) -> bool:
    """Mistral's format, with an audio encoder, or that of transformers."""
    if "params.json" in files:
        audio = audio_parameters(files)
        return audio is not None and not is_causal(audio)
    return "config.json" in files and files.read("config.json").get("model_type") == "voxtral"


def limits(files: Files) -> Limits:
    """Its tokenizer says how long a chunk is, its parameters how many positions it has, at most those of the model
    card."""
    text = files.read("params.json") if "params.json" in files else files.read("config.json").get("text_config") or {}
    positions = text.get("max_position_embeddings") or CONTEXT_TOKENS
    return Limits((files.read("tekken.json").get("audio") or {}).get("chunk_length_s"), min(positions, CONTEXT_TOKENS))


FAMILY = Family(
    runtimes={"vllm": "params.json", "transformers": "config.json"},
    abilities=Abilities(
        longest_window_s=LONGEST_WINDOW_S,
        language_methods=("score", "words"),
        longest_chat_s=LONGEST_CHAT_S,
        audios_per_chat=AUDIOS,
    ),
    max_pause_s=30.0,
    limits=limits,
    files=("params.json", "tekken.json", "config.json"),
    description="params.json with multimodal.whisper_model_args, or config.json with model_type voxtral",
    matches=matches,
    weights=("consolidated*.safetensors", "model*.safetensors"),
    prompts=Voxtral,
)
