"""A vLLM plugin (pyproject.toml names it): vLLM's processes end when the one that started them is gone.

vLLM stops them when it is shut down, but a process that is killed shuts nothing down, and what is left would keep its
GPU's memory for ever.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time

LOOK_EVERY_S = 0.5


def end_with_parent() -> None:
    """Called by vLLM in each of its processes."""
    if parent := multiprocessing.parent_process():  # there is none in the process that vLLM was started from
        threading.Thread(target=_watch, args=(parent.pid,), daemon=True).start()


def _watch(parent: int | None) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGKILL)
