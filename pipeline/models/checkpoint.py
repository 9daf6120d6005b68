"""What a checkpoint says of itself, read without loading it: family, window length, context, revision."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from pipeline.errors import ConfigurationError
from pipeline.settings import Engine, Settings

DESCRIPTIONS = {"params.json", "tekken.json", "config.json", "preprocessor_config.json"}
# Files with a family's weights: those of the first pattern that fits any, as a repository may hold them in many forms.
WEIGHTS = {
    "voxtral": ("consolidated*.safetensors", "model*.safetensors"),
    "whisper": ("model.safetensors", "model-*-of-*.safetensors", "pytorch_model*.bin"),
}
NO_SCRIPT = "none"  # in place of a scripted engine's file
_DIGEST_BYTES = 1 << 20  # of each large file: its first and last so many


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a run needs to know of a model before it starts an engine.

    `model` is a hub name or an absolute path, `revision` the commit of a hub model or a digest of a folder's files,
    `chunk_s` the length to whose multiples the model pads every window, `max_context` its tokens where they are few.
    `weights_bytes` is the size of the files that vLLM loads, None where it is not known.
    """

    model: str
    family: str
    revision: str
    chunk_s: float
    max_context: int | None = None
    weights_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Bounds:
    """What windows a family takes: none longer than `longest_window_s`, and by default no pause in them longer than
    `max_pause_s`.

    Released models pad each window to 30 s and compute all of it, so that windows are packed full: with a pause of 1 s
    as their end they cost five times as much (docs/performance.md), and with Whisper no fewer errors (docs/quality.md).
    A checkpoint whose own windows are shorter is one like the demo's, which was taught single utterances.
    """

    longest_window_s: float
    max_pause_s: float


BOUNDS = {
    "voxtral": Bounds(longest_window_s=1_800.0, max_pause_s=30.0),
    "whisper": Bounds(longest_window_s=30.0, max_pause_s=30.0),
    "scripted": Bounds(longest_window_s=1_800.0, max_pause_s=1.0),
}
FULL_CHUNK_S, SHORT_MAX_PAUSE_S = 30.0, 1.0


def fit(settings: Settings, checkpoint: Checkpoint) -> Settings:
    """The settings, with the checkpoint's own segmentation where it was left open.

    Raises:
        ConfigurationError: the windows are longer than the model takes.
    """
    segmentation, bounds = settings.segmentation, BOUNDS[checkpoint.family]
    max_window_s = segmentation.max_window_s or checkpoint.chunk_s
    if max_window_s > bounds.longest_window_s:
        raise ConfigurationError(
            f"--segmentation.max-window-s {max_window_s:g}: {checkpoint.family} takes at most"
            f" {bounds.longest_window_s:g} s"
        )
    max_pause_s = bounds.max_pause_s if checkpoint.chunk_s >= FULL_CHUNK_S else SHORT_MAX_PAUSE_S
    chosen = {"max_window_s": max_window_s, "max_pause_s": segmentation.max_pause_s or max_pause_s}
    return settings.model_copy(update={"segmentation": segmentation.model_copy(update=chosen)})


def inspect(settings: Engine) -> Checkpoint:
    """Look at the checkpoint that `settings.model` names.

    Raises:
        ConfigurationError: there is no such model, or none of the families fits it.
    """
    if settings.family == "scripted":
        if settings.model != NO_SCRIPT and not Path(settings.model).is_file():
            raise ConfigurationError(f"--engine.model {settings.model}: no file with a script, and not {NO_SCRIPT}")
        return Checkpoint("scripted", "scripted", "scripted", 30.0)
    if Path(settings.model).exists() or settings.model.startswith((".", "/", "~")):
        folder = Path(settings.model).expanduser().absolute()
        if not folder.is_dir():
            raise ConfigurationError(
                f"--engine.model {settings.model}: {'a file, not a folder' if folder.exists() else 'no such folder'}"
            )
        model, revision, sizes = str(folder), _digest(folder), _sizes(folder)
    else:
        model = settings.model
        folder, sizes = _download_descriptions(settings)
        revision = folder.name
    family = settings.family if settings.family != "auto" else _family(folder)
    if family == "whisper":
        config, preprocessor = _read_json(folder / "config.json"), _read_json(folder / "preprocessor_config.json")
        chunk_s, max_context = preprocessor.get("chunk_length"), config.get("max_target_positions")
    else:
        audio = _read_json(folder / "tekken.json").get("audio") or {}
        chunk_s, max_context = audio.get("chunk_length_s"), None
    if not chunk_s:
        raise ConfigurationError(f"--engine.model {settings.model}: its files do not say how long its windows are")
    return Checkpoint(model, family, revision, float(chunk_s), max_context, _weights_bytes(sizes, family))


def _weights_bytes(sizes: Mapping[str, int | None], family: str) -> int | None:
    for pattern in WEIGHTS[family]:
        if found := [size for name, size in sizes.items() if fnmatchcase(name, pattern)]:
            return None if None in found else sum(size or 0 for size in found)
    return None


def _sizes(folder: Path) -> dict[str, int | None]:
    return {path.name: path.stat().st_size for path in folder.glob("*") if path.is_file()}


def _family(folder: Path) -> str:
    if (folder / "params.json").is_file():
        if "whisper_model_args" in (_read_json(folder / "params.json").get("multimodal") or {}):
            return "voxtral"
    elif (folder / "config.json").is_file() and _read_json(folder / "config.json").get("model_type") == "whisper":
        return "whisper"
    raise ConfigurationError(
        f"--engine.model {folder}: neither Voxtral (params.json with multimodal.whisper_model_args) nor Whisper"
        " (config.json with model_type whisper)"
    )


def _read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"--engine.model {path.parent}: no {path.name} ({error.strerror})") from error
    except ValueError as error:
        raise ConfigurationError(f"--engine.model {path.parent}: {path.name} is not JSON ({error})") from error


def _digest(folder: Path) -> str:
    """Hash of names, sizes and contents; of large files, the ends."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*")):
        if path.is_file():
            size = path.stat().st_size
            digest.update(f"{path.name}:{size};".encode())
            with path.open("rb") as file:
                digest.update(file.read(_DIGEST_BYTES))
                file.seek(max(0, size - _DIGEST_BYTES))
                digest.update(file.read())
    return digest.hexdigest()[:16]


def _download_descriptions(settings: Engine) -> tuple[Path, dict[str, int | None]]:
    """The folder of the model's descriptions in the hub's cache, named by its commit, and the bytes of all files of the
    model. Offline (HF_HUB_OFFLINE=1) both are what the cache holds for the revision."""
    try:
        if constants.is_offline_mode():
            folder = Path(
                snapshot_download(
                    settings.model,
                    revision=settings.revision,
                    local_files_only=True,
                    allow_patterns=sorted(DESCRIPTIONS),
                )
            )
            sizes = _sizes(folder)
        else:
            info = HfApi().model_info(settings.model, revision=settings.revision, files_metadata=True)
            sizes = {file.rfilename: file.size for file in info.siblings or []}
            names = sorted(DESCRIPTIONS & sizes.keys())
            paths = [Path(hf_hub_download(settings.model, name, revision=info.sha)) for name in names]
            folder = paths[0].parent if paths else Path()
    except Exception as error:  # the hub client lets those of its HTTP library through
        raise ConfigurationError(f"--engine.model {settings.model}: {_hub_trouble(error, settings)}") from error
    if not any((folder / name).is_file() for name in DESCRIPTIONS):
        raise ConfigurationError(f"--engine.model {settings.model}: it has none of {', '.join(sorted(DESCRIPTIONS))}")
    return folder, sizes


def _hub_trouble(error: Exception, settings: Engine) -> str:
    model, revision, hub = settings.model, settings.revision, "the Hugging Face hub"
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
