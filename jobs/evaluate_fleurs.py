"""Error rates on FLEURS: `python -m jobs.evaluate_fleurs --configs en_us,de_de --output ... --engine.model ...`.

Exit status: as of jobs.evaluate.
"""

from __future__ import annotations

import sys

from jobs import evaluate


def main(arguments: list[str] | None = None) -> int:
    """Run the job; returns the exit status."""
    return evaluate.main(arguments, "FleursEvaluation")


if __name__ == "__main__":
    sys.exit(main())
