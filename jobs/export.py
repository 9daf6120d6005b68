"""Transcripts as subtitles, text, JSON, RTTM and more: `python -m jobs.export --input <a job's output> --output ...`.

Exit status: 0 done; 1 a file could not be written; 2 it was asked for something impossible.
"""

from __future__ import annotations

import sys

from jobs import shell
from pipeline import command_line
from pipeline.exports import files
from pipeline.exports.formats import PER_EXPORT, PER_RECORDING
from pipeline.log import Log


def main(arguments: list[str] | None = None) -> int:
    """Run the job; returns the exit status."""

    def job(log: Log) -> int:
        wanted = command_line.load(sys.argv[1:] if arguments is None else arguments, files.Export)
        written = files.export(wanted)
        if per_recording := [kind for kind in wanted.formats if kind in PER_RECORDING]:
            counts = ", ".join(f"{written.files[kind]} {kind}" for kind in per_recording)
            log.say(f"{counts} files in {wanted.output}")
        for kind in (kind for kind in wanted.formats if kind in PER_EXPORT):
            root = f", which belongs into {written.audio_root}" if PER_EXPORT[kind].below_root else ""
            log.say(f"{written.lines[kind]} lines in {wanted.output.rstrip('/')}/{PER_EXPORT[kind].name}{root}")
        if written.failed:
            why = "their JSON says why" if "json" in wanted.formats else "the table says why"
            log.say(f"{written.failed} failed recordings have no text: {why}")
        return 0

    return shell.run(job)


if __name__ == "__main__":
    sys.exit(main())
