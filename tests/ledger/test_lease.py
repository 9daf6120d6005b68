from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import psutil
import pytest

from pipeline import store
from pipeline.errors import ConfigurationError
from pipeline.ledger import lease


def test_one_night_at_a_time(place: str) -> None:
    with (
        lease.lease(place),
        pytest.raises(ConfigurationError, match="another night is at work"),
        lease.lease(place),
    ):
        pass
    with lease.lease(place):
        pass
    # One that was killed left its lease behind: it holds until it runs out.
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    store.create(f"{place}/{lease.LEASE}", json.dumps({"until": past, "host": "h", "pid": 1}).encode())
    with lease.lease(place), pytest.raises(ConfigurationError, match="another night"), lease.lease(place):
        pass


def leave_lease(place: str, **facts: object) -> None:
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    held = {"name": "x", "job": None, "until": later, "host": "elsewhere", "pid": 1} | facts
    store.create(f"{place}/{lease.LEASE}", json.dumps(held).encode())


def test_the_next_try_of_a_job_takes_its_lease_over(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_lease(place, job="night-7")
    monkeypatch.setenv("VOXTRAL_JOB_ID", "night-8")
    with pytest.raises(ConfigurationError, match="another night is at work on elsewhere"), lease.lease(place):
        pass
    monkeypatch.setenv("VOXTRAL_JOB_ID", "night-7")
    with lease.lease(place):
        pass


def test_an_empty_job_id_takes_no_lease_over(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_lease(place, job="")
    monkeypatch.setenv("VOXTRAL_JOB_ID", "")
    with pytest.raises(ConfigurationError, match="another night"), lease.lease(place):
        pass


def test_the_lease_of_a_process_that_is_gone_is_taken_over(place: str) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    leave_lease(place, host=socket.gethostname(), pid=gone.pid)
    with lease.lease(place):
        pass


def test_a_process_that_has_ended_and_one_that_has_its_number_now_hold_no_lease(place: str) -> None:
    unreaped = subprocess.Popen([sys.executable, "-c", ""])
    while psutil.Process(unreaped.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    leave_lease(place, host=socket.gethostname(), pid=unreaped.pid)
    with lease.lease(place):
        pass
    unreaped.wait()
    began = psutil.Process().create_time()
    leave_lease(place, host=socket.gethostname(), pid=os.getpid(), process_started=began - 60.0)
    with lease.lease(place), pytest.raises(ConfigurationError, match="another night"), lease.lease(place):
        pass


def test_a_lease_that_another_night_took_over_is_left_alone(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEWED_S", 0.05)
    with lease.lease(place):
        store.remove(f"{place}/{lease.LEASE}")
        leave_lease(place, name="theirs")
        time.sleep(0.3)
    assert json.loads(store.read(f"{place}/{lease.LEASE}"))["name"] == "theirs"
