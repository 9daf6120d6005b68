"""`make dashboard`: infra/grafana-dashboard.json with real data in it, without Grafana.

Starts a cluster on this machine and a Prometheus that scrapes it, runs the job on the demo's clips, joined to
recordings of three minutes, with the real engine, asks Prometheus each panel's own queries, and draws
build/dashboard.html.
"""

from __future__ import annotations

import json
import logging
import math
import os
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import yaml

from bench import speech
from demo.run import ENGINE
from infra import local_cluster
from jobs import transcribe
from pipeline.pages import layout
from pipeline.pages.charts import PointChart, Points

ROOT = Path(__file__).parents[1]
SCRAPE_S, RATE_S, STEP_S = 1, 10, 1
PORT = 9390
RECORDINGS, RECORDING_S = 30, 180.0


@contextmanager
def prometheus(folder: Path) -> Iterator[str]:
    """A Prometheus with the cluster's nodes and our alerts; its address."""
    scrape = {
        "job_name": "ray",
        "file_sd_configs": [{"files": [str(local_cluster.DISCOVERY)], "refresh_interval": "2s"}],
    }
    config = {
        "global": {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": "5s"},
        "scrape_configs": [scrape],
        "rule_files": [str(ROOT / "infra/alerts.yaml")],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), "utf-8")
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{PORT}"], stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{PORT}"
    finally:
        process.terminate()
        process.wait()


def query(address: str, expression: str, start: float, end: float) -> list[dict[str, Any]]:
    """The series of a query over a time."""
    asked = expression.replace("$__rate_interval", f"{RATE_S}s").replace("[1h]", "[1m]").replace("[5m]", "[1m]")
    values = {"query": asked, "start": start, "end": end, "step": STEP_S}
    with urllib.request.urlopen(f"{address}/api/v1/query_range?{urllib.parse.urlencode(values)}") as answer:
        return json.load(answer)["data"]["result"]


def draw(address: str, start: float, end: float, path: Path) -> int:
    """All panels into an HTML page (dashboard.html); how many of them have data."""
    panels = json.loads((ROOT / "infra/grafana-dashboard.json").read_text("utf-8"))["panels"]
    charts = []
    for panel in panels:
        found = [(target, one) for target in panel["targets"] for one in query(address, target["expr"], start, end)]
        lines = []
        for target, series in found:
            name = target.get("legendFormat") or ""
            for label, value in series["metric"].items():
                name = name.replace(f"{{{{{label}}}}}", value)
            points = [(float(time_s) - start, float(value)) for time_s, value in series["values"]]
            points = [(time_s, value) for time_s, value in points if math.isfinite(value)]  # of 0 / 0, for one
            lines.append(Points(name, [time_s for time_s, _ in points], [value for _, value in points]))
        charts.append(PointChart(panel["title"], "seconds since the job began", "", lines, has_lines=True))
    path.write_text(layout.template("demo", "dashboard.html").render(charts=charts), "utf-8")
    return sum(bool(chart.series) for chart in charts)


def main() -> int:
    """Run and draw; the job's exit status."""
    os.environ["RAY_metrics_report_interval_ms"] = f"{SCRAPE_S}000"  # noqa: SIM112  # the default is ten seconds
    with (
        tempfile.TemporaryDirectory() as name,
        local_cluster.started() as cluster,
        prometheus(Path(name)) as address,
    ):
        clips = speech.clips(ROOT / "demo/held_out")
        Path(name, "calls").mkdir()
        for at in range(RECORDINGS):
            speech.joined(clips, RECORDING_S, Path(name, f"calls/{at:02d}.wav"), seed=at)
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        start = time.time()
        status = transcribe.main(["--input", f"{name}/calls", "--output", f"{name}/out", *ENGINE])
        time.sleep(3 * SCRAPE_S)
        ray.shutdown()
        path = ROOT / "build/dashboard.html"
        path.parent.mkdir(exist_ok=True)
        filled = draw(address, start, time.time(), path)
        print(f"{filled} panels have data: {path.relative_to(ROOT)}")
    return status


if __name__ == "__main__":
    sys.exit(main())
