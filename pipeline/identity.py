"""What identifies a recording: its recording_id, which changes with the content, and its place, which does not; and
what identifies a task with its settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def generated_id(uri: str, version: str | None, start_s: float | None, end_s: float | None, *marks: object) -> str:
    """The recording_id of a recording that the manifest gives none: a hash of where it is, what is in it and which
    part is meant; and of `marks`."""
    identity = json.dumps([uri, version, start_s, end_s, *marks], default=str)
    return hashlib.sha256(identity.encode()).hexdigest()[:24]


def place(uri: str, start_s: float | None, end_s: float | None, given_id: str | None = None) -> str:
    """What identifies a recording whatever its content: the recording_id that its manifest gives (behind "id:"), else
    its URI, with the time range as a media fragment where a part is meant ("s3://bucket/a.wav#t=30,60.5")."""
    if given_id is not None:
        return f"id:{given_id}"
    if start_s is None and end_s is None:
        return uri
    start, end = ("" if x is None else f"{x:.6f}".rstrip("0").rstrip(".") for x in (start_s, end_s))
    return f"{uri}#t={start or 0}{end and ','}{end}"


def channel_id(recording_id: str, channel: int | None) -> str:
    """The recording_id of one channel's rows."""
    return recording_id if channel is None else f"{recording_id}#{channel}"


def whole_id(recording_id: str, channel: int | None) -> str:
    """The inverse of `channel_id`: the recording_id of the recording's own rows."""
    return recording_id if channel is None else recording_id.removesuffix(f"#{channel}")


def fingerprint(task: str, facts: Mapping[str, Any]) -> str:
    """A hash of a task's name and JSON facts. 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps({"task": task, **facts}, sort_keys=True).encode()).hexdigest()[:16]
