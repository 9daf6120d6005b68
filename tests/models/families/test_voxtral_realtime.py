from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
from mistral_common.protocol.transcription.request import StreamingMode, TranscriptionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

from pipeline.models import checkpoint
from pipeline.models.demand import of_windows
from pipeline.models.families import voxtral
from pipeline.models.families.voxtral_realtime import SILENCE_FRAMES, VoxtralRealtime
from pipeline.models.protocol import Hypothesis, Request
from pipeline.models.runtimes.vllm import VllmModel
from pipeline.settings import Engine, Settings
from tests.conftest import DEMO
from tests.models.conftest import VllmTokenizer

MARKS = {35: "[STREAMING_PAD]", 36: "[STREAMING_WORD]"}


@pytest.fixture(scope="module")
def realtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What describes a checkpoint: the demo's, with a causal encoder and the released model's delay and silence."""
    folder = tmp_path_factory.mktemp("realtime")
    tekken, params = (json.loads((DEMO / "model" / name).read_text()) for name in ("tekken.json", "params.json"))
    tekken["config"]["version"] = "v13"
    for token in tekken["special_tokens"]:
        token["token_str"] = MARKS.get(token["rank"], token["token_str"])
    del tekken["audio"]["chunk_length_s"]
    tekken["audio"] |= {"transcription_format": "streaming", "transcription_delay_ms": 480.0}
    tekken["audio"] |= {"streaming_look_ahead_ms": 2.5, "streaming_look_back_ms": 52.5}
    tekken["audio"] |= {"streaming_n_left_pad_tokens": 32}
    encoder = params["multimodal"]["whisper_model_args"]["encoder_args"]
    encoder |= {"causal": True, "sliding_window": 750, "pos_embed": "rope", "max_source_positions": None}
    encoder["audio_encoding_args"]["global_log_mel_max"] = 1.5
    params |= {"ada_rms_norm_t_cond": True, "ada_rms_norm_t_cond_dim": 16, "tied_embeddings": True}
    (folder / "tekken.json").write_text(json.dumps(tekken))
    (folder / "params.json").write_text(json.dumps(params))
    return folder


@pytest.fixture(scope="module")
def tokenizer(realtime: Path) -> VllmTokenizer:
    return VllmTokenizer(MistralTokenizer.from_file(str(realtime / "tekken.json")))


def test_a_causal_encoder_is_its_mark(realtime: Path) -> None:
    found = checkpoint.inspect(Engine(model=str(realtime)))
    assert (found.family, found.runtime, found.chunk_s, found.max_context) == ("voxtral_realtime", "vllm", 30.0, 4_096)


@pytest.mark.parametrize("seconds", [0.01, 1.0, 29.99])
def test_prompts_are_mistral_commons(tokenizer: VllmTokenizer, seconds: float) -> None:
    prompts = VoxtralRealtime(tokenizer)
    samples = np.zeros(int(seconds * 16_000), np.int16)
    padded = prompts.padded(samples)
    request = TranscriptionRequest(model="x", audio=voxtral._silence(len(samples)), streaming=StreamingMode.OFFLINE)  # pyright: ignore
    encoded = tokenizer.mistral.encode_transcription(request)
    ids = prompts.transcription(padded, "en")
    assert ids == encoded.tokens == [1, *[35] * 38]
    assert len(encoded.audios[0].audio_array) == len(padded)
    assert padded.dtype == np.float32
    assert prompts.pads == MARKS.keys()
    assert len(ids) < prompts.frames(padded) <= prompts.context(seconds)


def test_the_longest_delay_has_room(tokenizer: VllmTokenizer) -> None:
    prompts = VoxtralRealtime(tokenizer)
    longest_ms = 2_400.0
    silence = sum(len(pad.audio_array) for pad in prompts._encoder.get_padding_audio(longest_ms))
    assert silence / 16_000 * 12.5 < SILENCE_FRAMES


@pytest.mark.slow
def test_it_writes_a_token_for_each_frame(realtime: Path) -> None:
    """In vLLM, with random weights: what it writes makes no sense, but ends where the audio does."""
    settings = Settings(input="in", output="out", engine=Engine(model=str(realtime), device="cpu"))
    found = checkpoint.inspect(settings.engine)
    settings = checkpoint.fit(settings, found)
    model = VllmModel(settings, found, of_windows(settings, found), load_format="dummy")
    windows = [np.random.default_rng(0).integers(-3000, 3000, 16_000 * n, dtype=np.int16) for n in (1, 4, 30)]

    async def ask() -> list[Hypothesis]:
        return await asyncio.gather(*(model.transcribe(Request(window)) for window in windows))

    said = asyncio.run(ask())
    model.shutdown()
    for window, each in zip(windows, said, strict=True):
        frames = len(window) / 16_000 * 12.5
        assert each.finish_reason == "stop"
        assert each.token_count is not None and 0 < each.token_count <= frames + 20
        assert each.mean_logprob is not None and "STREAMING" not in each.text
        assert each.padded_s == pytest.approx(len(window) / 16_000 + (32 + 7 + 10) / 12.5, abs=0.1)
