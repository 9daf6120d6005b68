"""ffmpeg and ffprobe on one recording, confined: the only place that starts them.

A recording is hostile until decoded: ffmpeg sees a name of ours and never the manifest's, may open only the formats
listed here and only local files, gets no environment, no network protocol and no standard input, and runs in its own
process group under limits of CPU time, memory and silence on its output.
"""

from __future__ import annotations

import os
import re
import resource
import select
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline import temporary
from pipeline.errors import ConfigurationError, RecordingError
from pipeline.schema import FailureCode
from pipeline.settings import Audio

# Demuxers whose files hold their audio in themselves: of speech and telephony, of music, of video. Left out are those
# that open other files or addresses (hls, dash, concat, imf, sdp, rtsp, image2, mlv, vobsub, devices, lavfi, ...),
# since -protocol_whitelist alone does not stop them; text, subtitles and pictures; trackers, synthesizers and games;
# and headerless samples whose rate nobody states (s16le, alaw, mulaw, g726, ...).
FORMATS = (
    "act amr amrnb amrwb au avr codec2 dss epaf g722 g723_1 g729 gsm hcom ilbc ircam loas nistsphere nsp paf pvf qcp "
    "sbc sln sox voc w64 wav wve "
    "aac ac3 aea aiff ape caf dsf dts dtshd eac3 flac iff mlp mp3 mpc mpc8 ogg oma shn tak truehd tta vqf wsd wv "
    "asf avi dv flv gxf matroska mov mpeg mpegts mxf nut rm webm wtv"
).split()
# Extensions by which alone ffmpeg recognises a format, since the content has no mark; and FLAC that begins in mid-
# stream. Other extensions are not shown to it: they are often wrong, and the content tells more.
NAMED = {".flac", ".g722", ".g723_1", ".g729", ".gsm", ".rco", ".sbc", ".sln", ".tco"}
INPUT_OPTIONS = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file", "threads": 1}
FFPROBE = ["ffprobe", "-v", "error", *(word for name, x in INPUT_OPTIONS.items() for word in (f"-{name}", str(x)))]
STDERR_LIMIT_BYTES = 1 << 20
OUT_OF_MEMORY = ("Cannot allocate memory", "failed to map segment")  # ffmpeg's words, and the dynamic linker's
CHUNK_BYTES = 1 << 16


def check_tools() -> None:
    """Raise ConfigurationError unless ffmpeg and ffprobe can be started."""
    for tool in ("ffmpeg", "ffprobe"):
        try:
            subprocess.run([tool, "-version"], capture_output=True, check=True, env=environment())
        except (OSError, subprocess.CalledProcessError) as error:
            raise ConfigurationError(
                f"{tool} cannot be started ({error}); install ffmpeg, or put it on PATH"
            ) from error


@contextmanager
def own_name(path: Path) -> Iterator[Path]:
    """A folder of ours in which the recording has a name of ours."""
    with temporary.folder() as folder:
        suffix = path.suffix.lower()
        name = folder / ("recording" + (suffix if suffix in NAMED else ""))
        name.symlink_to(path.absolute())
        yield name


@contextmanager
def started(command: Sequence[str], limits: Audio, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start ffmpeg or ffprobe in a folder under limits; whatever happens, none of it is left behind."""
    with (folder / "stderr").open("wb") as complaints:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            start_new_session=True,
        )
    try:
        if hasattr(resource, "prlimit"):  # Linux
            memory = limits.memory_limit_mb << 20
            for kind, limit in (
                (resource.RLIMIT_CPU, limits.cpu_limit_s),
                (resource.RLIMIT_AS, memory),
                (resource.RLIMIT_FSIZE, STDERR_LIMIT_BYTES),
            ):
                try:
                    resource.prlimit(process.pid, kind, (own := allowed(kind, limit), own))
                except ProcessLookupError:  # it has ended already
                    break
        yield process
    finally:
        end(process)
        if process.stdout:
            process.stdout.close()


def allowed(kind: int, limit: int) -> int:
    """A limit, or the lower one that this process has, which it may not raise for those that it starts."""
    _, most = resource.getrlimit(kind)
    return limit if most == resource.RLIM_INFINITY else min(limit, most)


def _limit(kind: int, limit: int, setting: str) -> str:
    """What a process has passed: the setting, or what this machine allows."""
    return setting if allowed(kind, limit) == limit else f"this machine's own limit (ulimit) below {setting}"


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that leads a session, and what it has started, even where it has ended itself."""
    if process.returncode is None:  # nobody has waited for it, so that its number is still its own
        with suppress(ProcessLookupError, PermissionError):  # macOS's answer where there is none but itself
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def output(command: Sequence[str], limits: Audio, folder: Path) -> Iterator[bytes]:
    """Start it, and stream what it writes, in chunks of at most CHUNK_BYTES.

    Raises:
        RecordingError: decode_error or decode_limit, after all that it wrote.
    """
    tool = command[0]
    with started(command, limits, folder) as process:
        assert process.stdout is not None
        while chunk := _read(process.stdout.fileno(), limits.stall_timeout_s, tool):
            yield chunk
        if (status := process.wait()) != 0:
            error = f"{tool} ended with status {status}"
            raise passed_limit(tool, status, limits, folder) or RecordingError(
                FailureCode.DECODE_ERROR, last_complaint(folder) or error
            )


def passed_limit(tool: str, status: int, limits: Audio, folder: Path) -> RecordingError | None:
    """The limit that a process in a folder ended for, by its status and what it complained; None where it was none."""
    reason = None
    if -status in (signal.SIGXCPU, signal.SIGXFSZ, signal.SIGKILL):
        limit = _limit(resource.RLIMIT_CPU, limits.cpu_limit_s, f"audio.cpu_limit_s = {limits.cpu_limit_s}")
        reason = f"{tool} passed {limit}, or what it may complain"
    elif any(words in last_complaint(folder) for words in OUT_OF_MEMORY):
        wanted = f"audio.memory_limit_mb = {limits.memory_limit_mb}"
        reason = f"{tool} wanted more than {_limit(resource.RLIMIT_AS, limits.memory_limit_mb << 20, wanted)}"
    return RecordingError(FailureCode.DECODE_LIMIT, reason) if reason else None


def printed(folder: Path) -> Iterator[list[float]]:
    """The numbers that print() in filter expressions has written to the log since the last call, without end."""
    with (folder / "stderr").open("rb", buffering=0) as file:
        rest = b""
        while True:
            if new := file.read():
                *lines, rest = (rest + new).split(b"\n")
                matches = (_PRINTED.fullmatch(line.decode(errors="replace")) for line in lines)
                yield [float(match[1]) for match in matches if match]
            else:
                yield []


def last_complaint(folder: Path) -> str:
    """The last thing it said, without our names and addresses in memory, so that the same file gets the same words."""
    text = (folder / "stderr").read_bytes()[-4096:].decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not _NO_COMPLAINT.fullmatch(line)]
    return re.sub(r"^recording(\.\w+)?: | @ 0x[0-9a-f]+", "", lines[-1])[:500] if lines else ""


# Some versions of ffmpeg say that it comes from an expression, others write the number alone.
_PRINTED = re.compile(r"(?:\[Eval @ \w+\] )?(-?\d+\.\d+|-?inf|-?nan)")
_NO_COMPLAINT = re.compile(rf"{_PRINTED.pattern}|\s*Last message repeated \d+ times")


def environment() -> dict[str, str]:
    """All that a decoder sees of ours."""
    return {"PATH": os.environ.get("PATH", os.defpath)}


def _read(descriptor: int, timeout_s: float, tool: str) -> bytes:
    """The next bytes of a pipe, b"" at its end. The clock runs only while we wait: backpressure costs nothing."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN | select.POLLHUP)
    if not poll.poll(timeout_s * 1000):
        raise RecordingError(FailureCode.DECODE_LIMIT, f"{tool} gave no output for {timeout_s:.0f} s")
    return os.read(descriptor, CHUNK_BYTES)
