"""Small healthy files in every container and codec that ffmpeg can write here, and some that it cannot: what
`bench.hostile` damages."""

from __future__ import annotations

import subprocess
from collections.abc import Collection
from pathlib import Path

import numpy as np

from bench.speech import DEMO

SPEECH, SECONDS = DEMO / "held_out/en-00.ogg", 1.2
TELEPHONE = "-ar 8000 -ac 1"
EXACT = "-map_metadata -1 -fflags +bitexact -flags:a +bitexact -flags:v +bitexact"  # the same bytes every time
PICTURE = "-f lavfi -i testsrc=size=32x32:rate=5:duration=1.2"
# File name -> ffmpeg's options. Before "|": another input, for its picture.
WRITTEN = {
    "pcm.wav": "-c:a pcm_s16le",
    "float.wav": "-c:a pcm_f32le -ac 2",
    "alaw.wav": f"-c:a pcm_alaw {TELEPHONE}",
    "adpcm-ms.wav": f"-c:a adpcm_ms {TELEPHONE}",
    "adpcm-ima.wav": f"-c:a adpcm_ima_wav {TELEPHONE}",
    "gsm.wav": f"-c:a libgsm_ms {TELEPHONE}",
    "mp3.wav": "-c:a libmp3lame",
    "rf64.wav": "-c:a pcm_s16le -rf64 always",
    "pcm.w64": "-c:a pcm_s16le",
    "plain.flac": "-c:a flac",
    "stereo.flac": "-c:a flac -ac 2 -ar 48000",
    "xing.mp3": "-c:a libmp3lame -q:a 5 -metadata title=speech",
    "bare.mp3": "-c:a libmp3lame -b:a 32k -write_xing 0 -id3v2_version 0",
    "layer.mp2": "-c:a mp2 -ar 44100",
    "vorbis.ogg": "-c:a libvorbis",
    "opus.ogg": "-c:a libopus -b:a 16k",
    "flac.ogg": "-c:a flac",
    "speex.ogg": f"-c:a libspeex {TELEPHONE}",
    "aac.m4a": "-c:a aac -b:a 32k",
    "alac.m4a": "-c:a alac",
    "fast.mp4": "-c:a aac -b:a 32k -movflags +faststart",
    "fragments.mp4": "-c:a aac -b:a 32k -movflags frag_keyframe+empty_moov -frag_duration 200000",
    "film.mp4": "| -c:a aac -b:a 32k -c:v mpeg4",
    "pcm.mov": "-c:a pcm_s16be",
    "opus.mp4": "-c:a libopus -b:a 16k",
    "flac.mkv": "-c:a flac",
    "film.mkv": "| -c:a libvorbis -c:v mpeg4",
    "opus.webm": "-c:a libopus -b:a 16k",
    "pcm.aiff": "",
    "float.aiff": "-c:a pcm_f32be",
    "pcm.au": "",
    "mulaw.au": f"-c:a pcm_mulaw {TELEPHONE}",
    "pcm.caf": "",
    "alac.caf": "-c:a alac",
    "pcm.avi": "-c:a pcm_s16le",
    "film.avi": "| -c:a libmp3lame -c:v mpeg4",
    "aac.ts": "-c:a aac -b:a 32k",
    "film.ts": "| -c:a mp2 -c:v mpeg2video -r 25",
    "film.mpg": "| -c:a mp2 -c:v mpeg2video -r 25",
    "wma.asf": "-c:a wmav2",
    "wma1.wma": "-c:a wmav1",
    "aac.flv": "-c:a aac -b:a 32k",
    "mp3.flv": "-c:a libmp3lame -ar 22050",
    "adts.aac": "-c:a aac -b:a 32k",
    "latm.loas": "-c:a aac -b:a 32k -f latm",
    "dolby.ac3": "-ar 32000",
    "dolby.eac3": "-ar 32000",
    "dca.dts": "-strict -2 -ar 48000",
    "sub-band.sbc": "",
    "speech.g722": "",
    "speech.gsm": f"-c:a libgsm {TELEPHONE}",
    "speech.tco": f"-c:a g723_1 -f g723_1 {TELEPHONE}",
    "speech.c2": TELEPHONE,
    "true.tta": "",
    "pack.wv": "",
    "meridian.mlp": "-strict -2 -ar 48000",
    "dolby.thd": "-strict -2 -ar 48000 -ac 2 -f truehd",
    "pcm.nut": "-c:a pcm_s16le",
    "pcm.voc": "-c:a pcm_s16le",
    "pcm.sox": "",
    "pcm.sf": "-f ircam",
    "real.rm": f"-c:a real_144 {TELEPHONE}",
    "film.mxf": "| -c:a pcm_s16le -ar 48000 -c:v mpeg2video -r 25",
    "film.gxf": "| -c:a pcm_s16le -ar 48000 -c:v mpeg2video -s 720x576 -r 25 -t 0.2",
    "film.wtv": "| -c:a mp2 -c:v mpeg2video -r 25",
}


def make(folder: Path, names: Collection[str] = WRITTEN) -> dict[str, bytes]:
    """Write those that ffmpeg writes, or some of them, and those made by hand below `folder`; returns their bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        words = WRITTEN[name]
        picture = PICTURE if words.startswith("|") else ""
        inputs = f"-v error -y -t {SECONDS} -i {SPEECH} {picture}"
        options = f"-ac 1 -ar 16000 {words.removeprefix('|')} {EXACT}"
        subprocess.run(["ffmpeg", *inputs.split(), *options.split(), str(folder / name)], check=True)
    for name, data in _by_hand().items():
        (folder / name).write_bytes(data)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _by_hand() -> dict[str, bytes]:
    """Formats without an encoder in ffmpeg: what is said in them is noise."""
    noise = np.random.default_rng(0).bytes
    samples = (np.random.default_rng(0).normal(0, 3000, 9_600)).astype("<i2").tobytes()
    sphere = b"NIST_1A\n   1024\nsample_count -i 9600\nsample_n_bytes -i 2\nchannel_count -i 1\n"
    sphere += b"sample_byte_format -s2 01\nsample_rate -i 8000\nsample_coding -s3 pcm\nend_head\n"
    return {
        "narrow.amr": b"#!AMR\n" + b"".join(b"\x3c" + noise(31) for _ in range(60)),
        "wide.amr": b"#!AMR-WB\n" + b"".join(b"\x44" + noise(60) for _ in range(60)),
        "sphere.wav": sphere.ljust(1024, b" ") + samples,
    }
