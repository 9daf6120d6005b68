"""What a job says while it works, on stderr: lines for people, or a JSON object per line for machines.

Both go through the standard library's logging: ours by the logger `pipeline`, beside what libraries log.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from pipeline.redaction import redacted

PLAIN_WIDTH = 120  # of tables, where there is no terminal
LOGGER = logging.getLogger("pipeline")
# Records of libraries that tell nobody anything, by logger and first words.
HARMLESS = (
    ("ray.data._internal.progress", "Progress bars disabled"),  # they are: `flow.stream` turns them off
    # The job ends with the cause of it, in a line of its own, and has no DataContext for people to set.
    ("ray.data._internal.execution.streaming_executor_state", "An exception was raised from a task of operator"),
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
        return json.dumps(redacted(line) | getattr(record, "facts", {}), ensure_ascii=False, default=str)


class Text(logging.Formatter):
    """A record as a line for people: our own messages as they are, those of libraries with level and name."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if record.name != LOGGER.name:
            message = f"{record.levelname.lower()} ({record.name}): {' '.join(message.split())}"
        if record.exc_info:
            message += f"\n{self.formatException(record.exc_info)}"
        return redacted(message)


class _Stderr(logging.Handler):
    """Writes records as `log` is set to at that moment."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log, self._json, self._text = log, JsonLines(), Text()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._log.as_json:
                print(self._json.format(record), file=self._log.console.file, flush=True)
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
        width = None if sys.stderr.isatty() else PLAIN_WIDTH
        if (
            sys.stderr is sys.__stderr__
        ):  # a descriptor of its own: the process's is shut while Ray starts, for its noise
            own = os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding=sys.stderr.encoding, errors="backslashreplace")
            self.console = Console(file=own, width=width)
        else:
            self.console = Console(stderr=True, width=width)
        LOGGER.setLevel(logging.INFO)
        for earlier in [handler for handler in LOGGER.handlers if isinstance(handler, _Stderr)]:
            LOGGER.removeHandler(earlier)
        LOGGER.addHandler(_Stderr(self))

    def say(self, message: str, style: str | None = None, level: str = "info", **facts: Any) -> None:
        """Log a message of the job, at level info, warning or error; `facts` are further members of its JSON object."""
        extra = {"style": style, "facts": redacted(facts)}
        LOGGER.log(logging.getLevelName(level.upper()), redacted(message), extra=extra)

    @property
    def is_live(self) -> bool:
        """There is a terminal, where lines can be changed."""
        return not self.as_json and self.console.is_interactive

    def say_at_once(self, message: str) -> None:
        """For signal handlers, before the process ends: takes no lock, and gives a terminal its cursor back."""
        line = JsonLines().format(logging.LogRecord(LOGGER.name, logging.WARNING, "", 0, message, None, None))
        text = f"{line}\n" if self.as_json else f"\n{message}\n"
        if self.is_live:
            text = f"\x1b[?25h{text}"
        with suppress(OSError):
            os.write(self.console.file.fileno(), text.encode())

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
