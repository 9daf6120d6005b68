"""Transcribe a bucket of recordings: `python -m jobs.transcribe --input ... --output ... --engine.model ...`.

Exit status: 0 done, or nothing to do; 1 too many recordings failed, or the job broke down; 2 it was asked for something
impossible; 130 it was interrupted; 143 it was terminated.
"""

from __future__ import annotations

import sys

from jobs import running
from pipeline.settings import Settings


def main(arguments: list[str] | None = None) -> int:
    """Run the job; returns the exit status."""
    return running.start(arguments, Settings)


if __name__ == "__main__":
    sys.exit(main())
