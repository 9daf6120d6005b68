"""One run of any task, end to end: what is planned is carried out, written and reported."""

from __future__ import annotations

import time
from contextlib import closing, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pipeline import planning, progress, storage_errors
from pipeline.errors import JobError
from pipeline.flow.background import ticking
from pipeline.flow.cluster import cluster
from pipeline.flow.stream import answers
from pipeline.ledger.done import Status
from pipeline.log import Log
from pipeline.planning import Plan
from pipeline.progress import Progress
from pipeline.redaction import redacted
from pipeline.writer import Writer

TICK_S = 1.0  # how often time limits are looked at while nothing comes

Row = dict[str, Any]


def execute(plan: Plan, log: Log) -> Row:
    """Carry a plan out, write its tables and publish its report, which is returned.

    What is finished is written even when it is interrupted or breaks down.

    Raises:
        ConfigurationError: the engines do not fit the cluster, or the output may not be written.
        JobError: an engine, the cluster or the output broke down under way.
        KeyboardInterrupt: it was interrupted; a note says how much is saved.
    """
    planned, plan = plan.output.run_id, planning.claimed(plan)
    if plan.output.run_id != planned:
        log.say(
            f"another driver has begun the same, run {plan.output.run_id}. Is it still at work? Then both do it now,"
            " each recording counts once, and you may stop one"
        )
    writer = Writer(plan)
    try:
        return _execute(plan, writer, log)
    except KeyboardInterrupt as end:
        saved, left = writer.saved, writer.unsaved
        end.add_note(f"{saved} of {saved + left} recordings are saved below {plan.output.uri}, {left} are left")
        raise


def _execute(plan: Plan, writer: Writer, log: Log) -> Row:
    output, tally, clock, first_rows_s = plan.output, plan.tally, time.monotonic(), None
    resumed, engines = tally.recordings, plan.settings.engine.count or 1
    served: Row = {}  # what the flow says of the engines
    of_output = partial(storage_errors.errors_as, JobError, f"--output {output.uri}")
    output.start(plan.about)
    output.keep_trying(log)
    if plan.count:
        at = Progress(plan, lambda: writer.left)
        deadline = clock + 3600 * (plan.settings.max_hours or float("inf"))
        with (
            at.shown(log),
            cluster(plan.settings, plan.checkpoint, log.say) as decided,
            of_output(),
        ):
            at.engines = engines = decided.engine.count or 1
            at.phase = progress.STARTING_ENGINES
            try:
                found = answers(
                    plan.task, plan.listing.recordings, decided, plan.checkpoint, facts=served, tell=at.hear
                )
                with closing(ticking(found, TICK_S)) as tables:
                    for table in tables:
                        if table is not None:
                            first_rows_s = first_rows_s or time.monotonic() - clock
                            writer.add(table)
                        writer.flush_if_due()
                        at.note(0 if table is None else len(table))
                        if time.monotonic() > deadline:
                            at.phase = progress.WRITING
                            writer.flush()
                            break
                    else:
                        at.phase = progress.WRITING
                        writer.finish()
            except BaseException as error:
                at.phase = progress.WRITING
                if isinstance(error, KeyboardInterrupt):
                    log.say("interrupted: what is finished is being written; a second Ctrl-C ends at once", "yellow")
                with suppress(JobError, *storage_errors.STORAGE_ERRORS):  # the first trouble is the one to tell
                    writer.flush()
                raise
            finally:
                at.phase = progress.STOPPING
    with of_output():
        writer.catch_up()  # with what another driver has committed in the last moment
    facts = plan.about | {
        "finished_at": max(datetime.now(UTC).isoformat(), plan.about["started_at"]),  # runs are ordered by it
        "already_done": plan.why[Status.DONE],
        "resumed": resumed,
        "not_reached": writer.unsaved,
        "engines": engines,
        **redacted(served),
        "recordings_by_status": plan.why,
        "skipped_files": dict(plan.listing.skipped),
        "unlisted_files": plan.listing.unlisted,
        "repeated_rows": plan.listing.repeated,
        **({"without_texts": plan.listing.without_texts} if plan.settings.keep_texts else {}),
        "first_rows_s": round(first_rows_s or 0.0, 3),
        "numbers": tally.facts(time.monotonic() - clock),
        "tables": list(output.files),
        **output.files,
    }
    with of_output():
        return output.publish(facts)
