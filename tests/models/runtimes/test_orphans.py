from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pipeline.models.runtimes.orphans import END_WITH_PARENT

PARENT = """
import multiprocessing, os, sys, threading, time
from importlib.metadata import entry_points

def child():
    (plugin,) = entry_points(group="vllm.general_plugins", name="voxtral_batch_orphans")
    plugin.load()()
    print(os.getpid(), threading.active_count() - 1, flush=True)
    time.sleep(300)

if __name__ == "__main__":
    multiprocessing.get_context(sys.argv[1]).Process(target=child).start()
"""


@pytest.mark.parametrize(("ours", "method"), [(True, "fork"), (True, "spawn"), (True, "forkserver"), (False, "fork")])
def test_only_the_processes_of_our_engine_end_with_their_parent(ours: bool, method: str, tmp_path: Path) -> None:
    program = tmp_path / "parent.py"
    program.write_text(PARENT)
    environment = os.environ | {END_WITH_PARENT: "1" if ours else ""}
    parent = subprocess.Popen([sys.executable, program, method], env=environment, stdout=subprocess.PIPE)
    assert parent.stdout
    pid, watchers = map(int, parent.stdout.readline().split())
    child = psutil.Process(pid)
    parent.kill()
    parent.wait()
    assert watchers == ours
    if ours:
        assert psutil.wait_procs([child], timeout=30)[1] == []
    else:
        assert child.is_running()
        child.kill()
