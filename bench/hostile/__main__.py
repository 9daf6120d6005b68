"""Hostile media through the real preparation: mutants of small healthy files, or files that you name.

`python -m bench.hostile --mutants 10000 --seed 1` damages the files of `seeds` as `mutations` does; the same seed gives
the same mutants. `python -m bench.hostile FILE|FOLDER ...` takes files as they are and compares each with bare ffmpeg.
A file fails if it breaks a promise: `promises` lists them. Failed mutants are kept below --keep, beside a line for
every file in results.jsonl, and the exit status is 1; `--first NUMBER --mutants 1` with the same seed repeats one.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from bench.hostile import mutations, seeds
from bench.hostile.promises import Carried
from bench.hostile.workers import Task, Workers


def until(deadline: float, numbers: range) -> Iterator[Task]:
    """Numbers of mutants, as long as there is time."""
    for number in numbers:
        if time.monotonic() > deadline:
            return
        yield number


def named(paths: list[Path]) -> list[Path]:
    """The files, and all files below the folders."""
    below = [sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path] for path in paths]
    return [path for some in below for path in some]


def keep(mutant: tuple[str, bytes], folder: Path, seed: int) -> None:
    """Write a failed mutant to a folder for its seed."""
    kept = folder / f"seed-{seed}"
    kept.mkdir(parents=True, exist_ok=True)
    (kept / mutant[0]).write_bytes(mutant[1])


def report(results: list[Carried], console: Console, took_s: float) -> None:
    """Outcomes, differences, the slowest, and what was broken."""
    outcomes = Counter(", ".join(result.codes) or "whole" for result in results)
    table = Table("outcome", "files", title=f"{len(results)} files in {took_s / 60:.1f} min")
    for outcome, count in outcomes.most_common():
        table.add_row(outcome, str(count))
    flags = Counter(flag for result in results for flag in result.flags)
    for flag, count in flags.most_common():
        table.add_row(f"[dim]flag {flag}[/]", str(count))
    console.print(table)
    if any(result.difference for result in results):
        table = Table("compared with bare ffmpeg", "files", "such as")
        kinds = Counter(result.difference for result in results if result.difference)
        for kind, count in kinds.most_common():
            such = [Path(result.name).name for result in results if result.difference == kind]
            table.add_row(kind, str(count), "; ".join(such[:4]))
        console.print(table)
    slow, long = (max(results, key=key) for key in (lambda one: one.took_s, lambda one: one.duration_s))
    console.print(f"slowest: {slow.name}, {slow.took_s:.1f} s; longest: {long.name}, {long.duration_s:.0f} s of audio")
    for result in results:
        if result.broken:
            console.print(f"[red]{escape(result.name)}[/]: {escape('; '.join(result.broken))}", highlight=False)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.hostile", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, help="take these instead of mutants")
    parser.add_argument("--mutants", type=int, default=1_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--compare", action="store_true", help="compare mutants with bare ffmpeg, too")
    parser.add_argument(
        "--keep", type=Path, default=Path("build/hostile"), help="where failed mutants and results.jsonl go"
    )
    given = parser.parse_args()
    console, began = Console(width=120), time.monotonic()
    results: list[Carried] = []
    with tempfile.TemporaryDirectory() as name:
        files = seeds.make(Path(name))
        numbers = range(given.first, given.first + given.mutants)
        tasks = named(given.files) or until(began + given.minutes * 60, numbers)
        workers = Workers(Path(name), given.seed, given.compare or bool(given.files), given.workers)
        total = len(tasks) if isinstance(tasks, list) else len(numbers)
        given.keep.mkdir(parents=True, exist_ok=True)
        for result in track(workers.carry(iter(tasks)), console=console, total=total):
            results.append(result)
            with (given.keep / "results.jsonl").open("a") as file:
                print(json.dumps(dataclasses.asdict(result)), file=file)
            if result.broken and not given.files:
                keep(mutations.mutant(files, given.seed, int(result.name.split("-")[0])), given.keep, given.seed)
    report(results, console, time.monotonic() - began)
    sys.exit(any(result.broken for result in results))


if __name__ == "__main__":
    main()
