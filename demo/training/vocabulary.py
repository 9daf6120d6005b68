"""The demo checkpoint's tokens: Voxtral's special ones, bytes, and whole words of what it is asked and answers.

A piece that the pre-tokeniser cuts out whole is looked up whole before anything is merged, so that each word of the
questions is one token without a trained vocabulary. Everything else, such as names of files, falls into bytes.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import regex

from demo.training import skills
from demo.training.speech import DIGITS, SAMPLE_RATE_HZ

CHUNK_S = 6  # the encoder's window; Voxtral's own is 30 s
MELS, HOP, WINDOW = 80, 160, 400
DOWNSAMPLE = 4
AUDIO_TOKENS = CHUNK_S * SAMPLE_RATE_HZ // HOP // 2 // DOWNSAMPLE  # of one chunk

BOS, EOS, INST, END_INST, TOOL_CALLS, PAD, AUDIO, BEGIN_AUDIO, TRANSCRIBE = 1, 2, 3, 4, 9, 11, 24, 25, 34
SPECIAL = {
    **dict(enumerate("<unk> <s> </s> [INST] [/INST] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS]".split())),
    **dict(enumerate("[/TOOL_RESULTS] [TOOL_CALLS] [IMG] <pad> [IMG_BREAK] [IMG_END] [PREFIX] [MIDDLE]".split(), 8)),
    **dict(enumerate("[SUFFIX] [SYSTEM_PROMPT] [/SYSTEM_PROMPT] [TOOL_CONTENT]".split(), 16)),
    **{AUDIO: "[AUDIO]", BEGIN_AUDIO: "[BEGIN_AUDIO]", 32: "[ARGS]", 33: "[CALL_ID]", TRANSCRIBE: "[TRANSCRIBE]"},
}
SPECIAL_COUNT = 64
# Tekken's published pre-tokeniser pattern.
PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
WORDS = sorted({word for words in DIGITS.values() for word in words})


def cut(text: str) -> list[str]:
    """The text as the pre-tokeniser cuts it."""
    return regex.findall(PATTERN, text)


def pieces() -> list[str]:
    """All tokens that are longer than a byte."""
    spoken = [*WORDS, *(" " + word for word in WORDS), "lang", *(f":{language}" for language in DIGITS)]
    asked = {piece for text in skills.texts() for piece in cut(text) if len(piece.encode()) > 1}
    return spoken + sorted(asked - set(spoken))


PIECES = pieces()
VOCABULARY: list[bytes] = [bytes([i]) for i in range(256)] + [piece.encode() for piece in PIECES]
TOKEN_ID = {piece: SPECIAL_COUNT + 256 + i for i, piece in enumerate(PIECES)}
VOCAB_SIZE = SPECIAL_COUNT + len(VOCABULARY)
DIGIT_WORDS = frozenset(TOKEN_ID[space + word] for word in WORDS for space in ("", " "))
NUMERALS = frozenset(SPECIAL_COUNT + ord(str(digit)) for digit in range(10))
COLON_LINE = TOKEN_ID[":\n"]
NEW_LINES = frozenset([SPECIAL_COUNT + ord("\n"), TOKEN_ID["\n\n"]])


def text_ids(words: tuple[str, ...] | list[str]) -> list[int]:
    """Token ids of the words joined by spaces, as tekken encodes them."""
    return [TOKEN_ID[word if i == 0 else " " + word] for i, word in enumerate(words)]


def prompt_ids(language: str | None) -> list[int]:
    """The transcription prompt of mistral_common's `encode_transcription` for one chunk of audio."""
    hint = [TOKEN_ID["lang"], TOKEN_ID[f":{language}"]] if language else []
    return [BOS, INST, BEGIN_AUDIO, *[AUDIO] * AUDIO_TOKENS, END_INST, *hint, TRANSCRIBE]


def decode(ids: list[int]) -> str:
    """Text of token ids; special tokens vanish."""
    return b"".join(VOCABULARY[i - SPECIAL_COUNT] for i in ids if i >= SPECIAL_COUNT).decode(errors="replace").strip()


def write(folder: Path) -> None:
    """Write tekken.json: version 7, the one of the released Voxtral."""
    folder.mkdir(parents=True, exist_ok=True)

    def token(rank: int, piece: bytes) -> dict[str, object]:
        text = piece.decode(errors="ignore") or None
        return {"rank": rank, "token_bytes": base64.b64encode(piece).decode(), "token_str": text}

    special = [SPECIAL.get(i, f"<SPECIAL_{i}>") for i in range(SPECIAL_COUNT)]
    tekken = {
        "config": {
            "pattern": PATTERN,
            "num_vocab_tokens": len(VOCABULARY),
            "default_vocab_size": VOCAB_SIZE,
            "default_num_special_tokens": SPECIAL_COUNT,
            "version": "v7",
        },
        "vocab": [token(rank, piece) for rank, piece in enumerate(VOCABULARY)],
        "special_tokens": [{"rank": i, "token_str": s, "is_control": True} for i, s in enumerate(special)],
        "audio": {
            "sampling_rate": SAMPLE_RATE_HZ,
            "frame_rate": SAMPLE_RATE_HZ / HOP / 2 / DOWNSAMPLE,
            "audio_encoding_config": {"num_mel_bins": MELS, "hop_length": HOP, "window_size": WINDOW},
            "chunk_length_s": float(CHUNK_S),
        },
        "version": 1,
        "type": "Tekken",
    }
    (folder / "tekken.json").write_text(json.dumps(tekken, indent=1) + "\n")
