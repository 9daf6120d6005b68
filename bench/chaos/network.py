"""Network namespaces: machines that one real machine pretends to have, whose cables can be pulled. They need root."""

from __future__ import annotations

import ctypes
import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNET = 0x40000000  # <sched.h>


def ip(*arguments: str) -> None:
    """Run iproute2.

    Raises:
        OSError, CalledProcessError: it is not there, or may not do this.
    """
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


class Network:
    """A bridge of this machine, with an address of its own, and namespaces on cables to it."""

    def __init__(self) -> None:
        self._name = f"ch{os.getpid()}"
        self._prefix = f"10.77.{random.SystemRandom().randrange(1, 255)}"
        self.address = f"{self._prefix}.1"
        self._cables: list[str] = []
        try:
            ip("link", "add", self._name, "type", "bridge")
            ip("address", "add", f"{self.address}/24", "dev", self._name)
            ip("link", "set", self._name, "up")
        except (OSError, subprocess.CalledProcessError):
            self.close()
            raise

    def add(self) -> tuple[str, str]:
        """Make a namespace; its name and its address."""
        number = len(self._cables) + 1
        cable, address = f"{self._name}w{number}", f"{self._prefix}.{10 + number}"
        self._cables.append(cable)
        ip("netns", "add", cable)
        ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", cable)
        ip("link", "set", cable, "master", self._name, "up")
        ip("-n", cable, "address", "add", f"{address}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            ip("-n", cable, "link", "set", device, "up")
        return cable, address

    def cut(self, name: str) -> None:
        """Pull a namespace's cable: packets are lost, connections stay."""
        ip("link", "set", name, "down")

    def join(self, name: str) -> None:
        """Put it in again."""
        ip("link", "set", name, "up")

    def close(self) -> None:
        """Remove it all."""
        for name in self._cables:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "delete", self._name], check=False, capture_output=True)


@contextmanager
def inside(name: str | None) -> Iterator[None]:
    """Processes that this thread starts meanwhile are in that namespace; None: in ours."""
    if not name:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open() as own, Path("/run/netns", name).open() as other:
        if libc.setns(other.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {name}")
        try:
            yield
        finally:
            libc.setns(own.fileno(), CLONE_NEWNET)


def is_permitted() -> bool:
    """Whether namespaces can be made here."""
    try:
        network = Network()
    except (OSError, subprocess.CalledProcessError):
        return False
    try:
        network.add()
    except (OSError, subprocess.CalledProcessError):
        return False
    finally:
        network.close()
    return True
