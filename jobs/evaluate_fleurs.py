"""Error rates on FLEURS: `python -m jobs.evaluate_fleurs --configs en_us,de_de --output ... --engine.model ...`.

It is jobs.evaluate with --dataset fleurs and, unless another --input is given, the corpus on the Hugging Face hub.
"""

from __future__ import annotations

import sys

from jobs import evaluate

HUB = "hf://datasets/google/fleurs"


def main(arguments: list[str] | None = None) -> int:
    """Run the job; returns the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    source = [] if any(argument.split("=")[0] == "--input" for argument in given) else ["--input", HUB]
    return evaluate.main(["--dataset", "fleurs", *source, *given])


if __name__ == "__main__":
    sys.exit(main())
