from __future__ import annotations

import pytest

from pipeline.errors import ConfigurationError
from pipeline.models import demand
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.demand import Demand
from pipeline.settings import Engine

SMALL = Checkpoint("m", "voxtral", "r", 30.0, "vllm", 4_096)
LARGE = Checkpoint("m", "voxtral", "r", 30.0, "vllm", 32_768)


@pytest.mark.parametrize(
    ("checkpoint", "limit", "audio_s", "fits"),
    [
        (SMALL, None, 300.0, True),
        (SMALL, None, 600.0, False),  # its own context, though nobody chose it
        (LARGE, None, 600.0, True),
        (LARGE, 4_096, 600.0, False),
        (LARGE, 4_096, 0.0, True),
    ],
)
def test_a_prompt_must_fit_the_context(checkpoint: Checkpoint, limit: int | None, audio_s: float, fits: bool) -> None:
    engine = Engine(model="m", max_model_len=limit)
    if fits:
        demand.check(Demand(audio_s, 100), engine, checkpoint)
        return
    with pytest.raises(ConfigurationError, match=r"--segmentation.max-window-s: 600 s of audio .* has 4096") as caught:
        demand.check(Demand(audio_s, 100), engine, checkpoint)
    assert ("--engine.max-model-len" in str(caught.value)) == (limit is not None)
