"""Jobs are killed at random, and started again until they are done: `python -m bench.chaos --kills 1000`.

Ray, ffmpeg and object storage (moto, behind a proxy of ours) are real; the words are not. Each run takes a command
(jobs.transcribe, jobs.ask, jobs.nightly; one, or two of the same at once), on S3 or a local disk, and disturbs it some
forty times. Then every recording must be published once, with its undisturbed text, and nothing may be left. The exit
status is 1 where something was found. Network and disk need root, the clock a C compiler: what this machine does not
permit is left out, and said.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
from rich.console import Console
from rich.table import Table

from bench.chaos import checks, network
from bench.chaos.clock import Clock
from bench.chaos.machines import machines
from bench.chaos.monkey import KINDS, ROOM_BYTES, Diary, Monkey
from bench.chaos.proxy import Proxy
from demo.s3 import embedded_s3
from pipeline import nightly, planning, run, settings, store
from pipeline.command_line import load
from pipeline.flow.tracker import GatheringActor
from pipeline.log import Log
from pipeline.models.families.scripted import NO_SCRIPT
from pipeline.models.runtimes.scripted import ScriptedModel
from pipeline.tasks.ask.settings import AskSettings
from pipeline.writer import Writer

CLIPS = Path(__file__).parents[2] / "demo/held_out"
RECORDINGS, KILLS_PER_RUN = 60, 40
COMMANDS: dict[str, type[settings.Settings]] = {
    "transcribe": settings.Settings,
    "ask": AskSettings,
    "nightly": nightly.Nightly,
}
SETTLE_S = 60.0  # for processes to end
CALM_RUNS = 3  # of the same command, after the disturbances, until there is nothing left to do
HURRIED = """--flush-interval-s 0.5 --engine.device cpu --engine.count 2 --engine.max-num-seqs 8
    --engine.max-deaths 100000""".split()


def permitted() -> dict[str, str]:
    """The kinds that this machine does not permit, and why."""
    why = {}
    if not network.is_permitted():
        why["network"] = "network namespaces cannot be made here (root, iproute2)"
    if not shutil.which("cc"):
        why["clock"] = "there is no C compiler"
    with tempfile.TemporaryDirectory() as folder:
        if not mounted(Path(folder)):
            why["disk"] = "a tmpfs cannot be mounted here (root)"
        subprocess.run(["umount", folder], check=False, capture_output=True)
    return why


def mounted(folder: Path) -> bool:
    """Mount a file system of its own on a folder; whether it worked."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={ROOM_BYTES}", "tmpfs", str(folder)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def fill(bucket: str, count: int) -> str:
    """So many recordings in a bucket; returns their prefix."""
    clips = sorted(CLIPS.glob("*.ogg"))
    for number in range(count):
        clip = clips[number % len(clips)]
        store.create(f"{bucket}/in/{number:04d} {clip.name}", clip.read_bytes())
    return f"{bucket}/in/"


def gone(folder: Path) -> None:
    """Remove a folder, in which processes may still write that are about to end."""
    deadline = time.monotonic() + SETTLE_S
    while folder.exists() and time.monotonic() < deadline:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.1)


@contextmanager
def scene(kinds: Sequence[str], rng: random.Random, diary: Diary) -> Iterator[Monkey]:
    """Storage with a bucket `chaos`, a cluster, and somebody who disturbs them."""
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="ch-", dir="/tmp"))  # short: Ray has sockets below it
        stack.callback(gone, folder)
        temporary = folder / "tmp"
        temporary.mkdir()
        if "disk" in kinds and mounted(temporary):
            stack.callback(subprocess.run, ["umount", "-l", str(temporary)], check=False)
        found = network.Network() if "network" in kinds else None
        host, port = stack.enter_context(embedded_s3("chaos")).removeprefix("http://").split(":")
        address = found.address if found else "127.0.0.1"
        proxy = Proxy((host, int(port)), address)
        stack.callback(proxy.close)
        environment = {"AWS_ENDPOINT_URL": f"http://{address}:{proxy.port}", "RAY_TMPDIR": str(folder)}
        environment |= {"NO_PROXY": f"{os.environ['NO_PROXY']},{address}", "no_proxy": address}
        stack.enter_context(patch.dict(os.environ, environment))
        store.forget_clients()
        clock = Clock(folder) if "clock" in kinds else None
        yield Monkey(stack.enter_context(machines(found, str(temporary))), proxy, temporary, clock, rng, diary)


def undisturbed(name: str, arguments: list[str], output: str) -> dict[str, list[str]]:
    """What a command says of each recording, by URI: computed here, without Ray and without a hurry."""
    plan = planning.plan(load([*arguments, "--output", output], COMMANDS[name]))
    gathering = GatheringActor()

    async def gather(*about: Any) -> list[Any] | None:
        return gathering.add(*about)

    worker = plan.task.worker(ScriptedModel(NO_SCRIPT), plan.settings, gather)
    with patch("pipeline.flow.metrics.count_recording"):  # a metric of Ray's
        plan.output.start(plan.about)
        writer = Writer(plan)
        for recording in plan.listing.recordings.to_batches(max_chunksize=1):
            for windows in plan.task.prepare(pa.Table.from_batches([recording]), plan.settings):
                writer.add(asyncio.run(worker(windows)).select(plan.task.answers.names).cast(plan.task.answers))
        writer.finish()
    run.execute(planning.plan(plan.settings), Log())  # all is done: it publishes
    return checks.texts(output)


def settled(monkey: Monkey, name: str, arguments: list[str]) -> int:
    """Let a command do what failed while it was disturbed. Returns how often it started."""
    starts = 0
    for _ in range(CALM_RUNS):
        if not planning.plan(load(arguments, COMMANDS[name])).count:
            return starts
        starts += monkey.run([(name, arguments)], [], 0)
    blamed = ["--retry", ",".join(checks.BLAMED)]
    if name != "nightly" and planning.plan(load([*arguments, *blamed], COMMANDS[name])).count:
        monkey.diary.note("blamed")
        starts += monkey.run([(name, [*arguments, *blamed])], [], 0)
    return starts


def check(monkey: Monkey, output: str, count: int, expected: dict[str, list[str]]) -> None:
    """Note what is wrong after a run."""
    deadline, folder = time.monotonic() + SETTLE_S, str(monkey.temporary.parent)
    while (left := checks.processes(folder)) and time.monotonic() < deadline:
        time.sleep(0.5)
    found = [f"processes are left: {left}"] if left else []
    found += checks.published(output, count, expected)
    found += checks.committed(output)
    if (Path(output) / "started/nightly.lock").exists() or f"{output}/started/nightly.lock" in checks.files(output):
        found.append("the lease is left")
    found += checks.tidied(output)
    if temporary := checks.temporary(str(monkey.temporary)):
        found.append(f"{len(temporary)} temporary folders are left")
    for what in found:
        monkey.diary.finding(what)


def main() -> int:
    """Run it; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.chaos", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--log", type=Path, help="a line of JSON for each kill, start, end and finding")
    parser.add_argument("--only", help=f"kinds with commas between: {', '.join(KINDS)}")
    wanted = parser.parse_args()
    console, missing = Console(), permitted()
    kinds = wanted.only.split(",") if wanted.only else [kind for kind in KINDS if kind not in missing]
    for kind, why in missing.items():
        console.print(f"{kind}: {why}")
    if unknown := [kind for kind in kinds if kind not in KINDS or kind in missing]:
        parser.error(f"not here: {', '.join(unknown)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started goes at the end
    began = time.monotonic()
    with ExitStack() as stack:
        log = stack.enter_context(wanted.log.open("a")) if wanted.log else None
        diary, rng = Diary(log), random.Random(wanted.seed)
        with scene(kinds, rng, diary) as monkey:
            chaos(monkey, kinds, wanted.kills, console)
    show(diary, kinds, time.monotonic() - began, console)
    return 1 if diary.findings else 0


def chaos(monkey: Monkey, kinds: Sequence[str], kills: int, console: Console) -> None:
    """Runs of random commands, until there were so many kills."""
    rng, diary, folder = monkey.rng, monkey.diary, monkey.temporary.parent
    script = folder / "script"
    script.write_text("delay=0.3")
    arguments = ["--input", fill("s3://chaos", RECORDINGS), *HURRIED]
    arguments += ["--engine.family", "scripted", "--engine.model", str(script)]
    asking = [*arguments, "--question", "What is it about?"]
    expected = {
        "transcribe": undisturbed("transcribe", arguments, "s3://chaos/calm"),
        "ask": undisturbed("ask", asking, "s3://chaos/calm-asked"),
    }
    expected["nightly"] = expected["transcribe"]
    diary.note("calm", recordings={name: len(texts) for name, texts in expected.items()})
    while diary.kills.total() < kills:
        diary.runs += 1
        name, twins = rng.choice(list(COMMANDS)), rng.random() < 0.3
        output = rng.choice(["s3://chaos", str(monkey.temporary)]) + f"/run-{diary.runs}"
        command = [*(asking if name == "ask" else arguments), "--output", output]
        diary.note("run", command=name, twins=twins, output=output)
        before, clock = diary.kills.total(), time.monotonic()
        starts = monkey.run([(name, command)] * (2 if twins else 1), kinds, min(KILLS_PER_RUN, kills - before))
        starts += settled(monkey, name, command)
        check(monkey, output, RECORDINGS, expected[name])
        diary.note("done", starts=starts, seconds=round(time.monotonic() - clock, 1))
        done = diary.kills.total()
        console.print(
            f"run {diary.runs}: {name}{' twice at once' if twins else ''}, {done - before} kills, {starts} starts,"
            f" {time.monotonic() - clock:.0f} s; {done} kills, {len(diary.findings)} findings so far"
        )


def show(diary: Diary, kinds: Sequence[str], seconds: float, console: Console) -> None:
    """The table."""
    table = Table("kind", "kills")
    for kind in kinds:
        table.add_row(kind, str(diary.kills[kind]))
    console.print(table)
    console.print(
        f"{diary.kills.total()} kills in {diary.runs} runs of {RECORDINGS} recordings, {diary.starts} starts,"
        f" {seconds / 60:.0f} minutes; {len(diary.findings)} findings"
    )
    for what in diary.findings:
        console.print(what, highlight=False)


if __name__ == "__main__":
    sys.exit(main())
