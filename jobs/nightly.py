"""Do what a bucket needs, within a budget: `python -m jobs.nightly --input ... --output ... --engine.model ...`.

Exit status: as of jobs.transcribe; 2 also where another night is at work.
"""

from __future__ import annotations

import sys

from jobs import running, shell
from pipeline import command_line, nightly, planning, progress, run
from pipeline.ledger import report
from pipeline.ledger.lease import lease
from pipeline.log import Log, duration


def main(arguments: list[str] | None = None) -> int:
    """Run the job; returns the exit status."""

    def job(log: Log) -> int:
        wanted = command_line.load(sys.argv[1:] if arguments is None else arguments, nightly.Nightly)
        log.as_json = wanted.log_format == "json"
        if wanted.dry_run:
            _plan(wanted, log)
            return 0
        with lease(wanted.output):
            night = _plan(wanted, log)
            if not night.plan.is_settled:
                facts = run.execute(night.plan, log)
                report.print_summary(facts, night.plan.task.summary(facts["numbers"]), log)
                running.check_failures(facts["numbers"]["failed"], facts["numbers"]["recordings"], wanted)
        return 0

    return shell.run(job)


def _plan(wanted: nightly.Nightly, log: Log) -> nightly.Night:
    with progress.planning(log) as tell:
        plan = planning.plan(wanted, tell=tell)
    running.print_plan(plan, log)
    night = nightly.choose(plan, wanted.max_engine_hours)
    running.say_estimate(night.audio_s, night.estimate, log)
    if night.waiting:
        log.say(
            f"{night.waiting} recordings ({duration(night.waiting_audio_s)} of audio) wait for the next night:"
            f" --max-engine-hours {wanted.max_engine_hours:g}",
            waiting=night.waiting,
        )
    return night


if __name__ == "__main__":
    sys.exit(main())
