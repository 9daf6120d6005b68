"""Whether a recording's timestamps are to be trusted, and where they leave gaps.

Timestamps are the recording's clock: audio that begins later than its container, and holes in it, become silence. But
they may be wrong, by hours. They are trusted as far as the duration that the container states, and the audio that is
there, allow; the samples are never dropped.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path

from pipeline.audio import confined
from pipeline.errors import RecordingError
from pipeline.schema import Flag
from pipeline.settings import Audio

# Containers whose header states the duration; in others ffmpeg estimates it, and a difference means nothing.
STATES_DURATION = {"aiff", "caf", "flac", "matroska", "mov", "w64", "wav"}
# Containers that store timestamps. In others ffmpeg counts them from the packets, and a gap is an error of the count;
# FLAC has frame numbers, but they cannot leave gaps.
STORES_TIMESTAMPS = set("asf avi dv flv gxf matroska mov mpeg mpegts mxf nut ogg rm wtv".split())
# Header and sum of decoded frames differ by encoder padding: up to 0.3 s was seen in mp4; 2% is for edited headers.
TRUNCATION_TOLERANCE_S, TRUNCATION_TOLERANCE = 0.5, 0.02
# A gap is where timestamps run ahead of the samples by GAP_S; more than MAX_GAPS are not reported.
GAP_S, MAX_GAPS = 0.1, 5_000
# In containers that state no duration, so much silence in gaps is trusted, or as much as there is audio.
LONG_GAPS_S = 60.0
PACKET_S = 2.0  # no codec's packet is longer: mp4 counts a gap as part of the packet before it
MARK = 1e9  # is added to lengths, to tell them from times
# An ffmpeg filter that leaves the samples alone and prints to the log at which time they begin, then of each gap when
# it begins and, MARK added, its length, in seconds. The first backward jump is a gap of negative length. ffmpeg makes a
# new filter, which prints anew, where the sample rate or the channels change, and calls it once more at the end, where
# no samples follow. N counts the samples before a frame. Variables: 0 samples in gaps so far, 1 samples by which this
# frame is ahead, 2 gaps, 3 backward jumps.
_PRINT = f"print(STARTT+(N+ld(0))/SR,16)+print({MARK:.0f}+ld(1)/SR,16)"
FILTER = (
    "asetpts='if(eq(N,0),print(T,16)); st(1,PTS-STARTPTS-N-ld(0));"
    f"if(gt(ld(1),{GAP_S}*SR)*lt(ld(2),{MAX_GAPS}),{_PRINT}+st(0,ld(0)+ld(1))+st(2,ld(2)+1));"
    f"if(lt(ld(1),-{GAP_S}*SR)*not(ld(3)),{_PRINT}+st(3,1)); PTS'"
)
ENTRIES = "format=format_name,start_time,duration:stream=start_time,duration:stream_tags=DURATION"


def is_truncated(decoded_s: float, stated_s: float | None) -> bool:
    """Whether clearly less audio came out than the container's header states."""
    return stated_s is not None and decoded_s < stated_s * (1 - TRUNCATION_TOLERANCE) - TRUNCATION_TOLERANCE_S


def gaps(folder: Path) -> Generator[list[tuple[float, float]], None, None]:
    """(begin, length) in seconds of the gaps that FILTER has reported in a folder since the last call.

    The first one is from 0 to where the audio begins.
    """
    begin_s, late_s = 0.0, None
    for numbers in confined.printed(folder):
        found: list[tuple[float, float]] = []
        for number in numbers:
            if late_s is None:
                late_s = number
                found.append((0.0, late_s))
            elif number > MARK / 2:
                found.append((begin_s, number - MARK))
            else:
                begin_s = number
        yield found


def check(path: Path, limits: Audio, resumes_s: float = 0.0) -> Flag | None:
    """Read all timestamps. timestamps_corrected: they are wrong. long_gaps: they leave a lot of silence. None: neither.

    They are wrong where they jump backward, go on beyond the duration that the container states, or span less time than
    the audio takes; where a gap ends, at `resumes_s` on the recording's clock, after the last packet; and, where no
    duration is stated, if they leave more silence than LONG_GAPS_S and than there is audio. Where the container states
    so much, too, that silence is long_gaps.
    """
    first_s = reached_s = None
    backward, audio_s, about = False, 0.0, {"stream": {}, "format": {}}
    with confined.own_name(path) as name, suppress(RecordingError):  # what a broken file tells before it ends counts
        entries = f"{ENTRIES}:packet=pts_time,duration_time"
        command = [*confined.FFPROBE, "-select_streams", "a:0", "-show_entries", entries, "-of", "compact", name.name]
        for line in _lines(confined.output(command, limits, name.parent)):
            kind, *words = line.split("|")
            if kind != "packet":
                about[kind] = dict(word.split("=", 1) for word in words if "=" in word)
                continue
            at_s = _seconds(words[0].removeprefix("pts_time="))
            length_s = _seconds(words[-1].removeprefix("duration_time=")) or 0.0
            audio_s += min(length_s, PACKET_S)
            if at_s is None:
                continue
            if first_s is None or reached_s is None:
                first_s = reached_s = at_s
            backward = backward or at_s < reached_s - GAP_S
            reached_s = max(reached_s, at_s + length_s)
    stream, container = about["stream"], about["format"]
    names = set(container.get("format_name", "").split(","))
    begin_s = _seconds(container.get("start_time")) or 0.0
    if first_s is None or reached_s is None or backward or not names & STORES_TIMESTAMPS:
        return Flag.TIMESTAMPS_CORRECTED
    if resumes_s > reached_s - begin_s + GAP_S:
        return Flag.TIMESTAMPS_CORRECTED
    stated_s = None
    if names & STATES_DURATION:
        late_s = (_seconds(stream.get("start_time")) or begin_s) - begin_s
        own_s = _seconds(stream.get("duration")) or 0.0
        tagged_s = clock_s(stream.get("tag:DURATION")) or 0.0
        stated_s = max(_seconds(container.get("duration")) or 0.0, late_s + own_s, tagged_s) or None
    if is_truncated(reached_s - first_s, audio_s) or (stated_s and is_truncated(stated_s, reached_s - begin_s)):
        return Flag.TIMESTAMPS_CORRECTED
    if reached_s - begin_s - audio_s > max(LONG_GAPS_S, audio_s):
        return Flag.LONG_GAPS if stated_s is not None else Flag.TIMESTAMPS_CORRECTED
    return None


def _lines(chunks: Iterator[bytes]) -> Iterator[str]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line.decode(errors="replace") for line in lines)


def _seconds(value: str | None) -> float | None:
    try:
        return float(value or "")
    except ValueError:
        return None


def clock_s(time: str | None) -> float | None:
    """Matroska's "00:01:02.5" for a stream, in seconds: a container may be longer than its audio. None for what is no
    length."""
    try:
        hours, minutes, seconds = (time or "").split(":")
        found = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except (ValueError, OverflowError):
        return None
    return found if 0 <= found < math.inf else None
