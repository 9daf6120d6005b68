"""Several models on the same recordings, once each is evaluated: tables, and a page that has them side by side.

comparisons/<id>/comparison.parquet   scoring.comparison.tables.COMPARED
comparisons/<id>/report.html          for people
comparisons/<id>/comparison.json      for machines; written last: it publishes the comparison
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from pipeline import __version__, storage_errors, store
from pipeline.errors import ConfigurationError, JobError
from pipeline.evaluation.settings import Evaluation
from pipeline.ledger import parts
from pipeline.planning import Plan
from pipeline.scoring.comparison import page, tables
from pipeline.scoring.comparison.tables import Evaluated

FOLDER = "comparisons"
Row = dict[str, Any]


def refuse_equals(plans: Sequence[Plan]) -> None:
    """Raise ConfigurationError where two models have the same weights: there is nothing to compare."""
    models: dict[str, str] = {}
    for plan in plans:
        model, fingerprint = plan.about["model"], plan.about["fingerprint"]
        if fingerprint in models:
            raise ConfigurationError(f"--models: {models[fingerprint]} and {model} are the same model")
        models[fingerprint] = model


def compare(found: Sequence[tuple[Row, list[Row]]], settings: Evaluation, not_evaluated: Sequence[Row] = ()) -> Row:
    """Compare evaluations of transcripts (each its report and UTTERANCE rows), the first with each of the others; write
    the comparison, and return its report. `not_evaluated`: the other models that were wanted, and why they are missing.

    Raises:
        JobError: the output cannot be written.
    """
    now, price = datetime.now(UTC), settings.price_per_engine_hour
    reports = [report for report, _ in found]
    models = tables.with_agreed_languages(
        [Evaluated(report["model"], rows) for report, rows in found], settings.cer_languages
    )
    lines, notes = tables.lines(models)
    facts = ("model", "model_revision", "fingerprint", "evaluation_id", "evaluated_at", "engine_speed", "runs")
    report: Row = {
        "comparison_id": now.strftime("%Y%m%dT%H%M%S.%fZ"),
        "compared_at": now.isoformat(timespec="seconds"),
        "pipeline_version": __version__,
        "corpus": reports[0]["corpus"],
        "price_per_engine_hour": price,
        "models": [
            {name: report[name] for name in facts}
            | {"price_per_audio_hour": _price(price, report["engine_speed"]), "flags": tables.flags(one)}
            for report, one in zip(reports, models, strict=True)
        ],
        "lines": lines,
        "notes": notes,
        "problems": _problems(reports),
        "not_evaluated": list(not_evaluated),
        "disagreements": tables.disagreements(models),
    }
    files = {
        "comparison.parquet": parts.parquet(_table(report)),
        "report.html": page.render(report).encode(),
        "comparison.json": parts.to_json(report),
    }
    with storage_errors.errors_as(JobError, f"--output {settings.output}"):
        for name, data in files.items():
            store.replace(f"{settings.output.rstrip('/')}/{FOLDER}/{report['comparison_id']}/{name}", data)
    return report


def _price(per_engine_hour: float | None, engine_speed: float | None) -> float | None:
    return per_engine_hour / engine_speed if per_engine_hour is not None and engine_speed else None


def _problems(reports: Sequence[Row]) -> list[str]:
    """What the reports have attention drawn to, each once; with the model, unless it is so for all."""
    everywhere = [problem for problem in reports[0]["problems"] if all(problem in each["problems"] for each in reports)]
    own = [(each["model"], problem) for each in reports for problem in each["problems"] if problem not in everywhere]
    return [*everywhere, *(f"{model}: {problem}" for model, problem in own)]


def _table(report: Row) -> pa.Table:
    shared = {"dataset": report["corpus"]["dataset"]}
    shared |= {name: report[name] for name in ("comparison_id", "pipeline_version")}
    models = {one["model"]: one for one in report["models"]}
    rows = [shared | models[line["model"]] | line for line in report["lines"]]
    return pa.Table.from_pylist([{name: row[name] for name in tables.COMPARED.names} for row in rows], tables.COMPARED)
