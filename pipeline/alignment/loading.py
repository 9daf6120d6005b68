"""Which aligner runs a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from pipeline.alignment.protocol import Aligner
from pipeline.errors import ConfigurationError

Kind = Literal["ctc", "whisper", "qwen"]
LONGEST_S: Mapping[Kind, float] = MappingProxyType(
    {"ctc": math.inf, "whisper": 30.0, "qwen": 300.0}
)  # audio that it takes


def kind(config: Mapping[str, Any]) -> Kind | None:
    """Of a checkpoint with this config.json, by its architectures; None where no aligner runs it."""
    architectures = config.get("architectures") or ()
    if any(name.endswith("ForCTC") for name in architectures):
        return "ctc"
    named: Mapping[str, Kind] = {"WhisperForConditionalGeneration": "whisper", "Qwen3ASRForTokenClassification": "qwen"}
    return next((named[name] for name in architectures if name in named), None)


def load(config: Mapping[str, Any], model: str, device: str = "cpu", revision: str | None = None) -> Aligner:
    """Load a model with this config.json, a folder or a name on the hub, onto a PyTorch device: cpu, cuda, mps.

    Raises:
        ConfigurationError: it cannot align.
    """
    match kind(config):
        case "ctc":
            from pipeline.alignment.ctc import CtcAligner

            return CtcAligner(model, device, revision)
        case "whisper":
            from pipeline.alignment.whisper import WhisperAligner

            return WhisperAligner(model, device, revision)
        case "qwen":
            from pipeline.alignment.qwen import QwenAligner

            return QwenAligner(model, device, revision)
        case None:
            raise ConfigurationError(f"{model}: no aligner runs it, by the architectures in its config")
