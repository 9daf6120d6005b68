"""Where the pages of an export find the recordings' audio."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import soundfile

from pipeline import store
from pipeline.audio import fetch, media
from pipeline.errors import RecordingError
from pipeline.exports.names import below_root
from pipeline.schema import SAMPLE_RATE_HZ, FailureCode
from pipeline.settings import Audio

FOLDER = "audio"  # of copies
# libsndfile's scale from 1, 6 kbit/s, to 0, 256 kbit/s. Measured on the demo's clips: about 30 kbit/s while somebody
# speaks. RFC 6716 (2.1.1) recommends 16 to 20 kbit/s for wideband speech, 28 to 40 for fullband.
COMPRESSION = 0.85
ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:\d+)?")
# Failures of rows whose file whoever wrote the manifest may not be allowed to hear.
WITHHELD = {
    FailureCode.INVALID_ROW: "The manifest's row could not be used, or names a file that it may not.",
    FailureCode.FORBIDDEN: "The transcription job was not allowed to read this recording.",
    FailureCode.DUPLICATE_ID: "The manifest's row has the recording_id of another one.",
}
CHANGED = "The recording has changed since it was transcribed."

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Source:
    """What a page says of its audio: where it is, relative to the page or absolute; and why there is none, or not all.

    `offset_s` is the time on the recording's clock at which the file begins. `origin` is that of an absolute URL.
    """

    url: str | None = None
    why: str | None = None
    offset_s: float = 0.0
    origin: str | None = None


@dataclass(frozen=True, slots=True)
class Places:
    """How pages reach audio. `roots` are the inputs of the runs; `output` is where the pages go."""

    output: str
    roots: Sequence[str]
    base: str | None = None
    signed_hours: float | None = None
    copied: Literal["opus"] | None = None

    def source(self, row: Row, page: str, limits: Audio) -> Source:
        """Of a recording whose page has that path below the output. Where audio is copied, this writes the copy, as far
        as the `limits` of the run went that transcribed it.

        A row that failed with a code of WITHHELD has no audio: the job that exports may read more than the one that
        transcribed, and must neither decode nor sign what a manifest had no right to name.

        Raises:
            storage_errors.STORAGE_ERRORS: a copy cannot be written.
        """
        no_file = None if _is_address(row["uri"]) else "This recording has no file."
        if why := WITHHELD.get(row["failure_code"], no_file):
            return Source(why=why)
        if self.copied:
            return self._copy(row, page, "../" * page.count("/"), limits)
        scheme, path = store.split(row["uri"])
        if self.base:
            return _absolute(f"{self.base.rstrip('/')}/{quote(below_root(self.roots, row['uri']))}")
        if scheme == "s3" and self.signed_hours:
            signed = store.filesystem(scheme).sign(path, expiration=round(self.signed_hours * 3600))
            return _absolute(str(signed))
        at_scheme, at = store.split(f"{self.output.rstrip('/')}/{page}")
        if scheme != at_scheme or (scheme == "s3" and at.split("/")[0] != path.split("/")[0]):
            place = (
                "another bucket" if at_scheme == scheme else "object storage" if scheme == "s3" else "a local folder"
            )
            return Source(why=f"The audio is in {place}. Export with --audio-base, --sign-hours or --copy-audio.")
        return Source(_relative(path, at))

    def _copy(self, row: Row, page: str, above: str, limits: Audio) -> Source:
        name = f"{FOLDER}/{page.split('/', 1)[1].removesuffix('.html')}.opus"
        start_s, end_s = row["range_start_s"] or 0.0, row["range_end_s"]
        data, reason = io.BytesIO(), None
        try:
            with fetch.local_copy(row["uri"], max_bytes=limits.max_object_gb * 1e9) as copy:
                if row["content_version"] not in (None, copy.content_version):
                    return Source(why=CHANGED)
                _encode(copy, limits, start_s, end_s, data)
        except RecordingError as error:
            reason = str(error)
        if not data.getbuffer().nbytes:
            return Source(why=f"The audio could not be copied: {reason or 'there is none'}")
        store.replace(f"{self.output.rstrip('/')}/{name}", data.getvalue(), "audio/ogg")
        why = f"The copy of the audio ends early: {reason}" if reason else None
        return Source(above + quote(name), why, offset_s=start_s)


def _encode(copy: fetch.LocalCopy, limits: Audio, start_s: float, end_s: float | None, data: io.BytesIO) -> None:
    """Ogg Opus, 16 kHz, mono, on the recording's own clock: as the model heard it. What comes before an error stays."""
    blocks = media.decode(copy.path, limits, start_s, end_s)
    block = next(blocks, None)
    if block is None:
        return
    form = {"format": "OGG", "subtype": "OPUS", "compression_level": COMPRESSION}
    with soundfile.SoundFile(data, "w", SAMPLE_RATE_HZ, 1, **form) as file:
        file.write(block)
        for block in blocks:
            file.write(block)


def _relative(path: str, page: str) -> str:
    """The URL of a path, relative to that of a page on the same disk or in the same bucket. Keys may have empty names
    between slashes."""
    there, here = path.split("/"), page.split("/")[:-1]
    shared = next((n for n, pair in enumerate(zip(there, here, strict=False)) if pair[0] != pair[1]), None)
    shared = min(len(there) - 1, len(here)) if shared is None else shared
    rest = "/".join(there[shared:])
    above = "../" * (len(here) - shared) or ("./" if rest.startswith("/") else "")
    return quote(above + rest)


def _is_address(uri: str) -> bool:
    """Whether it is a URI of storage or an absolute path, as listings write them, and not a manifest's row."""
    return uri.startswith(("s3://", "file://", "/"))


def _absolute(url: str) -> Source:
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}"
    if not ORIGIN.fullmatch(origin):
        return Source(why=f"The address of the audio is none that a page may open: {origin}")
    return Source(url, origin=origin)
