from __future__ import annotations

import signal
import subprocess
import sys

from tests.conftest import ROOT

HANGS = """
import ctypes
from pipeline.flow import exits
exits.EXIT_S = 1
libc = ctypes.CDLL(None)
libc.__cxa_atexit(ctypes.cast(libc.pause, ctypes.c_void_p), None, None)  # after Python has ended, as Ray's core is
exits.bounded()
"""


def test_a_process_that_hangs_at_its_exit_ends() -> None:
    assert (
        subprocess.run([sys.executable, "-c", HANGS], check=False, cwd=ROOT, timeout=60).returncode == -signal.SIGALRM
    )
