from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline import command_line, models
from pipeline.errors import ConfigurationError
from pipeline.models import vllm_arguments
from pipeline.models.checkpoint import Checkpoint, inspect
from pipeline.models.demand import Demand
from pipeline.models.runtimes import vllm
from pipeline.settings import Engine, Settings
from pipeline.tasks.transcribe import fingerprint
from tests.conftest import DEMO

IN_OUT = ["--input", "in", "--output", "out"]
OVERRIDES = '{"max_position_embeddings": 4096, "name": "a b"}'


def test_flags_and_yaml_say_the_same(tmp_path: Path) -> None:
    flags = ["--engine.vllm", "kv-cache-dtype=fp8", "--engine.vllm", f"hf_overrides={OVERRIDES}"]
    flags += ["--engine.vllm", "max_num_batched_tokens=4096"]
    path = tmp_path / "job.yaml"
    path.write_text(
        f"engine:\n  vllm:\n    kv_cache_dtype: fp8\n    max_num_batched_tokens: 4096\n    hf_overrides: {OVERRIDES}\n"
    )
    said = [command_line.load([*IN_OUT, *more]) for more in (flags, ["--config", str(path)])]
    wanted = {
        "kv_cache_dtype": "fp8",
        "hf_overrides": {"max_position_embeddings": 4096, "name": "a b"},
        "max_num_batched_tokens": 4096,
    }
    assert [settings.engine.vllm_arguments for settings in said] == [wanted, wanted]


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        (("quantization",), "write KEY=VALUE"),
        (("a b=1",), "write KEY=VALUE"),
        (("quantization=fp8", "quantization=awq"), "quantization is there twice"),
    ],
)
def test_what_is_no_pair_is_refused(pairs: tuple[str, ...], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        command_line.load([*IN_OUT, *(part for pair in pairs for part in ("--engine.vllm", pair))])


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        ("dtype=float16", r"--engine.vllm dtype: is set by --engine.dtype"),
        ("tokenizer_mode=hf", "the job depends on what it is"),
        ("data_parallel_rank=1", "the job depends on what it is"),
        ('speculative_config={"method": "ngram"}', "the job depends on what it is"),
        ("quantisation=fp8", r"vLLM \S+ has no such argument \(did you mean quantization\?\)"),
    ],
)
def test_arguments_that_are_refused(pair: str, reason: str) -> None:
    engine = Engine(model=str(DEMO / "model"), device="cpu", vllm=(pair,))
    with pytest.raises(ConfigurationError, match=reason):
        models.runtime(engine, inspect(engine))


def test_only_vllm_takes_them() -> None:
    engine = Engine(model="none", family="scripted", vllm=("quantization=fp8",))
    with pytest.raises(ConfigurationError, match=r"--engine.vllm quantization=fp8: is for vLLM, and scripted runs"):
        models.runtime(engine, inspect(engine))


def test_the_engine_is_started_with_them() -> None:
    engine = Engine(model=str(DEMO / "model"), device="cpu", vllm=("max_num_batched_tokens=512", "quantization=fp8"))
    given = vllm.arguments(Settings(input="in", output="out", engine=engine), inspect(engine), Demand(6.0, 100))
    assert (given["max_num_batched_tokens"], given["quantization"]) == (512, "fp8")


def facts(*pairs: str) -> dict[str, Any]:
    settings = Settings(input="in", output="out", engine=Engine(device="cpu", vllm=pairs))
    return fingerprint.facts(settings, Checkpoint("m", "voxtral", "r", 30.0, "vllm"))


def test_recordings_are_done_again_where_texts_may_differ() -> None:
    assert facts() == facts("enable_prefix_caching=false", "kv_cache_memory_bytes=1000")
    assert facts("quantization=fp8", "kv-cache-dtype=fp8") == facts("kv_cache_dtype=fp8", "quantization=fp8")
    assert len({str(each) for each in (facts(), facts("quantization=fp8"), facts("quantization=awq"))}) == 3


def test_the_lists_name_arguments_that_vllm_has() -> None:
    from dataclasses import fields

    from vllm import AsyncEngineArgs

    known = {field.name for field in fields(AsyncEngineArgs)}
    assert {*vllm_arguments.SETTINGS, *vllm_arguments.FIXED, *vllm_arguments.NEUTRAL} <= known
