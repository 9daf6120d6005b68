"""A page about a finished run: `python -m jobs.report --output <a job's output>`.

Exit status: 0 done; 1 the page could not be written; 2 there is no such run.
"""

from __future__ import annotations

import sys

from jobs import shell
from pipeline import command_line
from pipeline.log import Log
from pipeline.run_page import page


def main(arguments: list[str] | None = None) -> int:
    """Run the job; returns the exit status."""

    def job(log: Log) -> int:
        wanted = command_line.load(sys.argv[1:] if arguments is None else arguments, page.Page)
        log.say(f"page  {page.write(wanted)}")
        return 0

    return shell.run(job)


if __name__ == "__main__":
    sys.exit(main())
