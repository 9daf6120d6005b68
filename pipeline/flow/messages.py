"""What Ray prints, of tasks and nodes that were lost, as warnings of its logger: a log in JSON has no other lines."""

from __future__ import annotations

import io
import logging
import re
from contextlib import redirect_stdout

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class _Lines(io.TextIOBase):
    def write(self, text: str) -> int:
        for line in _COLOURS.sub("", text).splitlines():
            if line.strip():
                logging.getLogger("ray").warning(line.strip())
        return len(text)


def logged() -> redirect_stdout[io.TextIOBase]:
    """Meanwhile, what this process prints on standard output is logged."""
    return redirect_stdout(_Lines())
