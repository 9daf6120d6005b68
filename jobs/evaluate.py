"""Error rates on recordings with references: `python -m jobs.evaluate --input ... --output ... --engine.model ...`.

With --task: the share of right answers to questions. Exit status: 0 done; 1 the job broke down; 2 it was asked for
something impossible; 3 it is worse than --baseline by more than --max-regression; 130 it was interrupted.
"""

from __future__ import annotations

import sys

from jobs import shell, transcribe
from pipeline import command_line, planning
from pipeline.errors import ConfigurationError
from pipeline.log import Log

REGRESSION = 3


def main(arguments: list[str] | None = None, kind: str = "Evaluation") -> int:
    """Run the job with settings of a class of pipeline.references; returns the exit status."""

    def job(log: Log) -> int:
        try:
            from pipeline import evaluate, references
            from pipeline.scoring import text
        except ModuleNotFoundError as missing:
            raise ConfigurationError(
                f"scoring needs the package {missing.name}: pip install --no-deps -r requirements/evaluate.txt"
            ) from missing
        wanted = command_line.load(sys.argv[1:] if arguments is None else arguments, getattr(references, kind))
        log.as_json = wanted.log_format == "json"
        what = references.prepare(wanted)
        for problem in what.problems:
            log.say(f"attention: {problem}", style="yellow", level="warning")
        plan = planning.plan(what.settings)
        scored = evaluate.scored(plan, references.with_references(plan, what))
        transcribe.carry_out(plan, log)
        if wanted.dry_run:
            return 0
        report = evaluate.evaluate(plan, scored)
        scored.show(report, log)
        folder = f"{plan.output.uri}/{references.FOLDER}/{report['evaluation_id']}"
        log.say(f"report       {folder}/report.html")
        return REGRESSION if text.regressions(report) else 0

    return shell.run(job)


if __name__ == "__main__":
    sys.exit(main())
