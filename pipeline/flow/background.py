"""A generator in a thread of its own, so that the one who waits for it can do other things meanwhile."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")
LOOK_EVERY_S = 0.5
END_S = 60.0


def ticking(items: Generator[T], every_s: float) -> Generator[T | None]:
    """The items of a generator that runs in a thread, and None as often as `every_s` pass without one.

    Closed before its end, it stops Ray Data's executions of this process: one that waits for machines would wait on.
    """
    handed: queue.Queue[tuple[bool, T | BaseException | None]] = queue.Queue(maxsize=1)
    stopped = threading.Event()

    def hand_over(over: bool, item: T | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                return handed.put((over, item), timeout=LOOK_EVERY_S)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                hand_over(False, item)
                if stopped.is_set():
                    return
            hand_over(True, None)
        except BaseException as error:
            hand_over(True, error)
        finally:
            items.close()

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    try:
        while True:
            try:
                over, item = handed.get(timeout=every_s)
            except queue.Empty:
                yield None
                continue
            if isinstance(item, BaseException):
                raise item
            if over:
                return
            yield item
    finally:
        stopped.set()
        deadline = time.monotonic() + END_S
        # Until it is over: it may be about to begin an execution, and would start a cluster of its own for it.
        while worker.is_alive() and time.monotonic() < deadline:
            worker.join(LOOK_EVERY_S)
            if worker.is_alive():
                _stop_executions()


def _stop_executions() -> None:
    # Ray Data hands out no handle on an execution that has not given its first block; its executor is a thread.
    for thread in threading.enumerate():
        if type(thread).__name__ == "StreamingExecutor":
            thread.shutdown(force=True)  # pyright: ignore[reportAttributeAccessIssue]
