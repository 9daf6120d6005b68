"""Whether this machine is ready for GPU work: `python -m jobs.check [--engine.model NAME ...]`.

Says what is there of driver, GPUs, ffmpeg, compiler, vLLM and torch, what is missing, and how many GPUs an engine of
each released model takes; with --engine.model, of these models.

Exit status: 0 ready; 1 something is missing.
"""

from __future__ import annotations

import argparse
import sys

from jobs import shell
from pipeline.errors import ConfigurationError
from pipeline.log import Log
from pipeline.models import readiness
from pipeline.models.checkpoint import inspect
from pipeline.settings import Engine


def main(arguments: list[str] | None = None) -> int:
    """Print what there is; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--engine.model", dest="models", nargs="+", default=[], metavar="NAME", help="a Hugging Face name, or a folder"
    )
    models = parser.parse_args(arguments).models

    def job(_: Log) -> int:
        findings, gpus = readiness.look()
        weights: dict[str, int | None] = {} if models else readiness.RELEASED
        for name in models:
            try:
                weights[name] = inspect(Engine(model=name)).weights_bytes
            except ConfigurationError as error:
                findings.append(readiness.Finding("model", name, str(error)))
        rows, lacking = readiness.table(weights, gpus)
        for each in findings:
            print(f"{each.subject:<10} {each.found}")
        print("\nGPUs that share one engine:" if gpus else "\nGPUs that would share one engine:")
        for name, *words in rows:
            print(f"{name:<{max(len(row[0]) for row in rows)}}", *(f"{word:>10}" for word in words))
        wrong = [each for each in [*findings, *(lacking if models else [])] if each.remedy]
        print("\nready" if not wrong else "\nmissing:")
        for each in wrong:
            print(f"- {each.subject}: {each.found}: {each.remedy}")
        return 1 if wrong else 0

    return shell.run(job)


if __name__ == "__main__":
    sys.exit(main())
