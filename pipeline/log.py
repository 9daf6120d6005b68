"""What a job says while it works, on stderr: lines for people, or a JSON object per line for machines."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any

from rich.console import Console

PLAIN_WIDTH = 120  # of tables, where there is no terminal


class Log:
    """Set `as_json` for objects with `time`, `message` and the facts of the line. `console` is for what JSON has no
    use for: bars and tables."""

    def __init__(self) -> None:
        self.as_json = False
        self.console = Console(stderr=True, width=None if sys.stderr.isatty() else PLAIN_WIDTH)

    def say(self, message: str, style: str | None = None, **facts: Any) -> None:
        if self.as_json:
            line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "message": message} | facts
            print(json.dumps(line, ensure_ascii=False, default=str), file=sys.stderr, flush=True)
        else:
            self.console.print(message, style=style, highlight=False, markup=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """1.5 -> "1.5 s", 75 -> "1 min 15 s", 7500 -> "2 h 05 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
