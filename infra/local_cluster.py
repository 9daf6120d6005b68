"""A Ray cluster of several nodes on this machine, for `ray job submit`: `make cluster`.

A head, which runs jobs' drivers and takes no other work, and two workers; each is a Ray node with processes and CPUs of
its own. It ends with Ctrl-C.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ray.cluster_utils import Cluster

WORKERS = 2
DISCOVERY = Path("/tmp/ray/prom_metrics_service_discovery.json")  # where Ray tells Prometheus its nodes


@contextmanager
def started(workers: int = WORKERS, cpus: int = 2) -> Iterator[Cluster]:
    """Start it; each worker offers so many CPUs, whatever the machine has. `webui_url` is where jobs are submitted."""
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": True})
    try:
        for _ in range(workers):
            found.add_node(num_cpus=cpus)
        yield found
    finally:
        found.shutdown()


def main() -> None:
    """Start one and wait."""
    with started(cpus=max(2, (os.cpu_count() or 2) // WORKERS)) as cluster, suppress(KeyboardInterrupt):
        print(
            f"""A head and {WORKERS} workers are up; dashboard and jobs: http://{cluster.webui_url}

    ray job submit --address http://{cluster.webui_url} --working-dir . --runtime-env infra/runtime-env.yaml -- \\
        {sys.executable} -m jobs.transcribe --input s3://... --output s3://... --engine.device cpu

Ray asks for a token where RAY_AUTH_MODE=token is set: set it for ray job submit, too. Ctrl-C ends the cluster.""",
            flush=True,
        )
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    main()
