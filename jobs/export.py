"""Transcripts as SRT, WebVTT, text and JSON: `python -m jobs.export --input <a job's output> --output ...`.

Exit status: 0 done; 1 a file could not be written; 2 it was asked for something impossible.
"""

from __future__ import annotations

import sys

from rich.console import Console

from pipeline import export, settings
from pipeline.errors import ConfigurationError, JobError


def main(arguments: list[str] | None = None) -> int:
    """Run the job; returns the exit status."""
    console = Console(stderr=True)
    try:
        wanted = settings.load(sys.argv[1:] if arguments is None else arguments, export.Export)
        written = export.export(wanted)
    except (ConfigurationError, JobError) as error:
        console.print(f"error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        return 2 if isinstance(error, ConfigurationError) else 1
    counts = ", ".join(f"{written[kind]} {kind}" for kind in wanted.formats)
    console.print(f"{counts} files in {wanted.output}", highlight=False, markup=False, soft_wrap=True)
    if written["failed"]:
        why = "their JSON says why" if "json" in wanted.formats else "the table says why"
        console.print(f"{written['failed']} failed recordings have no text: {why}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
