"""A command of ours as a process: what it says, how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
KEPT_LINES = 60


class Job:
    """`python -m jobs.NAME ...`, started when this is made."""

    def __init__(self, name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name, self.phase = name, "planning"
        self.moved, self._state = time.monotonic(), ""
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"jobs.{name}", *arguments, "--log-format", "json"],
            cwd=ROOT,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self.pid = self._process.pid
        self.said: deque[str] = deque(maxlen=KEPT_LINES)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self.said.append(line.rstrip())
            if found := re.search(r'"phase": "([^"]+)"', line):
                self.phase = found[1]
            if (state := str(re.findall(r'"(?:phase|recordings|windows|failed)": [^,]+', line))) != self._state:
                self.moved, self._state = time.monotonic(), state  # it is not where it was

    @property
    def status(self) -> int | None:
        """Of its end; None while it runs, minus the signal that ended it."""
        return self._process.poll()

    def kill(self) -> bool:
        """End it at once; whether it was running."""
        if self.status is not None:
            return False
        self._process.kill()
        self._process.wait()
        return True

    def end(self) -> str | None:
        """After its end: what is wrong with how it ended, if anything. Killed, done, or one line about an error is
        right."""
        self._reader.join(10.0)
        said = [line for line in self.said if line]
        if self.status in (0, -signal.SIGKILL):
            return None
        if any(line.startswith("Traceback") for line in said):
            return f"status {self.status}, with a traceback: {' / '.join(said[-12:])}"
        if self.status not in (1, 2) or not self.reason():
            return f"status {self.status}, without a reason: {' / '.join(said[-6:])}"
        return None

    def odd_lines(self) -> list[str]:
        """Those that are not JSON, as its log is."""
        return [line for line in self.said if line and not line.startswith("{")]

    def reason(self) -> str:
        """The error in its last line, or what wanted attention before it."""
        for line in reversed(self.said):
            try:
                told = json.loads(line)
            except ValueError:
                continue
            message = str(told.get("message")) if isinstance(told, dict) else ""
            if message.startswith(("error: ", "attention: ")):
                return message
        return ""
