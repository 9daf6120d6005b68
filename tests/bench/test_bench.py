"""The arithmetic that docs/performance.md rests on; what is measured there is not timed here."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from safetensors import safe_open

from bench import scale
from bench.planning import bucket
from bench.roofline import GPUS, SHAPES, Work, cost
from bench.trials import Trial, checkpoint, measure, noise, small_shapes
from tests.conftest import DEMO


def test_parameters_are_those_of_the_checkpoint() -> None:
    shapes = json.loads((DEMO / "model/params.json").read_text())
    with safe_open(DEMO / "model/consolidated.safetensors", "np") as weights:
        tensors = {name: weights.get_slice(name).get_shape() for name in weights.keys()}  # noqa: SIM118
    vectors = sum(shape[0] for shape in tensors.values() if len(shape) == 1)  # norms and biases are not counted
    count = sum(int(math.prod(shape)) for shape in tensors.values())
    assert cost(shapes, Work(window_s=6.0)).parameters == count - vectors


@pytest.mark.parametrize(("name", "billions"), [("Voxtral-Small-24B-2507", 24.3), ("Voxtral-Mini-3B-2507", 4.7)])
def test_parameters_are_those_of_the_report(name: str, billions: float) -> None:
    assert cost(SHAPES[name], Work()).parameters / 1e9 == pytest.approx(billions, abs=0.05)


def test_a_half_empty_window_costs_nearly_twice_as_much_per_second() -> None:
    full, half = (cost(SHAPES["Voxtral-Small-24B-2507"], Work(slot_fill=fill)) for fill in (1.0, 0.5))
    assert half.encoder_flops == pytest.approx(2 * full.encoder_flops)
    assert half.prefill_flops == pytest.approx(2 * full.prefill_flops)
    assert half.decode_flops < 1.01 * full.decode_flops


def test_two_gpus_are_twice_as_fast_at_best_and_nothing_is_faster_than_its_memory() -> None:
    found = cost(SHAPES["Voxtral-Small-24B-2507"], Work())
    assert found.speed(GPUS["H100 SXM"], 2) == 2 * found.speed(GPUS["H100 SXM"])
    alone = cost(SHAPES["Voxtral-Small-24B-2507"], Work(batch=1))  # every token loads all weights
    h100 = GPUS["H100 SXM"]
    assert alone.speed(h100) < h100.bytes_s / (3.0 * 2 * 22e9)


@pytest.mark.slow
def test_the_gpu_script_runs_without_weights(tmp_path: Path) -> None:
    model = checkpoint(tmp_path / "tiny", small_shapes())
    windows = noise(tmp_path / "windows.npz", 40, 6.0)
    engine = {"model": str(model), "device": "cpu", "max_num_seqs": 8}
    speed = measure(Trial("tiny", engine, {"load_format": "dummy"}, tokens_per_s=3.0), windows)
    assert speed.audio_s > 0
    assert speed.tokens / speed.audio_s == pytest.approx(3.0, rel=0.01)  # as long as forced


def test_a_bucket_that_is_simulated_is_planned(tmp_path: Path) -> None:
    assert bucket(50, str(tmp_path / "out")) == 50


@pytest.mark.slow
@pytest.mark.parametrize("heard", [False, True])
def test_recordings_that_take_no_work_are_done_once(heard: bool, tmp_path: Path) -> None:
    found = scale.measure(300, heard, str(tmp_path))
    scale.check(300, str(tmp_path))
    outcomes = {name: found.facts["report"]["numbers"][name] for name in ("ok", "failed")}
    assert outcomes == ({"ok": 300, "failed": 0} if heard else {"ok": 0, "failed": 300})
    assert not scale.measure(300, heard, str(tmp_path)).facts["todo"]
