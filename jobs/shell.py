"""How every job ends: in one line that says what was wrong, and an exit status."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from pipeline.errors import ConfigurationError, JobError
from pipeline.log import Log


class _Terminated(KeyboardInterrupt):
    """SIGTERM: `ray job stop`, Kubernetes and systemd end a job so."""


INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM


def run(work: Callable[[Log], int]) -> int:
    """Do a job's work, which returns the exit status; 1 where it broke down, 2 where it was asked for something
    impossible, 130 or 143 where it was interrupted or terminated. What is finished is written then, too, unless a
    second Ctrl-C ends the process at once."""
    log = Log()
    try:
        with _signals(log), log.libraries():
            return work(log)
    except (ConfigurationError, JobError) as error:
        log.say(f"error: {error}", style="red", level="error")
        return 2 if isinstance(error, ConfigurationError) else 1
    except KeyboardInterrupt as end:
        saved = "".join(f": {note}" for note in getattr(end, "__notes__", [])[:1])
        log.say(f"interrupted{saved}; run the same command again to continue", level="warning")
        return TERMINATED if isinstance(end, _Terminated) else INTERRUPTED


@contextmanager
def _signals(log: Log) -> Iterator[None]:
    """SIGINT and SIGTERM raise KeyboardInterrupt; a SIGINT behind another signal ends the process."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    came: list[int] = []

    def end(number: int, _: FrameType | None) -> None:
        came.append(number)
        if number == signal.SIGTERM:
            raise _Terminated
        if came[1:]:
            log.say_at_once("interrupted again: ended at once; run the same command again to continue")
            os._exit(INTERRUPTED)
        raise KeyboardInterrupt

    for number, handler in kept.items():
        if handler != signal.SIG_IGN or number == signal.SIGTERM:  # nohup and shells' background jobs ignore SIGINT
            signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
