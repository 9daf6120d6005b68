"""Files that lie, break off, or try to make ffmpeg open something else: each is made from a seed, anywhere alike."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from tests.conftest import tone, write_wav

# Containers and how ffmpeg makes them.
CONTAINERS = {
    "wav": ["-c:a", "pcm_s16le"],
    "flac": ["-c:a", "flac"],
    "mp3": ["-c:a", "libmp3lame"],
    "m4a": ["-c:a", "aac"],
    "mp4": ["-c:a", "aac", "-movflags", "+faststart"],
    "ogg": ["-c:a", "libvorbis"],
    "opus": ["-c:a", "libopus"],
    "mkv": ["-c:a", "flac"],
    "webm": ["-c:a", "libopus"],
    "aiff": [],
    "caf": [],
    "w64": [],
    "au": [],
    "avi": ["-c:a", "pcm_s16le"],
    "ts": ["-c:a", "aac"],
    "aac": ["-c:a", "aac"],
    "flv": ["-c:a", "aac"],
    "nut": ["-c:a", "pcm_s16le"],
    "g722": [],
    "mlp": ["-strict", "-2", "-ar", "48000"],
}
CUTS = (1, 4, 8, 12, 20, 36, 44, 64, 100, 200, 400, 0.3, 0.6, 0.9)  # bytes, or shares of the file
FLIPS = 7  # damaged copies of each container
EXTENSIONS = ("mp3", "wav", "m4a", "mkv", "ts", "mp4", "flac")


def files(folder: Path, secret: Path) -> Iterator[Path]:
    """Make them all below `folder`. `secret` is a recording, beside a text file, that none of them may open."""
    folder.mkdir(parents=True, exist_ok=True)
    sound = write_wav(folder.parent / "sound.wav", tone(2.0))
    for extension, options in CONTAINERS.items():
        whole = folder / f"whole.{extension}"
        command = ["ffmpeg", "-v", "error", "-y", "-i", sound, *options, "-fflags", "+bitexact", whole]
        subprocess.run(command, check=True)
        data = whole.read_bytes()
        yield whole
        for cut in CUTS:
            yield _file(folder / f"cut-{cut}.{extension}", data[: int(cut * len(data) if cut < 1 else cut)])
        for seed in range(FLIPS):
            yield _file(folder / f"flipped-{seed}.{extension}", _flipped(data, seed))
    for name, text in _scripts(secret):
        for extension in EXTENSIONS:
            yield _file(folder / f"{name}.{extension}", text.encode())
    yield from _liars(folder, secret)


def _file(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _flipped(data: bytes, seed: int) -> bytes:
    """Some bytes changed: in the headers for even seeds, anywhere for odd ones."""
    rng = np.random.default_rng(seed)
    damaged = bytearray(data)
    for at in rng.integers(0, min(len(data), 400) if seed % 2 == 0 else len(data), 12):
        damaged[at] = rng.integers(256)
    return bytes(damaged)


def _scripts(secret: Path) -> Iterator[tuple[str, str]]:
    """Playlists and scripts that name another file, or an address."""
    address = "http://127.0.0.1:9/x.mp3"
    for kind, target in (("file", f"file://{secret}"), ("path", str(secret)), ("http", address)):
        yield f"hls-{kind}", f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n"
        yield f"ffconcat-{kind}", f"ffconcat version 1.0\nfile '{target}'\n"
    yield "concat", f"file '{secret}'\nduration 2\n"
    yield "m3u", f"{secret}\n"
    yield "pls", f"[playlist]\nFile1={secret}\nNumberOfEntries=1\n"
    yield (
        "dash",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT2S">'
        f'<Period><AdaptationSet mimeType="audio/mp4"><Representation id="1" bandwidth="1"><BaseURL>file://{secret}'
        "</BaseURL></Representation></AdaptationSet></Period></MPD>",
    )
    yield "smil", f'<smil><body><audio src="file://{secret}"/></body></smil>'
    yield "asx", f'<asx version="3.0"><entry><ref href="file://{secret}"/></entry></asx>'
    yield "sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP 0\n"
    yield "srt", f"1\n00:00:00,000 --> 00:00:02,000\n<img src='file://{secret}'>\n"
    yield (
        "ass",
        f"[Script Info]\nScriptType: v4.00+\n[Fonts]\nfontname: {secret}\n"
        "[Events]\nDialogue: 0,0:00:00.00,0:00:02.00,,x\n",
    )
    yield "avs", f'DirectShowSource("{secret}")\n'
    yield "lrc", f"[00:00.00]{secret}\n"


def _wav(channels: int, rate: int, bits: int, align: int, size: int) -> bytes:
    form = struct.pack("<HHIIHH", 1, channels, rate, (rate * align) & 0xFFFFFFFF, align, bits)
    return (
        b"RIFF"
        + struct.pack("<I", (size + 36) & 0xFFFFFFFF)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + (b"data" + struct.pack("<I", size & 0xFFFFFFFF) + bytes(4_000))
    )


def _liars(folder: Path, secret: Path) -> Iterator[Path]:
    """Headers that state what is not so."""
    for name, facts in {
        "4-gigabytes": (1, 16_000, 16, 2, 0xFFFFFFF0),
        "no-channels": (0, 16_000, 16, 2, 4_000),
        "65535-channels": (65_535, 16_000, 16, 2, 4_000),
        "rate-0": (1, 0, 16, 2, 4_000),
        "rate-1": (1, 1, 16, 2, 4_000),
        "rate-2-billion": (1, 2**31 - 1, 16, 2, 4_000),
        "rate-4-billion": (1, 2**32 - 1, 16, 2, 4_000),
        "no-bits": (1, 16_000, 0, 0, 4_000),
        "64000-bits": (1, 16_000, 64_000, 2, 4_000),
        "align-0": (2, 16_000, 16, 0, 4_000),
    }.items():
        yield _file(folder / f"{name}.wav", _wav(*facts))
    flac = (folder / "whole.flac").read_bytes()
    for name, at, value in (("rate", 18, b"\xff\xff\xf0"), ("samples", 21, b"\xff" * 5), ("block", 8, b"\xff" * 4)):
        yield _file(folder / f"lying-{name}.flac", flac[:at] + value + flac[at + len(value) :])
    for name, number in (("samples", lambda _, sample: sample), ("huge", lambda *_: 2**36 - 1), ("zero", lambda *_: 0)):
        yield _file(folder / f"numbered-{name}.flac", renumbered(folder / "whole.flac", number))
    yield _file(folder / "in mid-stream.flac", b"\x07" * 700 + flac[flac.index(b"\xff\xf8") + 9 :])
    for extension in ("mkv", "mp4", "ts", "ogg", "nut", "webm"):
        for name, rule in (("hours", "TS+gt(N\\,20)*86400/TB"), ("back", "TS-gt(N\\,20)*1/TB"), ("each", "TS+9*N/TB")):
            made = folder / f"times-{name}.{extension}"
            command = ["-i", folder / f"whole.{extension}", "-c", "copy", "-bsf:a", f"setts=ts={rule}", made]
            subprocess.run(["ffmpeg", "-v", "error", "-y", *command], check=True)
            yield made
    m4a = (folder / "whole.m4a").read_bytes()
    for box, shift in (
        (b"mvhd", 16),
        (b"stts", 8),
        (b"stsz", 12),
        (b"stco", 8),
        (b"mdhd", 12),
        (b"moov", -4),
        (b"trak", -4),
    ):
        at = m4a.find(box) + shift
        yield _file(folder / f"lying-{box.decode()}.m4a", m4a[:at] + b"\x7f\xff\xff\xff" + m4a[at + 4 :])
    # A QuickTime movie whose samples are said to lie in another file.
    alias = b"\0\0\0\x0cdref" if b"dref" not in m4a else b""
    at = m4a.find(b"url ")
    yield _file(folder / "elsewhere.mov", m4a[:at] + b"alis" + alias + str(secret).encode() + m4a[at + 4 :])
    subprocess.run(
        [
            "ffmpeg",
            "-v",
            "error",
            "-y",
            "-f",
            "lavfi",
            "-i",
            "anullsrc=r=8000:cl=mono",
            "-t",
            "36000",
            "-c:a",
            "flac",
            folder / "bomb.flac",
        ],
        check=True,
    )
    yield folder / "bomb.flac"
    sound = folder.parent / "sound.wav"
    many = [part for _ in range(300) for part in ("-map", "0:a")]
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", "-i", sound, *many, "-c:a", "pcm_s16le", folder / "300 streams.mkv"], check=True
    )
    yield folder / "300 streams.mkv"
    yield _file(folder / "zeros.mp3", bytes(1 << 20))
    yield _file(folder / "noise.mp3", np.random.default_rng(0).bytes(1 << 20))
    yield _file(folder / "sync words.mp3", b"\xff\xfb\x90\x00" * (1 << 18))
    yield _file(folder / "sync words.aac", b"\xff\xf1\x50\x80\x00\x1f\xfc" * (1 << 17))
    yield _file(folder / "a text.wav", b"Dear sir or madam,\n" * 1_000)


def renumbered(flac: Path, number: Callable[[int, int], int]) -> bytes:
    """A FLAC file whose frames bear other numbers: `number` of (index, first sample), with both checksums right."""
    command = ["ffprobe", "-v", "error", "-show_entries", "packet=pts,pos,size", "-of", "csv=p=0", flac]
    answer = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    data, made = flac.read_bytes(), b""
    for index, line in enumerate(answer.split()):
        sample, size, at = map(int, line.split(","))
        frame = data[at : at + size]
        made = made or data[:at]
        old = 1 if frame[4] < 0x80 else 8 - (0xFF ^ frame[4]).bit_length()  # bytes of the number, coded like UTF-8
        extra = {6: 1, 7: 2}.get(frame[2] >> 4, 0) + {12: 1, 13: 2, 14: 2}.get(frame[2] & 15, 0)
        header = frame[:4] + _coded(number(index, sample)) + frame[4 + old : 4 + old + extra]
        header += _crc(header, 8, 0x07)
        body = header + frame[4 + old + extra + 1 : -2]
        made += body + _crc(body, 16, 0x8005)
    return made


def _coded(number: int) -> bytes:
    """As in UTF-8, but of up to 36 bits."""
    if number < 0x80:
        return bytes([number])
    rest = b""
    while number >= 1 << (6 - len(rest)):
        rest = bytes([0x80 | number & 0x3F]) + rest
        number >>= 6
    return bytes([(0xFF << (7 - len(rest))) & 0xFF | number]) + rest


def _crc(data: bytes, bits: int, polynomial: int) -> bytes:
    crc = 0
    for byte in data:
        crc ^= byte << (bits - 8)
        for _ in range(8):
            crc = crc << 1 ^ (polynomial if crc >> (bits - 1) & 1 else 0)
        crc &= (1 << bits) - 1
    return crc.to_bytes(bits // 8, "big")
