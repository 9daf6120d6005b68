"""Transcripts as subtitles, text, JSON, pages and more: `python -m jobs.export --input <a job's output> --output ...`.

Exit status: 0 done; 1 a file could not be written; 2 it was asked for something impossible.
"""

from __future__ import annotations

import sys

from jobs import shell
from pipeline import command_line
from pipeline.exports import files
from pipeline.exports.formats import PER_EXPORT
from pipeline.log import Log


def main(arguments: list[str] | None = None) -> int:
    """Run the job; returns the exit status."""

    def job(log: Log) -> int:
        wanted = command_line.load(sys.argv[1:] if arguments is None else arguments, files.Export)
        written = files.export(wanted)
        if per_recording := [kind for kind in wanted.formats if kind not in PER_EXPORT]:
            counts = ", ".join(f"{written.files[kind]} {kind}" for kind in per_recording)
            log.say(f"{counts} files in {wanted.output}")
        for kind in (kind for kind in wanted.formats if kind in PER_EXPORT):
            root = f", which belongs into {written.audio_root}" if PER_EXPORT[kind].below_root else ""
            log.say(f"{written.lines[kind]} lines in {wanted.output.rstrip('/')}/{PER_EXPORT[kind].name}{root}")
        if written.failed:
            told = {"json": "their JSON says", "html": "their pages say"}
            why = next((told[kind] for kind in told if kind in wanted.formats), "the table says")
            log.say(f"{written.failed} failed recordings have no text: {why} why")
        if written.silent:
            log.say(f"{written.silent} pages have no audio: they say why")
        if written.sample:
            log.say(f"{written.sample['drawn']} of {written.sample['segments']} segments are to be reviewed")
        return 0

    return shell.run(job)


if __name__ == "__main__":
    sys.exit(main())
