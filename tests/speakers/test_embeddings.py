from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pipeline.audio import media
from pipeline.audio.vad import ENCODER as OTHER_MODEL
from pipeline.errors import ConfigurationError
from pipeline.settings import Audio
from pipeline.speakers.clustering import cluster
from pipeline.speakers.embeddings import HOP, STEP_S, WINDOW, Embedder
from tests.conftest import DEMO

RATE = 16_000


def sound(name: str) -> np.ndarray:
    return np.concatenate(list(media.decode(DEMO / "held_out" / name, Audio())))


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder()


def test_two_voices_are_told_apart(embedder: Embedder) -> None:
    one, other = sound("de-00.ogg"), sound("fr-00.ogg")
    parts = [one[: len(one) // 2], other[: len(other) // 2], one[len(one) // 2 :], other[len(other) // 2 :]]
    edges = np.cumsum([0, *map(len, parts)]) / RATE
    spans = list(itertools.pairwise(edges.tolist()))
    voices = embedder(np.concatenate(parts), spans)
    of_part = [next(at for at, (_, end) in enumerate(spans) if voice.end_s <= end + 1e-6) for voice in voices]
    assert cluster(np.stack([voice.embedding for voice in voices])).tolist() == [at % 2 for at in of_part]


def test_a_span_is_covered_by_windows_that_overlap_by_half(embedder: Embedder) -> None:
    samples = sound("en-00.ogg")[: 4 * RATE]
    voices = embedder(samples, [(0.0, 0.3), (0.5, 1.5), (1.5, 4.0)])
    assert [(voice.start_s, voice.end_s) for voice in voices[:2]] == [(0.0, 0.3), (0.5, 1.5)]
    assert voices[2].start_s == 1.5
    assert voices[-1].end_s == 4.0
    starts = np.diff([voice.start_s for voice in voices[2:]])
    assert np.allclose(starts[:-1], HOP * STEP_S)
    assert 0 < starts[-1] <= HOP * STEP_S + 1e-9
    assert all(voice.end_s - voice.start_s >= WINDOW * STEP_S - 1e-9 for voice in voices[2:])
    for voice in voices:
        assert voice.embedding.dtype == np.float32
        assert np.linalg.norm(voice.embedding) == pytest.approx(1, abs=1e-5)


def test_an_embedding_depends_on_its_window_alone(embedder: Embedder) -> None:
    samples = sound("en-00.ogg")
    together = embedder(samples, [(0.5, 1.2), (2.0, 4.0)])
    (alone,) = embedder(samples[RATE // 2 :], [(0.0, 0.7)])
    assert together[0].embedding @ alone.embedding == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("samples", [0, 100, 400, 5000])
def test_the_shortest_sounds_give_a_voice_or_none(embedder: Embedder, samples: int) -> None:
    found = embedder(np.zeros(samples, dtype=np.int16), [(0.0, samples / RATE)])
    assert len(found) == (samples >= 400)
    assert all(np.isfinite(voice.embedding).all() for voice in found)


def test_a_model_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"no model for speakers at /no/such\.onnx"):
        Embedder("/no/such.onnx")


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(ConfigurationError, match=r"text\.onnx is not a model in ONNX"):
        Embedder(str(tmp_path / "text.onnx"))


def test_a_model_of_something_else_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"silero_vad_encoder\.onnx maps .*'frames'.* maps one tensor"):
        Embedder(str(OTHER_MODEL))


def test_another_model_with_the_same_inputs_runs(tmp_path: Path) -> None:
    inputs = [helper.make_tensor_value_info("feats", TensorProto.FLOAT, ["B", "T", 80])]
    outputs = [helper.make_tensor_value_info("embs", TensorProto.FLOAT, ["B", 80])]
    nodes = [helper.make_node("ReduceMax", ["feats"], ["embs"], axes=[1], keepdims=0)]
    graph = helper.make_graph(nodes, "largest", inputs, outputs)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8), tmp_path / "a.onnx")
    (voice,) = Embedder(str(tmp_path / "a.onnx"))(sound("en-00.ogg"), [(0.0, 1.0)])
    assert voice.embedding.shape == (80,)
