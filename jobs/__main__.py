"""What there is to run: `python -m jobs`."""

from __future__ import annotations

import ast
from pathlib import Path


def main() -> int:
    """Print a line for each job; returns the exit status."""
    for path in sorted(Path(__file__).parent.glob("*.py")):
        source = path.read_text("utf-8")
        if f"python -m jobs.{path.stem} " in source:  # without an import, which takes seconds
            about = (ast.get_docstring(ast.parse(source)) or "").partition(": `")[0]
            print(f"python -m jobs.{path.stem:<16} {about}")
    print("Each has --help.")
    return 0


if __name__ == "__main__":
    main()
