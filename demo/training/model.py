"""A small Voxtral in plain PyTorch: Whisper encoder, adapter, Mistral language model; and its export.

Names follow Mistral's checkpoint format, so `state_dict()` is the checkpoint. The forward pass follows what vLLM
computes for it (vllm/model_executor/models/voxtral.py): Hann window 400, hop 160, last frame dropped, log10 clamped
to the window's maximum minus 8, Whisper's sinusoids, keys without bias, exact GELU, interleaved RoPE.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from mistral_common.audio import mel_filter_bank
from safetensors.torch import save_file
from torch import Tensor, nn

from demo.training import vocabulary
from demo.training.speech import SAMPLE_RATE_HZ
from demo.training.vocabulary import (
    AUDIO,
    AUDIO_TOKENS,
    DOWNSAMPLE,
    EOS,
    HOP,
    MELS,
    VOCAB_SIZE,
    WINDOW,
    prompt_ids,
)

ENCODER = {"dim": 128, "n_layers": 3, "n_heads": 4, "head_dim": 32, "hidden_dim": 512}
DECODER = {"dim": 192, "n_layers": 5, "n_heads": 6, "n_kv_heads": 2, "head_dim": 32, "hidden_dim": 512}
ROPE_THETA, NORM_EPS = 10_000.0, 1e-5
POSITIONS = AUDIO_TOKENS * DOWNSAMPLE
LONGEST = 1024  # tokens of a sequence, in training


# ------------------------------------------------------------------------------------------------------ model
class LogMel(nn.Module):
    """Waveforms (batch, samples) in [-1, 1] -> log-mel (batch, MELS, frames)."""

    def __init__(self) -> None:
        super().__init__()
        filters = mel_filter_bank(1 + WINDOW // 2, MELS, 0.0, SAMPLE_RATE_HZ / 2, SAMPLE_RATE_HZ)
        self.register_buffer("filters", torch.tensor(filters, dtype=torch.float32), persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)

    def forward(self, waveforms: Tensor) -> Tensor:
        stft = torch.stft(waveforms, WINDOW, HOP, window=self.window, return_complex=True)
        power = stft[..., :-1].abs() ** 2
        mel = (self.filters.T @ power).clamp(min=1e-10).log10()
        floor = mel.amax(dim=(1, 2), keepdim=True) - 8.0
        return (torch.maximum(mel, floor) + 4.0) / 4.0


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int, kv_heads: int, head_dim: int, biased: bool) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, head_dim
        self.wq = nn.Linear(dim, heads * head_dim, bias=biased)
        self.wk = nn.Linear(dim, kv_heads * head_dim, bias=False)
        self.wv = nn.Linear(dim, kv_heads * head_dim, bias=biased)
        self.wo = nn.Linear(heads * head_dim, dim, bias=biased)

    def forward(self, x: Tensor, rope: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """`rope` (..., length, head_dim / 2, 2) makes it causal, unless a `mask` says who sees whom."""
        batch, length, _ = x.shape
        q = self.wq(x).view(batch, length, self.heads, self.head_dim).transpose(1, 2)
        k = self.wk(x).view(batch, length, self.kv_heads, self.head_dim).transpose(1, 2)
        v = self.wv(x).view(batch, length, self.kv_heads, self.head_dim).transpose(1, 2)
        if rope is not None:
            q, k = rotate(q, rope), rotate(k, rope)
            groups = self.heads // self.kv_heads
            k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=rope is not None and mask is None)
        return self.wo(out.transpose(1, 2).reshape(batch, length, -1))


def rope_table(length: int, head_dim: int) -> Tensor:
    """(length, head_dim / 2, 2): cosine and sine of every position and frequency."""
    inverse = ROPE_THETA ** -(torch.arange(0, head_dim, 2).float() / head_dim)
    angles = torch.outer(torch.arange(length).float(), inverse)
    return torch.stack([angles.cos(), angles.sin()], dim=-1)


def rotate(x: Tensor, rope: Tensor) -> Tensor:
    """Rotate neighbouring pairs of the last dimension (the interleaved convention of Mistral's format)."""
    even, odd = x[..., 0::2], x[..., 1::2]
    cos, sin = rope[..., 0], rope[..., 1]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)


class FeedForward(nn.Module):
    def __init__(self, dim: int, hidden: int, gated: bool) -> None:
        super().__init__()
        self.w1 = nn.Linear(dim, hidden, bias=not gated)
        self.w2 = nn.Linear(hidden, dim, bias=not gated)
        self.w3 = nn.Linear(dim, hidden, bias=False) if gated else None

    def forward(self, x: Tensor) -> Tensor:
        if self.w3 is None:
            return self.w2(F.gelu(self.w1(x)))
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Layer(nn.Module):
    def __init__(self, shape: dict[str, int], decoder: bool) -> None:
        super().__init__()
        dim = shape["dim"]
        norm = (lambda: nn.RMSNorm(dim, eps=NORM_EPS)) if decoder else (lambda: nn.LayerNorm(dim))
        kv_heads = shape.get("n_kv_heads", shape["n_heads"])
        self.attention = Attention(dim, shape["n_heads"], kv_heads, shape["head_dim"], biased=not decoder)
        self.attention_norm = norm()
        self.feed_forward = FeedForward(dim, shape["hidden_dim"], gated=decoder)
        self.ffn_norm = norm()

    def forward(self, x: Tensor, rope: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        x = x + self.attention(self.attention_norm(x), rope, mask)
        return x + self.feed_forward(self.ffn_norm(x))


class WhisperEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        dim = ENCODER["dim"]
        self.conv_layers = nn.ModuleList([nn.Conv1d(MELS, dim, 3, padding=1), nn.Conv1d(dim, dim, 3, 2, padding=1)])
        self.transformer = nn.Module()
        self.transformer.layers = nn.ModuleList([Layer(ENCODER, decoder=False) for _ in range(ENCODER["n_layers"])])
        self.transformer.norm = nn.LayerNorm(dim)
        step = torch.log(torch.tensor(10_000.0)) / (dim // 2 - 1)
        angles = torch.outer(torch.arange(POSITIONS).float(), torch.exp(-step * torch.arange(dim // 2)))
        self.register_buffer("sinusoids", torch.cat([angles.sin(), angles.cos()], dim=1), persistent=False)

    def forward(self, mel: Tensor) -> Tensor:
        for conv in self.conv_layers:
            mel = F.gelu(conv(mel))
        x = mel.transpose(1, 2) + self.sinusoids
        for layer in self.transformer.layers:
            x = layer(x)
        return self.transformer.norm(x)


class SmallVoxtral(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        dim = DECODER["dim"]
        audio = nn.Module()
        audio.whisper_encoder = WhisperEncoder()
        # Index 1 is the parameterless GELU, as in Mistral's tensor names.
        audio.audio_language_projection = nn.Sequential(
            nn.Linear(ENCODER["dim"] * DOWNSAMPLE, dim, bias=False), nn.GELU(), nn.Linear(dim, dim, bias=False)
        )
        audio.tok_embeddings = nn.Embedding(VOCAB_SIZE, dim)
        self.mm_whisper_embeddings = audio
        self.layers = nn.ModuleList([Layer(DECODER, decoder=True) for _ in range(DECODER["n_layers"])])
        self.norm = nn.RMSNorm(dim, eps=NORM_EPS)
        self.output = nn.Linear(dim, VOCAB_SIZE, bias=False)
        self.log_mel = LogMel()
        self.register_buffer("rope", rope_table(LONGEST, DECODER["head_dim"]), persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02 if isinstance(module, nn.Embedding) else dim**-0.5)
                if isinstance(module, nn.Linear) and module.bias is not None:
                    nn.init.zeros_(module.bias)

    def listen(self, waveforms: Tensor) -> Tensor:
        """(batch, chunks * CHUNK_S * 16000) samples in [-1, 1] -> (batch, chunks * AUDIO_TOKENS, dim) embeddings."""
        mel = self.log_mel(waveforms)
        chunks = mel.unflatten(-1, (-1, 2 * POSITIONS)).transpose(1, 2).flatten(0, 1)
        frames = self.mm_whisper_embeddings.whisper_encoder(chunks)
        stacked = frames.reshape(len(waveforms), -1, ENCODER["dim"] * DOWNSAMPLE)
        return self.mm_whisper_embeddings.audio_language_projection(stacked)

    def states(
        self, audio: Tensor, ids: Tensor, positions: Tensor | None = None, mask: Tensor | None = None
    ) -> list[Tensor]:
        """What each layer leaves of ids (batch, length): (batch, length, dim) for each.

        The [AUDIO] tokens of `ids`, row by row, are filled from `audio`, whose last dimension is dim. `positions`
        (batch, length) and `mask` (batch, length, length), true where the first sees the second, are those of a plain
        causal sequence unless given.
        """
        x = self.mm_whisper_embeddings.tok_embeddings(ids)
        filled = (ids == AUDIO).unsqueeze(-1)
        x = torch.where(filled, torch.zeros_like(x).masked_scatter(filled, audio), x)
        rope = self.rope[: ids.shape[1]] if positions is None else self.rope[positions].unsqueeze(1)
        mask = None if mask is None else mask.unsqueeze(1)
        left = []
        for layer in self.layers:
            x = layer(x, rope, mask)
            left.append(x)
        return left

    def forward(self, audio: Tensor, ids: Tensor) -> Tensor:
        """Logits (batch, length, VOCAB_SIZE) for ids (batch, length) whose [AUDIO] tokens are filled from `audio`."""
        return self.output(self.norm(self.states(audio, ids)[-1]))

    @torch.no_grad()
    def transcribe(self, waveforms: Tensor, language: str | None = None, max_tokens: int = 24) -> list[list[int]]:
        """Greedy token ids for each waveform, without </s>."""
        audio = self.listen(waveforms)
        ids = torch.tensor([prompt_ids(language)] * len(audio))
        prompt_length = ids.shape[1]
        for _ in range(max_tokens):
            ids = torch.cat([ids, self(audio, ids)[:, -1:].argmax(-1)], dim=1)
            if (ids[:, prompt_length:] == EOS).any(dim=1).all():
                break
        texts = ids[:, prompt_length:].tolist()
        return [text[: text.index(EOS)] if EOS in text else text for text in texts]


# ----------------------------------------------------------------------------------------------------- export
def export(model: SmallVoxtral, folder: Path) -> None:
    """Write params.json, tekken.json and consolidated.safetensors (float32) as vLLM reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    audio_encoding = {"sampling_rate": SAMPLE_RATE_HZ, "num_mel_bins": MELS, "hop_length": HOP, "window_size": WINDOW}
    encoder_args = ENCODER | {"vocab_size": VOCAB_SIZE, "max_source_positions": POSITIONS}
    encoder_args["audio_encoding_args"] = audio_encoding
    whisper_args = {"encoder_args": encoder_args, "downsample_args": {"downsample_factor": DOWNSAMPLE}}
    params = DECODER | {"rope_theta": ROPE_THETA, "norm_eps": NORM_EPS, "vocab_size": VOCAB_SIZE}
    params |= {"max_position_embeddings": 4096, "multimodal": {"whisper_model_args": whisper_args}}
    (folder / "params.json").write_text(json.dumps(params, indent=2) + "\n")
    vocabulary.write(folder)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "consolidated.safetensors")
