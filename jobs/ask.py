"""Ask questions about a bucket of recordings: `python -m jobs.ask --input ... --output ... --question ...`.

Exit status: as of jobs.transcribe.
"""

from __future__ import annotations

import sys

from jobs import shell, transcribe
from pipeline import command_line, planning
from pipeline.log import Log
from pipeline.tasks.ask.settings import AskSettings


def main(arguments: list[str] | None = None) -> int:
    """Run the job; returns the exit status."""

    def job(log: Log) -> int:
        wanted = command_line.load(sys.argv[1:] if arguments is None else arguments, AskSettings)
        log.as_json = wanted.log_format == "json"
        if facts := transcribe.carry_out(planning.plan(wanted), log):
            transcribe.check_failures(facts, wanted)
        return 0

    return shell.run(job)


if __name__ == "__main__":
    sys.exit(main())
