"""Spoken digit strings with the exact times of their words: espeak-ng's library tells them as it speaks.

The speech is that of demo.training.speech; libespeak-ng keeps one state per process, so that phrases are made one after
the other.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from demo.training import speech
from demo.training.speech import SAMPLE_RATE_HZ

SYNCHRONOUS, PHONEME_EVENTS, DONT_EXIT = 2, 1, 0x8000
RATE, PITCH, WORD_GAP = 1, 3, 7  # of espeak_SetParameter
UTF8, CHARACTERS = 1, 1
END, WORD, PHONEME = 0, 1, 7  # types of events
OK = 0


class _Id(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    )


class _Voice(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_char_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("xx1", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True)
class TimedPhrase:
    """One spoken digit string. `samples` is int16, mono, 16 kHz; `spans_s` has the start and end of each word."""

    language: str
    words: tuple[str, ...]
    samples: np.ndarray
    spans_s: tuple[tuple[float, float], ...]


class _Espeak:
    """libespeak-ng, and what it said of the text it spoke last: words by text position, and pauses, in samples."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libespeak-ng.so.1")
        self.rate_hz: int = self._library.espeak_Initialize(SYNCHRONOUS, 0, None, PHONEME_EVENTS | DONT_EXIT)
        self._spoken: list[np.ndarray] = []
        self.words: list[tuple[int, int]] = []
        self.pauses: list[int] = []
        self._callback: Callable[..., int] = _CALLBACK(self._hear)  # kept, or it would be collected
        self._library.espeak_SetSynthCallback(self._callback)

    def _hear(self, samples: ctypes._Pointer[ctypes.c_short], count: int, events: ctypes._Pointer[_Event]) -> int:
        if samples and count:
            self._spoken.append(np.ctypeslib.as_array(samples, (count,)).copy())
        at = 0
        while (event := events[at]).type != END:
            if event.type == WORD:
                self.words.append((event.text_position, event.sample))
            elif event.type == PHONEME and event.id.string.startswith(b"_"):
                self.pauses.append(event.sample)
            at += 1
        return 0

    def speak(self, one: speech.Utterance) -> np.ndarray:
        """Returns int16 samples at `rate_hz`."""
        self._spoken, self.words, self.pauses = [], [], []
        voice = f"{one.accent}+{one.voice}".encode()
        if self._library.espeak_SetVoiceByName(voice) != OK:  # as the command does
            found = self._library.espeak_SetVoiceByProperties(ctypes.byref(_Voice(languages=voice)))
            assert found == OK, f"no voice {voice.decode()}"
        for parameter, setting in ((RATE, one.words_per_minute), (PITCH, one.pitch), (WORD_GAP, one.gap_10ms)):
            self._library.espeak_SetParameter(parameter, setting, 0)
        text = one.text.encode()
        self._library.espeak_Synth(text, len(text) + 1, 0, CHARACTERS, 0, UTF8, None, None)
        return np.concatenate(self._spoken)


_espeak = cache(_Espeak)


def spoken(one: speech.Utterance) -> TimedPhrase | None:
    """Let espeak-ng say it; None where its words are not told one by one."""
    espeak = _espeak()
    samples = espeak.speak(one)
    told = dict(reversed(espeak.words))  # a clause's last event has a position that was before, or none
    places = [match.start() + 1 for match in re.finditer(r"\S+", one.text)]
    if not told.keys() >= set(places):
        return None
    starts = [told[place] for place in places]
    limits = [*starts[1:], len(samples)]
    pauses = [[p for p in espeak.pauses if start < p < limit] for start, limit in zip(starts, limits, strict=True)]
    ends = [min([*found, limit]) for found, limit in zip(pauses, limits, strict=True)]
    resampled = speech.resample(samples.astype(np.float64), espeak.rate_hz, SAMPLE_RATE_HZ)
    return TimedPhrase(
        one.language,
        one.words,
        np.clip(resampled, -32768, 32767).astype(np.int16),
        tuple((start / espeak.rate_hz, end / espeak.rate_hz) for start, end in zip(starts, ends, strict=True)),
    )


def phrases(count: int, voices: Sequence[str], seed: int) -> list[TimedPhrase]:
    """About `count` phrases, each from its own seeded generator."""
    drawn = (speech.draw(np.random.default_rng([seed, 6, i]), voices) for i in range(count))
    return [phrase for phrase in map(spoken, drawn) if phrase]
