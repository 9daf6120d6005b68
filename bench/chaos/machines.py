"""A Ray cluster of a head and two workers, each in a network namespace of its own where that is permitted."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar
from unittest.mock import patch

import psutil
from ray.cluster_utils import Cluster

from bench.chaos.network import Network, inside
from pipeline.flow.cluster import kept_signals

WORKERS, CPUS = 2, 1  # each
TRIES = 40
# Ray gives up a node after 8 s to 20 s without an answer, in place of 15 s to 65 s, and a dead head after 25 s in place
# of 60. Its workers give way to everything else on the machine (niceness 15): too slow where it is busy.
IMPATIENT = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "2000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "4",
    "RAY_worker_niceness": "0",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "25",
}

T = TypeVar("T")


class Machines:
    """Nodes that can be lost, replaced, and cut off."""

    def __init__(self, network: Network | None, temporary: str) -> None:
        """`temporary` is the TMPDIR of all nodes."""
        self._network, self._temporary = network, temporary
        self._head = {"node_ip_address": network.address} if network else {}
        self._places = [network.add() if network else None for _ in range(WORKERS)]
        self._workers: dict[int, Any] = {}  # by place
        self._cluster: Any = None
        self.start()

    @property
    def address(self) -> str:
        """RAY_ADDRESS."""
        return str(self._cluster.address)

    def start(self) -> None:
        """A new cluster."""
        head = {"num_cpus": CPUS, "include_dashboard": False, **self._head}
        self._cluster = None
        self._cluster = self._tried(lambda: Cluster(initialize_head=True, head_node_args=head), None)
        for place in range(WORKERS):
            self._add(place)

    def _add(self, place: int) -> None:
        namespace, address = self._places[place] or (None, None)
        node: dict[str, Any] = {"num_cpus": CPUS} | ({"node_ip_address": address} if address else {})
        self._workers[place] = self._tried(lambda: self._cluster.add_node(**node), namespace)

    def _tried(self, start: Callable[[], T], namespace: str | None) -> T:
        """What starts a node in a namespace, tried more than once: Ray waits for a node only so long."""
        for left in reversed(range(TRIES)):
            with patch.dict(os.environ, {"TMPDIR": self._temporary, **IMPATIENT}), kept_signals(), inside(namespace):
                try:
                    return start()
                except Exception:  # Ray raises nothing more special
                    self._end_unknown()
                    if not left:
                        raise
        raise AssertionError("the last try has raised")

    def _end_unknown(self) -> None:
        """End Ray's processes that belong to no node of the cluster: those of a start that took too long."""
        nodes: list[Any] = self._cluster.list_all_nodes() if self._cluster else []
        known = {info.process.pid for node in nodes for infos in node.all_processes.values() for info in infos}
        for process in psutil.Process().children():
            if process.pid not in known and "/ray/" in _title(process):
                process.kill()

    def lose_worker(self, rng: random.Random) -> str:
        """One ends with all that runs on it, and another one comes. Returns which."""
        place = rng.randrange(WORKERS)
        self._cluster.remove_node(self._workers[place], allow_graceful=False)
        self._add(place)
        return f"worker {place}"

    def replace_lost(self) -> None:
        """New workers for those that Ray has given up."""
        for place, node in list(self._workers.items()):
            if not node.any_processes_alive():
                self._cluster.remove_node(node, allow_graceful=False)
                self._add(place)

    def lose_head(self) -> str:
        """The head ends, and with it the cluster; a new one comes."""
        for processes in self._cluster.head_node.all_processes.values():
            for process in processes:
                with suppress(ProcessLookupError):
                    os.kill(process.process.pid, signal.SIGKILL)
        self._stop()
        self.start()
        return "the cluster is a new one"

    def cut(self, rng: random.Random) -> str:
        """Cut a worker off, until `join`. Returns its name."""
        assert self._network
        name, _ = rng.choice([place for place in self._places if place])
        self._network.cut(name)
        return name

    def join(self, name: str) -> None:
        """Connect it again."""
        assert self._network
        self._network.join(name)

    def processes(self, title: str) -> list[psutil.Process]:
        """Ray's worker processes whose title holds this."""
        return [process for process in _workers() if title in _title(process)]

    def _stop(self) -> None:
        with suppress(Exception):  # processes that end a moment later, or have ended
            self._cluster.shutdown()

    def close(self) -> None:
        """End all of it."""
        try:
            self._stop()
        finally:
            if self._network:
                self._network.close()


def _workers() -> Iterator[psutil.Process]:
    for process in psutil.Process().children(recursive=True):  # others may run Ray beside us
        if _title(process).startswith("ray::"):
            yield process


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@contextmanager
def machines(network: Network | None, temporary: str) -> Iterator[Machines]:
    """Start them; they are gone at the end."""
    found = Machines(network, temporary)
    try:
        yield found
    finally:
        found.close()
