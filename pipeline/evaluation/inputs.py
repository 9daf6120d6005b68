"""What is evaluated: recordings with references as a manifest, and an earlier evaluation to compare with."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage_errors, store
from pipeline.errors import ConfigurationError
from pipeline.evaluation.settings import OF_A_CORPUS, Evaluation, check_models, check_task
from pipeline.ledger import access
from pipeline.planning import Plan
from pipeline.sources.columns import RENAMED
from pipeline.sources.datasets import CORPORA, Sampling, write_manifest

FOLDER = "evaluations"
Row = dict[str, Any]


@dataclass(frozen=True)
class Input:
    """What is evaluated: the settings with --input naming a manifest, and what a report says of the corpus."""

    settings: Evaluation
    reference: str  # column
    facts: Row
    problems: list[str]

    def text(self, value: Any) -> str:
        """The reference that a row has in the column, as a text.

        Raises:
            ValueError: it has none.
        """
        found = _text(value)
        if not found.strip():
            raise ValueError(f"no {self.reference}")
        return found


def prepare(wanted: Evaluation) -> Input:
    """What to evaluate: a manifest is taken as it is, a corpus is written as one, below --output.

    Raises:
        ConfigurationError: there is nothing to evaluate, or settings contradict each other.
    """
    facts: Row = {"dataset": wanted.dataset, "input": wanted.input, "split": None, "published": None, "counts": {}}
    check_task(wanted)
    check_models(wanted)
    if wanted.baseline:
        read_baseline(wanted)
    if wanted.dataset == "manifest":
        given = [name for name in OF_A_CORPUS if getattr(wanted, name)]
        if given:
            raise ConfigurationError(f"--{given[0].replace('_', '-')} is for a corpus: name it with --dataset")
        return Input(wanted, wanted.reference or "reference", facts, [])
    corpus = CORPORA[wanted.dataset]
    if not wanted.configs:
        raise ConfigurationError(f"--configs is missing: which parts of {wanted.dataset}? (see --help)")
    with storage_errors.errors_as(ConfigurationError, f"--input {wanted.input}"):
        access.check(wanted.output)
        reference = wanted.reference or corpus.reference
        corpora = [
            corpus.read(wanted.input, config, wanted.split, reference) for config in dict.fromkeys(wanted.configs)
        ]
        languages = {part.language for part in corpora}
        lacking = sorted(languages - set(wanted.language.expected))
        if lacking and not wanted.declare_language:
            raise ConfigurationError(
                f"--language.expected has no {', '.join(lacking)}, which --configs {','.join(wanted.configs)} has:"
                " name it there, or --declare-language"
            )
    sampling = Sampling(wanted.sample, wanted.one_per_sentence, wanted.declare_language)
    with storage_errors.errors_as(ConfigurationError, f"--input {wanted.input}, --output {wanted.output}"):
        manifest = write_manifest(wanted.dataset, corpora, wanted.output, sampling)
    known = {part.config: corpus.counts.get((part.config, wanted.split)) for part in corpora}
    facts |= {
        "split": wanted.split,
        "published": corpus.published if wanted.split == "test" else None,
        "sample": wanted.sample,
        "one_per_sentence": wanted.one_per_sentence,
        "manifest": manifest.uri,
        "counts": {
            part.config: {
                "utterances": len(part.utterances),
                "known": known[part.config],
                "sentences": len({one.sentence for one in part.utterances}),
                "evaluated": manifest.counts[part.config],
            }
            for part in corpora
        },
    }
    problems = [
        f"{part.config}: {len(part.utterances)} utterances, but the published {wanted.split} split has {count}"
        for part in corpora
        if (count := known[part.config]) not in (None, len(part.utterances))
    ]
    settings = wanted.model_copy(update={"input": manifest.uri})
    return Input(settings, "reference", facts, problems + manifest.problems)


def of_models(what: Input) -> list[Input]:
    """What --models evaluates: for each model the same, with that as --engine.model."""
    settings = what.settings
    return [
        replace(
            what,
            settings=settings.model_copy(update={"engine": settings.engine.model_copy(update={"model": model})}),
        )
        for model in settings.models
    ]


def with_references(plan: Plan, what: Input) -> Input:
    """What is evaluated, with the column of the references as the plan's tables call it: a manifest's column whose name
    a table has is renamed.

    Raises:
        ConfigurationError: the manifest has no such column.
    """
    columns = plan.listing.extra.column_names
    for name in (what.reference, f"{RENAMED}{what.reference}"):
        if name in columns:
            return replace(what, reference=name)
    raise ConfigurationError(
        f"--input {what.settings.input}: no column {what.reference} with references; it has"
        f" {', '.join(columns) or 'none of its own'} (--reference names another)"
    )


def read_baseline(wanted: Evaluation) -> tuple[str, list[Row]]:
    """Id and rows of the earlier evaluation that --baseline names, by id below --output, or by the place of its folder:
    those of answers with --task, else UTTERANCE rows.

    Raises:
        ConfigurationError: it is not there.
    """
    baseline, table = str(wanted.baseline), "answers" if wanted.task else "utterances"
    folder = baseline.rstrip("/") if "/" in baseline else f"{wanted.output.rstrip('/')}/{FOLDER}/{baseline}"
    try:
        report = json.loads(store.read(f"{folder}/report.json"))
        rows = pq.read_table(pa.BufferReader(store.read(f"{folder}/{table}.parquet"))).to_pylist()
        return report["evaluation_id"], rows
    except storage_errors.READ_ERRORS as error:
        why = storage_errors.explain(error)
        raise ConfigurationError(f"--baseline {baseline}: {folder} is no evaluation of {table} ({why})") from error


def _text(value: Any) -> str:
    """A value of a manifest (see sources.columns.plain) as people write it."""
    if value is None:
        return ""
    if isinstance(value, bool | int | float | list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
