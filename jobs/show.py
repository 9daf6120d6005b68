"""What an output holds: `python -m jobs.show OUTPUT [RECORDING]`.

OUTPUT is the --output of a job. Alone, it lists the runs: when each began, of which task and model, how many recordings
it has done, and whether it is published. With RECORDING (a recording_id, a URI, or a part of either that no other
recording has): its newest transcript and answers.

Exit status: 0 done; 2 there is no such output, run or recording.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

from jobs import shell
from pipeline.errors import ConfigurationError
from pipeline.log import Log
from pipeline.registry import TRANSCRIBE
from pipeline.show import lookup, runs, text
from pipeline.tasks.transcribe import speakers


def main(arguments: list[str] | None = None) -> int:
    """Print what there is; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.show", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", metavar="OUTPUT", help="where a job has written: a bucket prefix or a directory")
    parser.add_argument("recording", metavar="RECORDING", nargs="?", help="a recording_id, a URI, or a part of either")
    parser.add_argument("--run-id", metavar="NAME", help="of this run alone")
    parser.add_argument("--last", type=_positive, default=10, metavar="N", help="list so many runs (default: 10)")
    parser.add_argument("--json", action="store_true", help="print JSON, with all columns")
    wanted = parser.parse_args(arguments)

    def job(_: Log) -> int:
        found = runs.runs(wanted.output)
        if not found:
            raise ConfigurationError(f"{wanted.output} has no runs: is it the --output of a job?")
        if wanted.run_id:
            names = [run.run_id for run in found]
            found = [run for run in found if run.run_id == wanted.run_id]
            if not found:
                raise ConfigurationError(
                    f"--run-id {wanted.run_id}: {wanted.output} has no such run; the last is {names[0]}"
                )
        if wanted.recording is None:
            shown = found[: wanted.last]
            print(_json({"runs": [run.as_json() for run in shown]}) if wanted.json else text.of_runs(shown, len(found)))
            return 0
        about = lookup.find(wanted.output, found, wanted.recording, ["answers"])
        transcripts = [one for one in about if one.run.task == TRANSCRIBE]
        for row in (row for one in transcripts for row in one.rows if row.get("segments")):
            row["segments"] = speakers.of_segments(row["segments"], row.get("turns"))
        if wanted.json:
            print(_json({"found": [{"run": one.run.as_json(), "rows": one.rows, **one.others} for one in about]}))
        else:
            print("\n\n".join(map(text.of_recording, about)))
        return 0

    try:
        return shell.run(job)
    except BrokenPipeError:  # who reads has enough: head, or a pager that was left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text}: a whole number from 1 on")
    return int(text)


def _json(what: object) -> str:
    return json.dumps(what, indent=2, ensure_ascii=False, default=str)


if __name__ == "__main__":
    sys.exit(main())
