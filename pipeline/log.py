"""What a job says while it works, on stderr: lines for people, or a JSON object per line for machines.

Both go through the standard library's logging: ours by the logger `pipeline`, beside what libraries log.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from rich.console import Console

PLAIN_WIDTH = 120  # of tables, where there is no terminal
LOGGER = logging.getLogger("pipeline")
# Warnings of libraries that a run without trouble gives, and that ask nothing of anybody, by logger and first words.
HARMLESS = (
    ("ray.data._internal.progress", "Progress bars disabled"),  # they are: `flow.stream` turns them off
)


class JsonLines(logging.Formatter):
    """A record as a JSON object: `time` (UTC, ISO 8601), `level`, `logger`, `message`, the facts of `Log.say`, and
    `exception`, a traceback, where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line | getattr(record, "facts", {}), ensure_ascii=False, default=str)


class Text(logging.Formatter):
    """A record as a line for people: our own messages as they are, those of libraries with level and name."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if record.name != LOGGER.name:
            message = f"{record.levelname.lower()} ({record.name}): {' '.join(message.split())}"
        if record.exc_info:
            message += f"\n{self.formatException(record.exc_info)}"
        return message


class _Stderr(logging.Handler):
    """Writes records as `log` is set to at that moment."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log, self._json, self._text = log, JsonLines(), Text()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._log.as_json:
                print(self._json.format(record), file=sys.stderr, flush=True)
            else:
                style = getattr(record, "style", "yellow" if record.levelno >= logging.WARNING else None)
                text = self._text.format(record)
                self._log.console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)
        except Exception:
            self.handleError(record)


class Log:
    """Shows what the job says; the latest of a process alone does. Set `as_json` for JSON lines. `console` is for what
    JSON has no use for: bars and tables."""

    def __init__(self) -> None:
        self.as_json = False
        self.console = Console(stderr=True, width=None if sys.stderr.isatty() else PLAIN_WIDTH)
        LOGGER.setLevel(logging.INFO)
        for earlier in [handler for handler in LOGGER.handlers if isinstance(handler, _Stderr)]:
            LOGGER.removeHandler(earlier)
        LOGGER.addHandler(_Stderr(self))

    def say(self, message: str, style: str | None = None, level: str = "info", **facts: Any) -> None:
        """Log a message of the job, at level info, warning or error; `facts` are further members of its JSON object."""
        LOGGER.log(logging.getLevelName(level.upper()), message, extra={"style": style, "facts": facts})

    @contextmanager
    def libraries(self) -> Iterator[None]:
        """Show what libraries log, too: warnings and errors, Python's own warnings among them. A library shows more
        where its logger has a lower level of its own."""
        root, handler = logging.getLogger(), _Stderr(self)
        handler.addFilter(_is_news)
        root.addHandler(handler)
        logging.captureWarnings(True)
        try:
            yield
        finally:
            logging.captureWarnings(False)
            root.removeHandler(handler)


def through_root(*names: str, level: int) -> None:
    """Have libraries that show their log by themselves hand it to the root logger, from this level on."""
    for name in names:
        logger = logging.getLogger(name)
        for handler in [each for each in logger.handlers if type(each).__name__ == "PlainRayHandler"]:
            logger.removeHandler(handler)
        logger.propagate = True
        logger.setLevel(level)


def _is_news(record: logging.LogRecord) -> bool:
    """Not ours, which is shown already; not hidden by Ray Data, which marks what only its file shall have."""
    if record.name == LOGGER.name or getattr(record, "hide", False):
        return False
    message = record.getMessage()
    return not any(record.name == name and message.startswith(words) for name, words in HARMLESS)


def duration(seconds: float) -> str:
    """1.5 -> "1.5 s", 75 -> "1 min 15 s", 7500 -> "2 h 05 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
