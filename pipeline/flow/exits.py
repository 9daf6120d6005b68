"""Worker processes of Ray that end in time."""

from __future__ import annotations

import atexit
import signal
from functools import cache

# A process may take this long from the beginning of its exit. vLLM's own processes are ended within ten seconds.
EXIT_S = 30


@cache
def bounded() -> None:
    """See to it that this process ends, once it has begun to.

    While Ray (2.60) takes its core down it may wait for a lock that it holds itself: its `Publisher` posts to the
    scheduler that is being shut down. Then the process would stay for ever, and with it its memory and its GPUs. So the
    kernel ends it.
    """
    atexit.register(_arm)


def _arm() -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(EXIT_S)
