"""`make nights`: three nights of jobs.nightly on a bucket that grows and changes, with the real engine.

Night 1 finds everything new. Night 2 finds new recordings and a changed one, and does the newest within its budget.
Night 3 has other settings, which make all earlier transcripts old: it does them again.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from demo.run import ENGINE
from demo.s3 import embedded_s3
from jobs import nightly
from pipeline import store

HERE = Path(__file__).parent
BUCKET = "s3://nights"


def put(name: str, clip: str) -> None:
    """A recording in the bucket: one of the held-out clips under a name, over an earlier one."""
    store.replace(f"{BUCKET}/calls/{name}", (HERE / "held_out" / clip).read_bytes())


def night(console: Console, title: str, *arguments: str) -> int:
    """Say what has happened to the bucket, and run the job."""
    console.rule(title)
    command = ["--input", f"{BUCKET}/calls/", "--output", f"{BUCKET}/transcripts", *arguments]
    console.print(f"$ python -m jobs.nightly {' '.join(command)} ...\n", highlight=False, soft_wrap=True)
    return nightly.main([*command, *ENGINE])


def main() -> int:
    """Run the nights; returns the first exit status that is not 0."""
    console = Console(width=None if sys.stdout.isatty() else 110)
    with embedded_s3("nights"):
        for number, clip in enumerate(("en-00", "de-01", "es-02", "fr-03", "en-04", "de-05")):
            put(f"monday/{number}.ogg", f"{clip}.ogg")
        status = night(console, "night 1: six recordings", "--price-per-engine-hour", "5")
        for number, clip in enumerate(("es-06", "fr-07", "en-08")):
            put(f"tuesday/{number}.ogg", f"{clip}.ogg")
        put("monday/3.ogg", "fr-09.ogg")
        store.replace(f"{BUCKET}/calls/tuesday/broken.wav", b"not a recording")
        status = status or night(
            console,
            "night 2: three new ones, a broken one, a changed one; a budget",
            *("--price-per-engine-hour", "5", "--engine-speed", "1", "--max-engine-hours", "0.003"),
        )
        put("wednesday/0.ogg", "de-10.ogg")
        status = status or night(
            console,
            "night 3: one new one, and other settings: all of it is to do again",
            *("--price-per-engine-hour", "5", "--guards.min-chars-per-s", "7"),
        )
    return status


if __name__ == "__main__":
    sys.exit(main())
