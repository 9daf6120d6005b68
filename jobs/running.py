"""What jobs that run a task over recordings share: plan, say what there is to do, do it, say what came of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pyarrow.compute as pc

from jobs import shell
from pipeline import command_line, models, planning, progress, run
from pipeline.errors import JobError
from pipeline.estimate import Estimate
from pipeline.ledger import report
from pipeline.ledger.done import Status
from pipeline.log import Log, duration
from pipeline.settings import Settings
from pipeline.sources.listing import Listing


def start(arguments: list[str] | None, kind: type[Settings]) -> int:
    """Run the job that settings of this kind describe, one run of their task; returns the exit status."""

    def job(log: Log) -> int:
        wanted = command_line.load(sys.argv[1:] if arguments is None else arguments, kind)
        log.as_json = wanted.log_format == "json"
        with progress.planning(log) as tell:
            plan = planning.plan(wanted, tell=tell)
        facts = carry_out(plan, log)
        if facts:
            check_failures(facts["numbers"]["failed"], facts["numbers"]["recordings"], wanted)
        return 0

    return shell.run(job)


def check_failures(failed: int, recordings: int, wanted: Settings) -> None:
    """Raise JobError where more of so many recordings failed than may."""
    share = failed / max(1, recordings)
    if share >= wanted.max_failed_share:
        limit = f"--max-failed-share {wanted.max_failed_share:g}"
        raise JobError(f"{share:.0%} of the recordings failed, {limit} is reached")


def carry_out(plan: planning.Plan, log: Log) -> dict[str, Any] | None:
    """Say what a plan is, do it, and say what came of it. The report; None for a dry run, or with nothing to do."""
    print_plan(plan, log)
    if plan.settings.dry_run and plan.count:
        say_estimate(*plan.estimate(), log)
    if plan.settings.dry_run or plan.is_settled:
        return None
    facts = run.execute(plan, log)
    report.print_summary(facts, plan.task.summary(facts["numbers"]), log)
    return facts


def say_estimate(seconds: float, found: Estimate | None, log: Log) -> None:
    """Say how much audio there is to do and, where the speed is known, what that takes."""
    log.say(f"about {duration(seconds)} of audio to do", audio_s=round(seconds))
    if not found:
        log.say("no run of this model yet: --engine-speed says how fast an engine is, --limit tries a few")
        return
    source = f"run {found.speed.report['run_id']}" if found.speed.report else "--engine-speed"
    price = "" if found.price is None else f", price {found.price:,.2f}"
    wall = duration(3600 * found.wall_hours)
    log.say(
        f"about {found.engine_hours:,.2f} engine hours, {wall} with {found.engines} engine(s){price}"
        f" (an engine does {found.speed.value:.1f} x real time once it is ready, after"
        f" {duration(found.speed.start_s)}: {source})",
        engine_hours=round(found.engine_hours, 3),
        wall_hours=round(found.wall_hours, 3),
        price=found.price,
    )
    for words in found.speed.spent:
        log.say(f"in that run {words}")


def print_plan(plan: planning.Plan, log: Log) -> None:
    """Say what there is, what is done already, and what would run."""
    todo, listing, why = plan.count, plan.listing, plan.why.copy()
    size = pc.sum(listing.recordings["size_bytes"]).as_py() or 0
    lines = [
        f"{plan.why.total()} recordings in {plan.settings.input}: {why.pop(Status.DONE, 0)} done already,"
        f" {todo} to do ({size / 1e6:,.1f} MB)"
    ]
    if unreachable := why.pop(Status.UNREACHABLE, 0):
        lines.append(f"{unreachable} cannot be reached now; what there is of them stays")
    if set(why) - {Status.NEW}:
        lines.append("not done: " + ", ".join(f"{count} {name}" for name, count in why.most_common()))
    if plan.settings.keep_texts:
        lines.append(
            f"{todo} of them keep their text, and no engine starts; {listing.without_texts} have no text of this model"
            " and these settings in --output: a run without --keep-texts does them"
        )
        if listing.without_texts and not todo and not plan.why[Status.DONE]:
            lines.append("texts that were made on GPUs are found with --engine.device gpu; no GPU is used")
    if plan.resumed:
        lines.append(
            f"run {plan.output.run_id} is not finished and is resumed; it has done {plan.tally.recordings} of them."
            " Is it still at work? Then both do the same, each recording counts once, and you may stop one"
        )
    lines += _left_out(listing)
    if not plan.is_settled:
        lines.append(f"run {plan.output.run_id}: {plan.settings.engine.model} -> {plan.output.uri}")
    else:
        lines.append("nothing to do")
    if plan.settings.dry_run and (untold := models.untold(plan.checkpoint)):
        lines.append(untold)
    if plan.settings.dry_run:
        lines.append(f"{plan.output.uri} may be written: that was tried with a small object")
    for line in lines:
        log.say(line)


def _left_out(listing: Listing) -> Iterator[str]:
    """What --input has and is not done, or not twice."""
    if listing.skipped:
        kinds = ", ".join(f"{count} {extension}" for extension, count in listing.skipped.most_common())
        yield f"not recordings, left out: {kinds}"
    if listing.unlisted:
        yield f"left out, since they cannot be listed: {', '.join(listing.unlisted)}"
    if listing.aliases:
        yield f"{listing.aliases} rows name a file and time range of an earlier row, under another recording_id"
    if listing.repeated:
        yield f"{listing.repeated} rows of the manifest repeat earlier ones, left out"
