"""What a checkpoint says of itself, read without loading it: family, window length, context, revision."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from pipeline import registry
from pipeline.errors import ConfigurationError
from pipeline.models.family import Files, Limits
from pipeline.models.family import family as load_family
from pipeline.models.runtime import runtime as load_runtime
from pipeline.settings import Engine, Settings

# Released models pad each window to 30 s and compute all of it, so that their windows are packed full: with a pause of
# 1 s as their end they cost five times as much (docs/performance.md), and with Whisper no fewer errors
# (docs/quality.md). A checkpoint whose own windows are shorter is one like the demo's, trained on single utterances.
FULL_CHUNK_S, SHORT_MAX_PAUSE_S = 30.0, 1.0
_DIGEST_BYTES = 1 << 20  # of each large file: its first and last so many


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a run needs to know of a model before it starts an engine.

    `runtime` is the name of what runs it. `model` is a hub name or an absolute path, `revision` the commit of a hub
    model or a digest of a folder's files, `chunk_s` the length to whose multiples the model pads every window,
    `max_context` its tokens where they are few. `weights_bytes` is the size of the files that are loaded, None where it
    is not known. Of a model that runs elsewhere `model` is its name there, `revision` what is told of it, and
    `runtime_version` that of what runs it, None where that is not told.
    """

    model: str
    family: str
    revision: str
    chunk_s: float
    runtime: str
    max_context: int | None = None
    weights_bytes: int | None = None
    runtime_version: str | None = None


def fit(settings: Settings, checkpoint: Checkpoint) -> Settings:
    """The settings, with the checkpoint's own segmentation where it was left open.

    Raises:
        ConfigurationError: the windows are longer than the model takes.
    """
    segmentation, family = settings.segmentation, load_family(checkpoint.family)
    max_window_s, longest_s = segmentation.max_window_s or checkpoint.chunk_s, family.abilities.longest_window_s
    if max_window_s > longest_s:
        raise ConfigurationError(
            f"--segmentation.max-window-s {max_window_s:g}: {checkpoint.family} takes at most {longest_s:g} s"
        )
    max_pause_s = family.max_pause_s if checkpoint.chunk_s >= FULL_CHUNK_S else SHORT_MAX_PAUSE_S
    chosen = {"max_window_s": max_window_s, "max_pause_s": segmentation.max_pause_s or max_pause_s}
    return settings.model_copy(update={"segmentation": segmentation.model_copy(update=chosen)})


def inspect(settings: Engine) -> Checkpoint:
    """Look at the checkpoint that `settings.model` names, or at the model that runs on `settings.server`.

    Raises:
        ConfigurationError: there is no such model, it is of no registered family, or its server does not answer.
    """
    name = "server" if settings.server else settings.family
    if name != "auto" and not load_family(name).files:  # it has no checkpoints
        chosen = _runtime(settings, name, Files(Path()))
        if look := load_runtime(chosen).look:
            return look(settings)
        limits = load_family(name).limits(Files(Path(settings.model)))
        return Checkpoint(name, name, name, _chunk_s(settings, limits), chosen)
    if folder := _folder("--engine.model", settings.model):
        model, revision, sizes = str(folder), _digest("--engine.model", folder), _sizes(folder)
    else:
        model = settings.model
        folder, sizes = _download_descriptions(settings)
        revision = folder.name
    files = Files(folder)
    name = name if name != "auto" else _matching(files, folder)
    family = load_family(name)
    limits = family.limits(files)
    chunk_s, chosen = _chunk_s(settings, limits), _runtime(settings, name, files)
    weights_bytes = _weights_bytes(sizes, family.weights)
    return Checkpoint(model, name, revision, chunk_s, chosen, limits.max_context, weights_bytes)


def identify(flag: str, model: str, revision: str | None) -> tuple[str, str, dict[str, Any]]:
    """Of the model that a flag names: its absolute path and a digest of its files, or its name on the hub and its
    commit; and its config.json.

    Raises:
        ConfigurationError: there is no such model, or it has no config.json.
    """
    if folder := _folder(flag, model):
        name, commit, path = str(folder), _digest(flag, folder), folder / "config.json"
    else:
        try:
            path = Path(hf_hub_download(model, "config.json", revision=revision))
        except Exception as error:  # as below
            raise ConfigurationError(f"{flag} {model}: {_hub_trouble(error, model, revision)}") from error
        name, commit = model, path.parent.name
    try:
        return name, commit, json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{flag} {model}: its config.json cannot be read ({error})") from error


def _folder(flag: str, model: str) -> Path | None:
    """The folder that a model's name means; None where it means one on the hub."""
    try:
        if not Path(model).exists() and not model.startswith((".", "/", "~")):
            return None
        folder = Path(model).expanduser().absolute()
    except (OSError, RuntimeError) as error:  # a name that is too long, a user that there is not
        raise ConfigurationError(f"{flag} {model:.80}: {getattr(error, 'strerror', None) or error}") from error
    if not folder.is_dir():
        raise ConfigurationError(f"{flag} {model}: {'a file, not a folder' if folder.exists() else 'no such folder'}")
    return folder


def _runtime(settings: Engine, family: str, files: Files) -> str:
    """The name of what runs a checkpoint of a family."""
    runtimes = load_family(family).runtimes
    wanted = settings.runtime
    if wanted != "auto" and settings.server:
        raise ConfigurationError(f"--engine.runtime {wanted}: a server runs the model; leave it out")
    if wanted != "auto" and wanted not in runtimes:
        raise ConfigurationError(f"--engine.runtime {wanted}: {family} models run in {' or '.join(runtimes)}")
    there = [name for name, needed in runtimes.items() if not needed or needed in files]
    if wanted == "auto" and there:
        return there[0]
    name = next(iter(runtimes)) if wanted == "auto" else wanted
    if name not in there:
        others = f"; --engine.runtime {there[0]} runs it" if there else ""
        raise ConfigurationError(
            f"--engine.model {settings.model}: {name} needs {runtimes[name]}, which it lacks{others}"
        )
    return name


def _chunk_s(settings: Engine, limits: Limits) -> float:
    if not limits.chunk_s:
        raise ConfigurationError(f"--engine.model {settings.model}: its files do not say how long its windows are")
    return float(limits.chunk_s)


def _matching(files: Files, folder: Path) -> str:
    """The name of the first family that the files match."""
    known = {name: load_family(name) for name in registry.FAMILIES}
    if found := next((name for name, family in known.items() if family.matches(files)), None):
        return found
    families = ", ".join(f"{name} ({family.description})" for name, family in known.items() if family.files)
    raise ConfigurationError(f"--engine.model {folder}: a checkpoint of no known family: {families}")


def _weights_bytes(sizes: Mapping[str, int | None], patterns: Sequence[str]) -> int | None:
    for pattern in patterns:
        if found := [size for name, size in sizes.items() if fnmatchcase(name, pattern)]:
            return None if None in found else sum(size or 0 for size in found)
    return None


def _sizes(folder: Path) -> dict[str, int | None]:
    return {path.name: path.stat().st_size for path in folder.glob("*") if path.is_file()}


def _digest(flag: str, folder: Path) -> str:
    """Hash of names, sizes and contents; of large files, the ends."""
    digest = hashlib.sha256()
    try:
        for path in sorted(folder.glob("*")):
            if path.is_file():
                size = path.stat().st_size
                digest.update(f"{path.name}:{size};".encode("utf-8", "surrogateescape"))
                with path.open("rb") as file:
                    digest.update(file.read(_DIGEST_BYTES))
                    file.seek(max(0, size - _DIGEST_BYTES))
                    digest.update(file.read())
    except OSError as error:
        raise ConfigurationError(f"{flag} {folder}: {error}") from error
    return digest.hexdigest()[:16]


def _download_descriptions(settings: Engine) -> tuple[Path, dict[str, int | None]]:
    """The folder of the model's descriptions in the hub's cache, named by its commit, and the bytes of all files of the
    model. Offline (HF_HUB_OFFLINE=1) both are what the cache holds for the revision."""
    descriptions = {file for name in registry.FAMILIES for file in load_family(name).files}
    try:
        if constants.is_offline_mode():
            folder = Path(
                snapshot_download(
                    settings.model,
                    revision=settings.revision,
                    local_files_only=True,
                    allow_patterns=sorted(descriptions),
                )
            )
            sizes = _sizes(folder)
        else:
            info = HfApi().model_info(settings.model, revision=settings.revision, files_metadata=True)
            sizes = {file.rfilename: file.size for file in info.siblings or []}
            names = sorted(descriptions & sizes.keys())
            # By the name that was given: the cache keeps it, for those who are offline later.
            paths = [Path(hf_hub_download(settings.model, name, revision=settings.revision)) for name in names]
            folder = paths[0].parent if paths else Path()
    except Exception as error:  # the hub client lets those of its HTTP library through
        raise ConfigurationError(
            f"--engine.model {settings.model}: {_hub_trouble(error, settings.model, settings.revision)}"
        ) from error
    if not any((folder / name).is_file() for name in descriptions):
        raise ConfigurationError(f"--engine.model {settings.model}: it has none of {', '.join(sorted(descriptions))}")
    return folder, sizes


def _hub_trouble(error: Exception, model: str, revision: str | None) -> str:
    hub = "the Hugging Face hub"
    reason = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    match error:
        case LocalEntryNotFoundError() if constants.is_offline_mode():
            command = f"hf download {model}" + (f" --revision {revision}" if revision else "")
            said = f"not in the cache {constants.HF_HUB_CACHE} (HF_HOME sets it), and HF_HUB_OFFLINE is set: {command}"
        case HFValidationError():
            said = f"neither a folder nor a name on {hub}, such as mistralai/Voxtral-Mini-3B-2507"
        case GatedRepoError():
            said = f"{hub} gives it to approved accounts only: ask at {constants.ENDPOINT}/{model} and set HF_TOKEN"
        case RevisionNotFoundError():
            said = f"{hub} has no revision {revision} of it"
        case HfHubHTTPError() if isinstance(error, RepositoryNotFoundError) or error.response.status_code == 401:
            said = f"no such folder, and no such model on {hub}, or none that HF_TOKEN gives access to"
        case HfHubHTTPError():
            said = f"{hub} refused the request ({reason})"
        case _:
            said = (
                f"no such folder, and {hub} cannot be reached ({reason}); with HF_HUB_OFFLINE=1 the copy that was"
                " downloaded before is used"
            )
    return said
