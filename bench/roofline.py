"""What a second of audio costs a Voxtral model, from its shapes, and how fast a GPU could be at best.

`python -m bench.roofline [FOLDER ...]`: the released models, and those whose params.json lies in the folders.

Counted are multiplications and additions (two FLOPs each) of matrices and attention, and bytes that must come from the
GPU's memory: weights once per step of the whole batch, and the KV cache of every sequence once per token. Norms,
softmax, mel and sampling are left out. What cannot be had is a machine that computes and loads at its peak at once.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

Row = Mapping[str, Any]

_LARGE_V3 = {  # Whisper large-v3's encoder, which both released models have
    "encoder_args": {
        "dim": 1280,
        "n_layers": 32,
        "n_heads": 20,
        "head_dim": 64,
        "hidden_dim": 5120,
        "max_source_positions": 1500,
        "audio_encoding_args": {"sampling_rate": 16000, "num_mel_bins": 128, "hop_length": 160, "window_size": 400},
    },
    "downsample_args": {"downsample_factor": 4},
}
# As in their params.json; the parameter counts agree with table 1 of the report (arXiv 2507.13264).
SHAPES: dict[str, Row] = {
    "Voxtral-Small-24B-2507": {
        "dim": 5120,
        "n_layers": 40,
        "n_heads": 32,
        "n_kv_heads": 8,
        "head_dim": 128,
        "hidden_dim": 32768,
        "vocab_size": 131072,
        "multimodal": {"whisper_model_args": _LARGE_V3},
    },
    "Voxtral-Mini-3B-2507": {
        "dim": 3072,
        "n_layers": 30,
        "n_heads": 32,
        "n_kv_heads": 8,
        "head_dim": 128,
        "hidden_dim": 8192,
        "vocab_size": 131072,
        "multimodal": {"whisper_model_args": _LARGE_V3},
    },
}


@dataclass(frozen=True)
class Gpu:
    """One GPU: dense bf16 FLOP/s and bytes/s, by NVIDIA's data sheets. FP8 doubles the first, halves the weights."""

    flops: float
    bytes_s: float


GPUS = {
    "A100 80GB SXM": Gpu(312e12, 2.04e12),
    "L40S": Gpu(362e12, 0.864e12),
    "H100 SXM": Gpu(989e12, 3.35e12),
    "H200 SXM": Gpu(989e12, 4.8e12),
}


@dataclass(frozen=True)
class Work:
    """How windows are filled, and what is said in them: tokens of text per second of speech in the window."""

    window_s: float = 30.0
    slot_fill: float = 1.0
    tokens_per_s: float = 3.0
    batch: int = 64
    prompt_tokens: int = 10  # around the audio
    questions: int = 0  # for the language: a token each, after the cached prefix


@dataclass(frozen=True)
class Cost:
    """FLOPs and bytes for a second of audio, and what the model takes."""

    encoder_flops: float
    prefill_flops: float
    decode_flops: float
    weight_bytes: float
    kv_bytes: float
    parameters: float
    kv_bytes_per_token: float

    @property
    def flops(self) -> float:
        return self.encoder_flops + self.prefill_flops + self.decode_flops

    def speed(self, gpu: Gpu, count: int = 1) -> float:
        """Audio seconds per second that so many of them cannot pass."""
        return count / max(self.flops / gpu.flops, (self.weight_bytes + self.kv_bytes) / gpu.bytes_s)


def cost(shapes: Row, work: Work, bytes_each: float = 2.0) -> Cost:
    """What a second of audio costs a model whose params.json says `shapes`.

    Each window is padded to a whole number of the encoder's own length. KV cache is 2 bytes per number.
    """
    audio = shapes["multimodal"]["whisper_model_args"]
    encoder, factor = audio["encoder_args"], audio["downsample_args"]["downsample_factor"]
    mels, hop = encoder["audio_encoding_args"]["num_mel_bins"], encoder["audio_encoding_args"]["hop_length"]
    width, layers, frames = encoder["dim"], encoder["n_layers"], encoder["max_source_positions"]
    chunk_s = 2 * frames * hop / encoder["audio_encoding_args"]["sampling_rate"]  # a convolution halves the frames
    chunks = math.ceil(work.window_s / chunk_s - 1e-9)
    audio_s = chunks * chunk_s * work.slot_fill  # of a window

    dim, inner = shapes["dim"], shapes["head_dim"] * shapes["n_heads"]
    kv = shapes["head_dim"] * shapes["n_kv_heads"]
    adapter = width * factor * dim + dim * dim
    encoder_layer = 4 * width * width + 2 * width * encoder["hidden_dim"]
    convolutions = 3 * mels * width, 3 * width * width  # at 2 x frames, and at frames
    layer = 2 * dim * inner + 2 * dim * kv + 3 * dim * shapes["hidden_dim"]
    body, head = shapes["n_layers"] * layer, dim * shapes["vocab_size"]

    encoded = layers * (2 * frames * encoder_layer + 4 * frames * frames * width)
    encoded += 2 * frames * (2 * convolutions[0] + convolutions[1]) + 2 * frames // factor * adapter
    prompt = chunks * frames // factor + work.prompt_tokens
    text = work.tokens_per_s * audio_s
    prefill = 2 * prompt * body + 2 * shapes["n_layers"] * inner * prompt * prompt + 2 * head  # causal: half of 4 x
    steps = text + work.questions
    seen = prompt + text / 2
    decode = steps * (2 * (body + head) + 4 * shapes["n_layers"] * inner * seen)

    per_token = 2 * kv * shapes["n_layers"] * 2.0
    weights = (body + head) * bytes_each * steps / work.batch + (layers * encoder_layer) * bytes_each / work.batch
    parameters = layers * encoder_layer + sum(convolutions) + adapter + body + 2 * head
    return Cost(
        encoder_flops=chunks * encoded / audio_s,
        prefill_flops=prefill / audio_s,
        decode_flops=decode / audio_s,
        weight_bytes=weights / audio_s,
        kv_bytes=steps * seen * per_token / audio_s,
        parameters=parameters,
        kv_bytes_per_token=per_token,
    )


def main() -> None:
    """Print both tables."""
    models = dict(SHAPES)
    for folder in sys.argv[1:]:
        models[Path(folder).name] = json.loads(Path(folder, "params.json").read_text("utf-8"))
    console = Console(width=130)
    columns = "", "GFLOP per audio s", "encoder", "prefill", "decode", *GPUS
    works = {
        "full windows": Work(),
        "86% full": Work(slot_fill=0.86),
        "86% full, language asked": Work(slot_fill=0.86, questions=2),
        "5 s clips": Work(slot_fill=5 / 30),
        "batch 256": Work(batch=256),
    }
    for name, shapes in models.items():
        facts = cost(shapes, Work())
        size = f"{facts.parameters / 1e9:.3g} B parameters, {facts.kv_bytes_per_token / 1e3:.3g} kB of KV cache a token"
        table = Table(*columns, title=f"{name}, bf16 ({size}): audio seconds per second of one GPU at best")
        for title, work in works.items():
            found = cost(shapes, work)
            parts = (found.encoder_flops, found.prefill_flops, found.decode_flops)
            shares = (f"{part / found.flops:.0%}" for part in parts)
            speeds = (f"{found.speed(gpu):,.0f}" for gpu in GPUS.values())
            table.add_row(title, f"{found.flops / 1e9:,.3g}", *shares, *speeds)
        console.print(table)


if __name__ == "__main__":
    main()
