"""Short recordings, decoded without starting ffmpeg: for a clip of a few seconds, starting it twice takes nine tenths
of the time.

A process of PyAV (ffmpeg's libraries) forks for every recording: see short_decoder. It is confined as ffmpeg is: the
same formats, limits of CPU time and memory, no environment, and it sees no file but the recording. It answers where
nothing is out of the ordinary. What is damaged, has gaps, takes long, crashes it or stops answering gets no answer, and
goes the way of long recordings: what is said of such files comes from one place.
"""

from __future__ import annotations

import json
import math
import os
import resource
import select
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.audio import confined, media, timestamps
from pipeline.errors import RecordingError
from pipeline.schema import SAMPLE_RATE_HZ
from pipeline.settings import Audio

MAX_S = 60.0  # of audio: more is worth starting ffmpeg for, and is not to be held as a whole
MAX_BYTES = 16 << 20  # of the file: a minute of CD quality has 10 MB
MAX_ANSWER_BYTES = 2 * SAMPLE_RATE_HZ * (int(MAX_S) + 2) + (1 << 20)
CPU_LIMIT_S, PATIENCE_S = 10, 10.0  # a minute of audio takes a tenth of a second
START_S = 60.0  # loading the libraries takes 0.4 s where nothing else runs
MAX_SILENT, REST_S = 3, 300.0  # times in a row that it does not answer, after which it is not asked for so long
PROGRAM = Path(__file__).with_name("short_decoder.py")  # not imported here: PyAV is for that process alone


@dataclass(frozen=True, slots=True)
class Short:
    """What the container says, and all samples (int16, mono, 16 kHz)."""

    facts: media.Probe
    samples: np.ndarray

    @property
    def blocks(self) -> list[np.ndarray]:
        """The samples in blocks of at most 2 s, as media.decode gives them."""
        length = media.BLOCK_BYTES // 2
        return [self.samples[at : at + length] for at in range(0, len(self.samples), length)]


def decode(path: Path, limits: Audio) -> Short | None:
    """The mix of a local file's first audio stream; None: it is not short, or media must say what it is."""
    unmarked = path.suffix.lower() in confined.NAMED - {".flac"}  # most FLAC has its mark
    if unmarked or limits.max_duration_s < MAX_S or not 0 < path.stat().st_size <= MAX_BYTES:
        return None
    answer = _process.answer(path, limits)
    if answer is None:
        return None
    facts, samples = answer
    # It is no more to be trusted than the recording.
    with suppress(RecordingError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError):
        told = media.told(facts, path)
        if math.isfinite(told.duration_s or 0.0):
            return Short(told, np.frombuffer(samples, dtype="<i2"))
    return None


class _Process:
    """The process, started when it is first needed and again after it was killed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._requests: socket.socket | None = None
        self._silent, self._rests_until = 0, 0.0

    def answer(self, path: Path, limits: Audio) -> tuple[dict[str, object], bytes] | None:
        """What it says of a file, and the samples; None: nothing."""
        memory = limits.memory_limit_mb << 20
        own = (
            (resource.RLIMIT_CPU, min(CPU_LIMIT_S, limits.cpu_limit_s)),
            (resource.RLIMIT_AS, memory),
            (resource.RLIMIT_FSIZE, 0),
        )
        wanted = {
            "formats": ",".join(confined.FORMATS),
            "rate_hz": SAMPLE_RATE_HZ,
            "max_s": MAX_S,
            "gap_s": timestamps.GAP_S,
            "late_s": media.LATE_S,
            "limits": [(kind, confined.allowed(kind, limit)) for kind, limit in own],
        }
        if time.monotonic() < self._rests_until:
            return None
        answers, sink = os.pipe()
        with os.fdopen(answers, "rb", 0) as pipe:
            with os.fdopen(sink, "wb", 0), path.open("rb", buffering=0) as source:
                if not self._send(json.dumps(wanted).encode(), [source.fileno(), sink]):
                    return None
            said = self._read(pipe.fileno())
        line, _, samples = said.partition(b"\n")
        with suppress(ValueError, KeyError, TypeError, RecursionError):
            facts = json.loads(line)
            return (facts, samples) if facts["bytes"] == len(samples) else None
        return None

    def _send(self, message: bytes, descriptors: list[int]) -> bool:
        for _ in range(2):  # it may have ended since the last recording
            try:
                socket.send_fds(self._started(), [message], descriptors)
            except OSError:
                self._end()
            else:
                return True
        self._rest("does not start")
        return False

    def _rest(self, reason: str) -> None:
        self._silent, self._rests_until = 0, time.monotonic() + REST_S
        print(f"short recordings are decoded by ffmpeg: short_decoder {reason}", file=sys.stderr, flush=True)

    def _started(self) -> socket.socket:
        """Where it takes messages.

        Raises:
            OSError: it did not start.
        """
        if self._requests is None:
            self._requests, other = socket.socketpair()
            with other:
                self._process = subprocess.Popen(
                    [sys.executable, "-s", "-P", str(PROGRAM)],
                    env=confined.environment() | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                    stdin=other.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            self._requests.settimeout(START_S)
            if not self._requests.recv(1):
                raise BrokenPipeError("it ended before it was ready")
        return self._requests

    def _read(self, answers: int) -> bytes:
        """All of a pipe. Nothing where it is too much or takes too long: then the process and its forks are killed."""
        poll, deadline = select.poll(), time.monotonic() + PATIENCE_S
        poll.register(answers, select.POLLIN | select.POLLHUP)
        said = bytearray()
        while (left_s := deadline - time.monotonic()) > 0 and len(said) <= MAX_ANSWER_BYTES:
            if not poll.poll(left_s * 1000):
                break
            if not (part := os.read(answers, 1 << 20)):
                self._silent = 0
                return bytes(said)
            said += part
        self._end()
        self._silent += 1
        if self._silent == MAX_SILENT:
            self._rest(f"has not answered {MAX_SILENT} times")
        return b""

    def _end(self) -> None:
        if self._requests:
            self._requests.close()
        if self._process:
            confined.end(self._process)
        self._process = self._requests = None


_process = _Process()
