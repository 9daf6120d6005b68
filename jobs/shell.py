"""How every job ends: in one line that says what was wrong, and an exit status."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import NoReturn

from pipeline.errors import ConfigurationError, JobError
from pipeline.log import Log


class _Terminated(KeyboardInterrupt):
    """SIGTERM: `ray job stop`, Kubernetes and systemd end a job so."""


def run(work: Callable[[Log], int]) -> int:
    """Do a job's work, which returns the exit status; 1 where it broke down, 2 where it was asked for something
    impossible, 130 or 143 where it was interrupted or terminated. What is finished is written then, too."""
    log = Log()
    kept = signal.signal(signal.SIGTERM, _terminate)
    try:
        with log.libraries():
            return work(log)
    except (ConfigurationError, JobError) as error:
        log.say(f"error: {error}", style="red", level="error")
        return 2 if isinstance(error, ConfigurationError) else 1
    except KeyboardInterrupt as end:
        log.say("interrupted; run the same command again to continue", level="warning")
        return 128 + (signal.SIGTERM if isinstance(end, _Terminated) else signal.SIGINT)
    finally:
        signal.signal(signal.SIGTERM, kept)


def _terminate(*_: object) -> NoReturn:
    raise _Terminated
