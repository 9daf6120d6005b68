"""Remove what stopped runs have left in an output: `python -m jobs.tidy --output <a job's output> --dry-run`.

Exit status: 0 done; 1 a file could not be removed; 2 it was asked for something impossible.
"""

from __future__ import annotations

import sys
from collections import Counter

from jobs import shell
from pipeline import command_line, tidy
from pipeline.log import Log


def main(arguments: list[str] | None = None) -> int:
    """Run the job; returns the exit status."""

    def job(log: Log) -> int:
        wanted = command_line.load(sys.argv[1:] if arguments is None else arguments, tidy.Tidy)
        found = tidy.find(wanted)
        for run_id, why in found.kept.items():
            log.say(f"run {run_id} is not finished, and stays: {why}")
        groups = Counter((file.run_id, file.why) for file in found.left_over)
        for (run_id, why), count in groups.items():
            log.say(f"run {run_id}: {count} files {why}")
        size = sum(file.size_bytes for file in found.left_over)
        if not found.left_over:
            log.say("nothing to remove")
        elif wanted.dry_run:
            log.say(f"{len(found.left_over)} files ({size / 1e6:,.1f} MB) would be removed")
        else:
            tidy.remove(found, wanted.output)
            log.say(f"{len(found.left_over)} files ({size / 1e6:,.1f} MB) removed")
        return 0

    return shell.run(job)


if __name__ == "__main__":
    sys.exit(main())
