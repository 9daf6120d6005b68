"""A vLLM plugin (pyproject.toml names it): vLLM's processes end when the one that started them is gone.

vLLM stops them when it is shut down, but a process that is killed shuts nothing down, and what is left would keep its
GPU's memory for ever. vLLM loads the plugin wherever this package is installed beside it, so that it does nothing
unless the engine of this package has set END_WITH_PARENT.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.process import BaseProcess

END_WITH_PARENT = "VOXTRAL_END_WITH_PARENT"  # in the environment of vLLM's processes: "1"


def end_with_parent() -> None:
    """Called by vLLM in each of its processes; watches only those that an engine of this package started."""
    parent = multiprocessing.parent_process()  # None in the process that vLLM was started from
    if parent and os.environ.get(END_WITH_PARENT) == "1":
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: BaseProcess) -> None:
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)
