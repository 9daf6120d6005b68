"""Texts of others, as they can be written."""

from __future__ import annotations


def writable(text: str) -> str:
    """A text that UTF-8 can encode: halves of surrogate pairs, which names of files in other encodings and JSON may
    hold, are written out (\\udcfc)."""
    return text.encode("utf-8", "backslashreplace").decode()
