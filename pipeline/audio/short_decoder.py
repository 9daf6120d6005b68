"""The program that decodes short recordings for pipeline/audio/short.py, with PyAV: it runs as a process of its own.

It forks for every recording, so that libraries are loaded once, and what one recording does to its process ends with
it. The fork is confined: it has the recording as an open file and a pipe to write to, no name of any file, no
environment, and the limits that it was given. It answers where nothing about the recording is out of the ordinary,
and else ends without an answer.

Standard input is a socket. A message is a JSON object with the two descriptors; the answer in the pipe is one line of
JSON and, behind it, the samples (int16, little-endian, mono, 16 kHz).
"""

from __future__ import annotations

import gc
import io
import json
import os
import resource
import socket
import sys
import wave
from contextlib import suppress
from typing import Any, BinaryIO

import av
from av import logging
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

MESSAGE_BYTES = 1 << 16
EARLY_S = 1e-3  # timestamps are rounded
MAX_CHANNELS = 8  # as far as layouts have names everywhere


def main() -> None:
    """Decode until the socket is closed."""
    logging.set_level(None)
    decoded(io.BytesIO(_silence()), {"formats": "wav", "max_s": 1.0, "rate_hz": 16_000, "gap_s": 0.1, "late_s": 1.0})
    gc.collect()
    gc.freeze()
    gc.disable()
    requests = socket.socket(fileno=sys.stdin.fileno())
    requests.send(b"\n")  # ready
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, MESSAGE_BYTES, 2)
        if not message:
            return
        if os.fork() == 0:
            _answer(json.loads(message), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:  # those that have ended
                pass


def _answer(wanted: dict[str, Any], source: int, sink: int) -> None:
    """In the fork: it never returns."""
    try:
        os.close(sys.stdin.fileno())
        for kind, limit in wanted["limits"]:
            resource.setrlimit(kind, (limit, limit))
        with open(source, "rb") as file:
            facts, samples = decoded(file, wanted)
        with open(sink, "wb") as pipe:
            pipe.write(json.dumps(facts | {"bytes": len(samples)}).encode() + b"\n" + samples)
    except BaseException:
        os._exit(1)
    os._exit(0)


def decoded(file: BinaryIO, wanted: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """What the container says of its first audio stream, and its samples.

    Raises:
        ValueError: something is out of the ordinary.
        av.FFmpegError: it cannot be decoded.
    """
    options = {"format_whitelist": wanted["formats"], "protocol_whitelist": ""}
    with av.open(file, "r", options=options) as container:
        stream = container.streams.audio[0]
        stream.codec_context.thread_count = 1
        if stream.codec_context.channels > MAX_CHANNELS:
            raise ValueError("how they are mixed depends on the version of ffmpeg")
        duration_s = round(container.duration / av.time_base, 6) if container.duration is not None else None
        own_s = None
        if stream.duration is not None and stream.time_base is not None:
            own_s = round(float(stream.duration * stream.time_base), 6)
        if max(duration_s or 0.0, own_s or 0.0) > wanted["max_s"]:
            raise ValueError("long")
        facts = {
            "format": {"format_name": container.format.name, "duration": duration_s},
            "streams": [
                {
                    "codec_type": "audio",
                    "channels": stream.codec_context.channels,
                    "sample_rate": stream.codec_context.sample_rate,
                    "bit_rate": stream.codec_context.bit_rate,
                    "duration": own_s,
                    "tags": {name: value for name, value in stream.metadata.items() if name == "DURATION"},
                }
            ],
        }
        begin_s = container.start_time / av.time_base if container.start_time is not None else 0.0
        return facts, _samples(container, stream, begin_s, wanted)


def _samples(container: Any, stream: Any, begin_s: float, wanted: dict[str, Any]) -> bytes:
    resampler = AudioResampler("s16", "mono", wanted["rate_hz"])
    parts: list[bytes] = []
    form: tuple[int, str, str] | None = None
    at_s, count, left = begin_s, 0, round(wanted["max_s"] * wanted["rate_hz"])
    for frame in container.decode(stream):
        own = frame.sample_rate, frame.layout.name, frame.format.name
        if form is None:
            form, at_s = own, begin_s if frame.time is None else frame.time
            if not -EARLY_S <= (late_s := at_s - begin_s) <= wanted["late_s"]:
                raise ValueError("it begins at another time than its container")
            parts.append(bytes(2 * max(0, round(late_s * wanted["rate_hz"]))))
        if own != form:
            raise ValueError("another form of samples")
        if frame.time is not None and abs(frame.time - at_s - count / frame.sample_rate) > wanted["gap_s"]:
            raise ValueError("a gap")
        count += frame.samples
        parts += (some := _bytes(resampler.resample(frame)))
        left -= sum(map(len, some)) // 2
        if left < 0:
            raise ValueError("long")
    return b"".join(parts + _bytes(resampler.resample(None)))


def _bytes(frames: list[AudioFrame]) -> list[bytes]:
    return [bytes(frame.planes[0])[: 2 * frame.samples] for frame in frames]


def _silence() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as audio:
        audio.setparams((1, 2, 8_000, 0, "NONE", ""))
        audio.writeframes(bytes(1_600))
    return file.getvalue()


if __name__ == "__main__":
    main()
