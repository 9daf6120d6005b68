from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.models.families import asr, cohere
from pipeline.models.family import Files, Limits


@pytest.mark.parametrize(
    ("config", "limits"),
    [
        ({}, Limits(30.0, 1_024)),
        ({"max_audio_clip_s": 35}, Limits(30.0, 1_024)),
        (
            {"max_audio_clip_s": 20, "transf_decoder": {"config_dict": {"max_sequence_length": 512}}},
            Limits(20.0, 512),
        ),
    ],
)
def test_its_configuration_says_its_limits(
    config: dict[str, Any], limits: Limits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asr, "PACKAGES", {})
    (tmp_path / "config.json").write_text(json.dumps({"architectures": list(cohere.ARCHITECTURES)} | config))
    assert cohere.limits(Files(tmp_path)) == limits


def test_it_is_told_the_language() -> None:
    assert cohere.FAMILY.abilities.needs_language
    assert not asr.FAMILY.abilities.needs_language
