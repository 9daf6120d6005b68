"""The demo's checkpoint in the form of Hugging Face's transformers: `python -m demo.training.hugging_face FOLDER`.

The tensors are those of consolidated.safetensors under other names. Both forms turn pairs of a head's dimensions by
rotary embeddings: Mistral's the neighbours (0, 1), (2, 3) ..., that of transformers the first half with the second, so
that the rows of the decoder's queries and keys change places.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

MODEL = Path(__file__).parents[1] / "model"
EOS, PAD, AUDIO = "</s>", "<pad>", "[AUDIO]"
ENCODER, DECODER, ADAPTER = "model.audio_tower", "model.language_model", "model.multi_modal_projector"
AUDIO_MODEL = "mm_whisper_embeddings."
# Mistral's names of what there is once, and what transformers calls it.
ONCE = {
    f"{AUDIO_MODEL}tok_embeddings": f"{DECODER}.embed_tokens",
    f"{AUDIO_MODEL}audio_language_projection.0": f"{ADAPTER}.linear_1",
    f"{AUDIO_MODEL}audio_language_projection.2": f"{ADAPTER}.linear_2",
    f"{AUDIO_MODEL}whisper_encoder.conv_layers.0": f"{ENCODER}.conv1",
    f"{AUDIO_MODEL}whisper_encoder.conv_layers.1": f"{ENCODER}.conv2",
    f"{AUDIO_MODEL}whisper_encoder.transformer.norm": f"{ENCODER}.layer_norm",
    "norm": f"{DECODER}.norm",
    "output": "lm_head",
}
# The parts of a layer: in both stacks, in the encoder, in the decoder.
ATTENTION = {f"attention.w{part}": f"self_attn.{part}_proj" for part in "qkv"}
OF_ENCODER = ATTENTION | {
    "attention.wo": "self_attn.out_proj",
    "attention_norm": "self_attn_layer_norm",
    "feed_forward.w1": "fc1",
    "feed_forward.w2": "fc2",
    "ffn_norm": "final_layer_norm",
}
OF_DECODER = ATTENTION | {
    "attention.wo": "self_attn.o_proj",
    "attention_norm": "input_layernorm",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
    "ffn_norm": "post_attention_layernorm",
}
LAYER = re.compile(
    r"(?P<encoder>mm_whisper_embeddings\.whisper_encoder\.transformer\.)?layers\.(?P<at>\d+)\.(?P<part>.+)"
)


def convert(source: Path, folder: Path) -> None:
    """Write config.json, model.safetensors, generation_config.json, preprocessor_config.json and tekken.json."""
    params, tekken = (json.loads((source / name).read_text("utf-8")) for name in ("params.json", "tekken.json"))
    folder.mkdir(parents=True, exist_ok=True)
    special = {token["token_str"]: token["rank"] for token in tekken["special_tokens"]}
    encoder = params["multimodal"]["whisper_model_args"]["encoder_args"]
    audio = encoder["audio_encoding_args"]
    ids = {"eos_token_id": special[EOS], "pad_token_id": special[PAD]}
    files = {
        "config.json": _config(params, special[AUDIO]),
        "generation_config.json": ids,
        "preprocessor_config.json": {
            "feature_extractor_type": "WhisperFeatureExtractor",
            "processor_class": "VoxtralProcessor",
            "feature_size": audio["num_mel_bins"],
            "sampling_rate": audio["sampling_rate"],
            "hop_length": audio["hop_length"],
            "n_fft": audio["window_size"],
            "chunk_length": int(tekken["audio"]["chunk_length_s"]),
            "padding_value": 0.0,
            "return_attention_mask": False,
        },
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")
    shutil.copy(source / "tekken.json", folder)
    tensors = _tensors(load_file(source / "consolidated.safetensors"), params)
    tensors[f"{ENCODER}.embed_positions.weight"] = _sinusoids(encoder["max_source_positions"], encoder["dim"])
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def _config(params: Mapping[str, Any], audio_token: int) -> dict[str, Any]:
    encoder = params["multimodal"]["whisper_model_args"]["encoder_args"]
    return {
        "architectures": ["VoxtralForConditionalGeneration"],
        "model_type": "voxtral",
        "dtype": "float32",
        "audio_token_id": audio_token,
        "projector_hidden_act": "gelu",
        "audio_config": {
            "model_type": "voxtral_encoder",
            "hidden_size": encoder["dim"],
            "num_hidden_layers": encoder["n_layers"],
            "num_attention_heads": encoder["n_heads"],
            "intermediate_size": encoder["hidden_dim"],
            "num_mel_bins": encoder["audio_encoding_args"]["num_mel_bins"],
            "max_source_positions": encoder["max_source_positions"],
            "vocab_size": encoder["vocab_size"],
        },
        "text_config": {
            "model_type": "llama",
            "hidden_size": params["dim"],
            "num_hidden_layers": params["n_layers"],
            "num_attention_heads": params["n_heads"],
            "num_key_value_heads": params["n_kv_heads"],
            "head_dim": params["head_dim"],
            "intermediate_size": params["hidden_dim"],
            "rms_norm_eps": params["norm_eps"],
            "rope_theta": params["rope_theta"],
            "vocab_size": params["vocab_size"],
            "max_position_embeddings": params["max_position_embeddings"],
        },
    }


def _tensors(own: Mapping[str, Tensor], params: Mapping[str, Any]) -> dict[str, Tensor]:
    found = {}
    for name, tensor in own.items():
        stem, _, kind = name.rpartition(".")
        renamed, is_turned = ONCE.get(stem), False
        if layer := LAYER.fullmatch(stem):
            stack, parts = (ENCODER, OF_ENCODER) if layer["encoder"] else (DECODER, OF_DECODER)
            renamed = f"{stack}.layers.{layer['at']}.{parts[layer['part']]}"
            is_turned = stack == DECODER and layer["part"] in ("attention.wq", "attention.wk")
        assert renamed, f"{name}: not a tensor of the demo's model"
        found[f"{renamed}.{kind}"] = (_halves(tensor, params["head_dim"]) if is_turned else tensor).contiguous()
    return found


def _halves(weight: Tensor, head_dim: int) -> Tensor:
    """(heads * head_dim, dim) whose pairs are neighbours -> whose pairs are head_dim / 2 apart."""
    return weight.view(-1, head_dim // 2, 2, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


def _sinusoids(length: int, dim: int) -> Tensor:
    """Whisper's positions (length, dim), which Mistral's form computes and that of transformers stores."""
    step = torch.log(torch.tensor(10_000.0)) / (dim // 2 - 1)
    angles = torch.outer(torch.arange(length).float(), torch.exp(-step * torch.arange(dim // 2)))
    return torch.cat([angles.sin(), angles.cos()], dim=1)


if __name__ == "__main__":
    convert(MODEL, Path(sys.argv[1]))
