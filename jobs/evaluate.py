"""Error rates on recordings with references: `python -m jobs.evaluate --input ... --output ... --engine.model ...`.

With --models: several models side by side. With --task: the share of right answers to questions. With --corrections:
error rates of segments that people have corrected. Exit status: 0 done; 1 the job broke down, or one of several models
did, or too many recordings failed; 2 it was asked for something impossible; 3 it is worse than --baseline by more than
--max-regression; 130 it was interrupted; 143 it was terminated.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from jobs import running, shell
from pipeline import command_line, progress
from pipeline.errors import ConfigurationError, JobError
from pipeline.log import Log
from pipeline.settings import Settings

if TYPE_CHECKING:  # what scoring needs may not be installed
    from pipeline.evaluation.evaluate import Planned
    from pipeline.evaluation.inputs import Input
    from pipeline.evaluation.protocol import Scored
    from pipeline.evaluation.transcripts import Transcripts

REGRESSION = 3
Row = dict[str, Any]


def main(arguments: list[str] | None = None, kind: str = "Evaluation") -> int:
    """Run the job with settings of a class of pipeline.evaluation.settings; returns the exit status."""

    def job(log: Log) -> int:
        try:
            from pipeline.evaluation import evaluate, inputs, settings
            from pipeline.scoring import text
        except ModuleNotFoundError as missing:
            raise ConfigurationError(
                f"scoring needs the package {missing.name}: pip install --no-deps -r requirements/evaluate.txt"
            ) from missing
        wanted = command_line.load(sys.argv[1:] if arguments is None else arguments, getattr(settings, kind))
        log.as_json = wanted.log_format == "json"
        if "corrections" in wanted.model_fields_set:
            settings.check_corrections(wanted)
            report, by = evaluate.of_corrections(wanted)
            _show(report, by, wanted.output, log)
            return 0
        what = inputs.prepare(wanted)
        for problem in what.problems:
            log.say(f"attention: {problem}", style="yellow", level="warning")
        if wanted.models:
            return _compare(what, log)
        with progress.planning(log) as tell:
            planned = evaluate.plan(what, tell)
        if not (found := _evaluate(planned, log)):
            return 0
        _check_failures(*found, wanted)
        return REGRESSION if text.regressions(found[0]) else 0

    return shell.run(job)


def _evaluate(planned: Planned, log: Log) -> tuple[Row, list[Row]] | None:
    """Carry out and score what is planned; its report and rows, None for a dry run."""
    from pipeline.evaluation import evaluate

    running.carry_out(planned.plan, log)
    if planned.plan.settings.dry_run:
        return None
    report, rows = evaluate.evaluate(planned)
    _show(report, planned.by, planned.plan.output.uri, log)
    return report, rows


def _check_failures(report: Row, rows: list[Row], wanted: Settings) -> None:
    """Raise JobError where more of what was scored failed than may, whichever run did it."""
    try:
        running.check_failures(len(report["failures"]), len({row["recording_id"] for row in rows}), wanted)
    except JobError as error:
        raise JobError(f"{report['model']}: {error}") from error


def _show(report: Row, by: Scored | Transcripts, output: str, log: Log) -> None:
    from pipeline.evaluation import inputs

    by.show(report, log)
    log.say(f"report       {output.rstrip('/')}/{inputs.FOLDER}/{report['evaluation_id']}/report.html")


def _compare(what: Input, log: Log) -> int:
    """Evaluate several models one after the other, whichever of them breaks down, and compare them; the exit status."""
    from pipeline.evaluation import compare, evaluate, inputs
    from pipeline.scoring.comparison import text

    with progress.planning(log) as tell:
        wanted = [evaluate.plan(each, tell) for each in inputs.of_models(what)]
    compare.refuse_equals([planned.plan for planned in wanted])
    found, broken = [], []
    for number, planned in enumerate(wanted, 1):
        model = planned.plan.about["model"]
        log.say(f"model {number} of {len(wanted)}: {model}", style="bold")
        try:
            found.append(_evaluate(planned, log))
        except (ConfigurationError, JobError) as error:
            log.say(f"error: {model}: {error}", style="red", level="error")
            broken.append({"model": model, "why": str(error)})
    if what.settings.dry_run:
        return 1 if broken else 0
    if len(found) < 2:
        raise JobError(f"nothing to compare: {len(broken)} of {len(wanted)} models could not be evaluated")
    report = compare.compare(found, what.settings, broken)
    text.show(report, log)
    log.say(f"comparison   {what.settings.output.rstrip('/')}/{compare.FOLDER}/{report['comparison_id']}/report.html")
    for evaluated, rows in found:
        _check_failures(evaluated, rows, what.settings)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
