"""Jobs on a terminal, with a person before it."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.conftest import DEMO, ROOT, wait_for

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
STUBBORN = """
import sys, time
from jobs import shell
def work(log):
    try:
        print("at work", file=sys.stderr, flush=True)
        time.sleep(60)
    finally:
        print("writing", file=sys.stderr, flush=True)
        time.sleep(60)
    return 0
sys.exit(shell.run(work))
"""


class Terminal:
    """A process with a terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        self._ours, theirs = pty.openpty()
        self._raw = b""
        self.job = subprocess.Popen(
            ["setsid", "--ctty", sys.executable, *arguments],
            cwd=ROOT,
            env=os.environ | {"TERM": "xterm", "COLUMNS": "120"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            try:
                self._raw += os.read(self._ours, 65_536)
            except OSError:
                return

    @property
    def raw(self) -> str:
        return self._raw.decode(errors="replace")

    @property
    def shown(self) -> str:
        return CONTROL.sub("", self.raw)

    def wait_for(self, pattern: str, seconds: float = 120.0) -> None:
        wait_for(lambda: re.search(pattern, self.shown) or self.job.poll() is not None, seconds)
        assert re.search(pattern, self.shown), self.shown[-2000:]

    def press_ctrl_c(self) -> None:
        os.write(self._ours, b"\x03")

    def end(self) -> int:
        try:
            return self.job.wait(60)
        finally:
            if self.job.poll() is None:
                os.killpg(self.job.pid, signal.SIGKILL)


def test_a_run_shows_what_it_is_at_and_ctrl_c_says_what_is_saved(
    no_ray: None, tmp_path: Path, scripted: Callable[[str], list[str]]
) -> None:
    output = tmp_path / "out"
    arguments = ["--input", str(DEMO / "held_out"), "--output", str(output), "--engine.max-num-seqs", "1"]
    terminal = Terminal("-m", "jobs.transcribe", *arguments, *scripted("delay=1"))
    terminal.wait_for("starting Ray")
    terminal.wait_for("0 of 1 engines ready")
    terminal.wait_for(r"processing \S+ +\d+%")
    terminal.wait_for("[1-9]/80 recordings, 0 failed, time left unknown")
    terminal.press_ctrl_c()
    assert terminal.end() == 130
    (part,) = output.glob("transcripts/*/*.parquet")
    saved = pq.read_metadata(part).num_rows
    assert f"interrupted: {saved} of 80 recordings are saved below {output}, {80 - saved} are left; run the same" in (
        " ".join(terminal.shown.split())
    )
    assert "Traceback" not in terminal.shown
    assert terminal.raw.rindex("\x1b[?25h") > terminal.raw.rindex("\x1b[?25l"), "the cursor is back"
    assert not [path for path in output.rglob("*") if path.is_file() and path.name.startswith(".")]


def test_a_second_ctrl_c_ends_at_once() -> None:
    terminal = Terminal("-c", STUBBORN)
    terminal.wait_for("at work")
    terminal.press_ctrl_c()
    terminal.wait_for("writing")
    began = time.monotonic()
    terminal.press_ctrl_c()
    assert terminal.end() == 130
    assert time.monotonic() - began < 10
    assert "interrupted again: ended at once" in terminal.shown


@pytest.mark.parametrize("is_ignored", [False, True])
def test_where_sigint_is_ignored_it_stays_so(is_ignored: bool) -> None:
    """Shells start background jobs so."""
    script = "import signal, sys; from jobs import shell; before = signal.getsignal(signal.SIGINT)\n"
    script += "sys.exit(shell.run(lambda log: int(signal.getsignal(signal.SIGINT) is before)))"
    ignore = "trap '' INT; " if is_ignored else ""
    done = subprocess.run(["sh", "-c", f'{ignore}exec "$0" -c "$1"', sys.executable, script], cwd=ROOT, check=False)
    assert done.returncode == is_ignored
