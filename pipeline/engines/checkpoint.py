"""What a checkpoint says of itself, read without loading it: family, window length, revision."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download

from pipeline.errors import ConfigurationError
from pipeline.settings import Engine

_DIGEST_BYTES = 1 << 20  # of each large file: its first and last so many


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a run needs to know of a model before it starts an engine.

    `model` is a hub name or an absolute path, `revision` the commit of a hub model or a digest of a folder's files,
    `chunk_s` the length to whose multiples the model pads every window.
    """

    model: str
    family: str
    revision: str
    chunk_s: float


def inspect(settings: Engine) -> Checkpoint:
    """Look at the checkpoint that `settings.model` names.

    Raises:
        ConfigurationError: there is no such model, or none of the families fits it.
    """
    if settings.family == "scripted":
        return Checkpoint("scripted", "scripted", "scripted", 30.0)
    if Path(settings.model).exists() or settings.model.startswith((".", "/", "~")):
        folder = Path(settings.model).expanduser().absolute()
        model, revision = str(folder), _digest(folder) if folder.is_dir() else ""
    else:
        model = settings.model
        folder, revision = _download_descriptions(settings)
    params, tekken = _read_json(folder / "params.json"), _read_json(folder / "tekken.json")
    audio = tekken.get("audio") or {}
    chunk_s, multimodal = audio.get("chunk_length_s"), params.get("multimodal") or {}
    if "whisper_model_args" not in multimodal or not chunk_s:
        raise ConfigurationError(
            f"--engine.model {settings.model}: not a Voxtral checkpoint in Mistral's format"
            " (params.json needs multimodal.whisper_model_args, tekken.json needs audio.chunk_length_s)"
        )
    return Checkpoint(model, "voxtral", revision, float(chunk_s))


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


def _download_descriptions(settings: Engine) -> tuple[Path, str]:
    try:
        revision = HfApi().model_info(settings.model, revision=settings.revision).sha or "unknown"
        paths = [hf_hub_download(settings.model, name, revision=revision) for name in ("params.json", "tekken.json")]
    except Exception as error:  # the hub client lets those of its HTTP library through
        reason = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        raise ConfigurationError(
            f"--engine.model {settings.model}: no such folder, and no such model from the Hugging Face hub ({reason})"
        ) from error
    return Path(paths[0]).parent, revision
