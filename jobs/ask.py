"""Ask questions about a bucket of recordings: `python -m jobs.ask --input ... --output ... --question ...`.

Exit status: as of jobs.transcribe.
"""

from __future__ import annotations

import sys

from jobs import running
from pipeline.tasks.ask.settings import AskSettings


def main(arguments: list[str] | None = None) -> int:
    """Run the job; returns the exit status."""
    return running.start(arguments, AskSettings)


if __name__ == "__main__":
    sys.exit(main())
