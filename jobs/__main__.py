"""What there is to run: `python -m jobs`, and `python -m jobs JOB ...`, which is `voxtral-batch JOB ...`."""

from __future__ import annotations

import ast
import difflib
import importlib
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Run the job that the first argument names, or print a line for each; returns the exit status."""
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or [""]
    jobs = _jobs()
    if name in jobs:
        return importlib.import_module(f"jobs.{name}").main(rest)
    if name not in ("", "-h", "--help"):
        meant = difflib.get_close_matches(name, jobs, 1)
        hint = f"did you mean {meant[0]}?" if meant else f"there are {', '.join(jobs)}"
        print(f"error: there is no job {name} ({hint})", file=sys.stderr)
        return 2
    for job, about in jobs.items():
        print(f"python -m jobs.{job:<16} {about}")
    print("Each has --help.")
    return 0


def _jobs() -> dict[str, str]:
    """What each job is for, by its name."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        source = path.read_text("utf-8")
        if f"python -m jobs.{path.stem} " in source:  # without an import, which takes seconds
            found[path.stem] = (ast.get_docstring(ast.parse(source)) or "").partition(": `")[0]
    return found


if __name__ == "__main__":
    sys.exit(main())
