"""What every corpus is read into: utterances with references, and a manifest of them that any job takes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Any

import fsspec

from pipeline import store
from pipeline.errors import ConfigurationError

SEED = 0  # of the sample
NAMED = 5  # examples in a message
UNPACKED = "datasets"  # the folder below an output that holds manifests and the clips that were unpacked

Row = dict[str, Any]
Clips = Iterator[tuple[str, bytes]]


@dataclass(frozen=True)
class Utterance:
    """One line of a corpus. `name` is the clip's file name; `uri` is null where the clip lies in an archive."""

    name: str
    reference: str
    sentence: str
    uri: str | None = None


@dataclass(frozen=True)
class Part:
    """One configuration of a corpus, such as en_us, and one split.

    `language` is its ISO 639-1 code, or a longer one where it has none. `problems` says what could not be used;
    `unpack` adds to it. It yields name and content of the clips asked for, in the archive's order.
    """

    config: str
    split: str
    language: str
    utterances: list[Utterance]
    problems: list[str] = field(default_factory=list)
    unpack: Callable[[set[str]], Clips] | None = None

    @property
    def folder(self) -> str:
        return f"{self.config}/{self.split}"


@dataclass(frozen=True)
class Corpus:
    """How to read one kind of corpus: `read(root, config, split, reference column)` -> Part.

    `counts` are the published numbers of utterances by (configuration, split); `published` is what the corpus is
    called in the file of published error rates.
    """

    read: Callable[[str, str, str, str], Part]
    reference: str
    published: str
    counts: Mapping[tuple[str, str], int] = field(default_factory=dict)


@dataclass(frozen=True)
class Sampling:
    """Which utterances of a configuration to take, and whether their language is told to the model."""

    sample: int | None = None
    one_per_sentence: bool = False
    declare_language: bool = False


@dataclass(frozen=True)
class Manifest:
    """A manifest that was written, how many utterances each configuration has in it, and all that was wrong."""

    uri: str
    counts: dict[str, int]
    problems: list[str]


def open_root(root: str) -> tuple[Any, str]:
    """File system and path of a corpus: a local folder, s3:// or the Hugging Face hub (hf://datasets/google/fleurs)."""
    if root.startswith("hf://"):
        return fsspec.filesystem("hf"), root.removeprefix("hf://").rstrip("/")
    scheme, path = store.split(root)
    return store.filesystem(scheme), path.rstrip("/")


def uri_of(root: str, path: str) -> str | None:
    """Where a worker finds a file of the corpus; nothing on the hub, from which jobs do not read."""
    return None if root.startswith("hf://") else store.join(store.split(root)[0], path)


def is_file_name(name: str) -> bool:
    """Whether a name can be a file's and leads nowhere else."""
    return bool(name) and name not in (".", "..") and "/" not in name and "\\" not in name and name.isprintable()


def examples(names: Sequence[str]) -> str:
    """Some of the names, for a message."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(sorted(names)[:NAMED]) + more


def write_manifest(dataset: str, parts: Sequence[Part], output: str, sampling: Sampling) -> Manifest:
    """Write the manifest of some parts below `output`, and beside it the clips that lie in archives.

    Clips that are there from an earlier run are kept. An utterance whose clip is nowhere stays in the manifest: the job
    reports it as not_found.

    Raises:
        ConfigurationError: no utterances, or clips that workers would not reach.
    """
    folder = f"{output.rstrip('/')}/{UNPACKED}/{dataset}"
    rows: list[Row] = []
    counts: dict[str, int] = {}
    for part in parts:
        chosen = _chosen(part.utterances, sampling)
        counts[part.config] = len(chosen)
        if any(utterance.uri for utterance in chosen) and store.split(output)[0] != store.split(chosen[0].uri or "")[0]:
            raise ConfigurationError(f"--input {part.config}: its clips and --output must both be local or both on s3")
        if part.unpack:
            _unpack(part, f"{folder}/{part.folder}", {one.name for one in chosen if not one.uri})
        for utterance in chosen:
            name = f"{part.folder}/{utterance.name}"
            row = {"uri": utterance.uri} if utterance.uri else {"path": name}
            row |= {"utterance_id": f"{dataset}/{name}", "config": part.config, "sentence": utterance.sentence}
            row |= {"reference": utterance.reference, "reference_language": part.language}
            rows.append(row | ({"language": part.language} if sampling.declare_language else {}))
    problems = [problem for part in parts for problem in part.problems]
    if not rows:
        raise ConfigurationError(f"--dataset {dataset}: no utterances ({'; '.join(problems) or 'empty'})")
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    uri = f"{folder}/{sha256(data).hexdigest()[:16]}.jsonl"
    store.replace(uri, data)
    return Manifest(uri, counts, problems)


def _chosen(utterances: Sequence[Utterance], sampling: Sampling) -> list[Utterance]:
    """The first recording of each sentence, if so wanted; of these a sample that is always the same."""
    if sampling.one_per_sentence:
        utterances = list({one.sentence: one for one in reversed(utterances)}.values())[::-1]
    if sampling.sample is None or sampling.sample >= len(utterances):
        return list(utterances)
    ordered = sorted(utterances, key=lambda one: one.name)
    drawn = random.Random(SEED).sample(ordered, sampling.sample)
    return sorted(drawn, key=lambda one: one.name)


def _unpack(part: Part, folder: str, names: set[str]) -> None:
    scheme, path = store.split(folder)
    files = store.filesystem(scheme)
    there = {PurePosixPath(name).name for name in files.ls(path, detail=False)} if files.exists(path) else set()
    missing = names - there
    if missing and part.unpack:
        for name, data in part.unpack(missing):
            store.replace(f"{folder}/{name}", data)
            missing.discard(name)
    if missing:
        part.problems.append(f"{part.folder}: no audio for {len(missing)} utterances: {examples(list(missing))}")
