"""Checkpoints of released models' formats with few random weights: what they say means nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TURNS = ["<|im_start|>", "<|im_end|>"]
CHAT = (
    "{% for m in messages %}<|user|>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def _tokenizer(folder: Path, special: list[str], plain: Sequence[str] = (), **saved: Any) -> dict[str, int]:
    """Bytes and these tokens, of which texts hold the plain ones; returns the ids of them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    tokenizer.add_tokens(list(plain))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=special[0], pad_token=special[0], **saved)
    fast.save_pretrained(folder)
    ids = tokenizer.get_vocab()
    return {name: ids[name] for name in [*special, *plain]}


def _decoder(size: int) -> dict[str, Any]:
    return {
        "vocab_size": size,
        "hidden_size": 64,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "max_position_embeddings": 4096,
    }


def _save(model: Any, folder: Path, *renamed: tuple[str, str]) -> None:
    """Its configuration and weights."""
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    _save_weights(model, folder, *renamed)


def _save_weights(model: Any, folder: Path, *renamed: tuple[str, str]) -> None:
    """Far enough from zero to say something. Each beginning of their names is replaced by another: as released
    checkpoints have it, and not transformers."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5)
    weights = {}
    for name, weight in model.state_dict().items():
        old, new = next((pair for pair in renamed if name.startswith(pair[0])), ("", ""))
        weights[new + name.removeprefix(old)] = weight.clone()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def glm_asr(folder: Path) -> None:
    """Its class in vLLM gives prompts of token ids."""
    from transformers import (
        GlmAsrConfig,
        GlmAsrForConditionalGeneration,
        GlmAsrProcessor,
        PreTrainedTokenizerFast,
        WhisperFeatureExtractor,
    )

    ids = _tokenizer(
        folder,
        ["<|endoftext|>", "<|user|>", "<|assistant|>", "<|begin_of_audio|>", "<|end_of_audio|>", "<|pad|>"],
        chat_template=CHAT,
    )
    audio = {
        "hidden_size": 64,
        "intermediate_size": 256,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_mel_bins": 80,
    }
    config = GlmAsrConfig(
        audio_config=audio,
        text_config=_decoder(max(ids.values()) + 1) | {"eos_token_id": ids["<|endoftext|>"]},
        audio_token_id=ids["<|pad|>"],
    )
    _save(
        GlmAsrForConditionalGeneration(config),
        folder,
        ("lm_head.", "language_model.lm_head."),
        ("model.language_model.", "language_model.model."),
        ("model.", ""),
    )
    processor = GlmAsrProcessor(
        WhisperFeatureExtractor(feature_size=80), PreTrainedTokenizerFast.from_pretrained(folder), chat_template=CHAT
    )
    processor.save_pretrained(folder)


def qwen3_asr(folder: Path) -> None:
    """Its class in vLLM gives prompts of token ids, which end in the language where it is told."""
    from transformers import (
        PreTrainedTokenizerFast,
        Qwen3ASRConfig,
        Qwen3ASRFeatureExtractor,
        Qwen3ASRForConditionalGeneration,
        Qwen3ASRProcessor,
    )

    audio_tokens = {
        "audio_token": "<|audio_pad|>",
        "audio_bos_token": "<|audio_start|>",
        "audio_eos_token": "<|audio_end|>",
    }
    ids = _tokenizer(
        folder,
        ["<|endoftext|>", *TURNS, *audio_tokens.values()],
        ["<asr_text>"],
        extra_special_tokens=audio_tokens,
    )
    size = max(ids.values()) + 1
    audio = {
        "d_model": 64,
        "encoder_layers": 1,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 64,
        "output_dim": 64,
        "downsample_hidden_size": 32,
    }
    config = Qwen3ASRConfig(
        audio_config=audio,
        text_config=_decoder(size)
        | {"tie_word_embeddings": True, "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0}},
        audio_token_id=ids["<|audio_pad|>"],
        eos_token_id=ids["<|im_end|>"],
        pad_token_id=ids["<|endoftext|>"],
    )
    _save(Qwen3ASRForConditionalGeneration(config), folder, ("lm_head.", "thinker.lm_head."))
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    Qwen3ASRProcessor(Qwen3ASRFeatureExtractor(), tokenizer).save_pretrained(folder)


def whisper(folder: Path) -> None:
    """Its class in vLLM gives prompts of texts, one for the encoder and one for the decoder."""
    from transformers import (
        PreTrainedTokenizerFast,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
    )

    names = ["endoftext", "startoftranscript", "en", "de", "transcribe", "translate", "notimestamps", "nospeech"]
    ids = _tokenizer(folder, [f"<|{name}|>" for name in names])
    config = WhisperConfig(
        vocab_size=max(ids.values()) + 1,
        d_model=64,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        pad_token_id=ids["<|endoftext|>"],
        bos_token_id=ids["<|endoftext|>"],
        eos_token_id=ids["<|endoftext|>"],
        decoder_start_token_id=ids["<|startoftranscript|>"],
    )
    _save(WhisperForConditionalGeneration(config), folder)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    WhisperProcessor(WhisperFeatureExtractor(), tokenizer).save_pretrained(folder)


# The released checkpoint brings its own, too.
MOSS_PROCESSOR = """
import torch
from transformers import BatchFeature, ProcessorMixin


class MossProcessor(ProcessorMixin):
    audio_start_token, audio_end_token, audio_merge_size = "<|audio_start|>", "<|audio_end|>", 4

    def __init__(self, feature_extractor, tokenizer):
        super().__init__(feature_extractor, tokenizer)
        self.audio_token_id = tokenizer.convert_tokens_to_ids("<|audio_pad|>")

    def _audio_span_ids(self, count):
        return [self.audio_token_id] * count

    def __call__(self, text=None, audio=None, **kwargs):
        found = BatchFeature({"input_ids": torch.tensor([self.tokenizer.encode(text)])})
        if audio:
            extractor = self.feature_extractor
            stride = extractor.hop_length * 2 * self.audio_merge_size
            features = extractor(audio, sampling_rate=16_000, return_tensors="pt")
            found["input_features"] = features["input_features"]
            found["audio_feature_lengths"] = torch.tensor([(len(one) - 1) // stride + 1 for one in audio])
        return found
"""


def moss(folder: Path) -> None:
    """Its class in vLLM gives prompts of text."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM, WhisperConfig, WhisperFeatureExtractor
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    ids = _tokenizer(folder, ["<|endoftext|>", *TURNS, "<|audio_start|>", "<|audio_pad|>", "<|audio_end|>"])
    text = Qwen3Config(**_decoder(max(ids.values()) + 1), eos_token_id=ids["<|im_end|>"], tie_word_embeddings=True)
    audio = WhisperConfig(num_mel_bins=80, d_model=64, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=64)
    adaptor = [torch.nn.Linear(256, 64), torch.nn.SiLU(), torch.nn.Linear(64, 64), torch.nn.LayerNorm(64)]
    parts = {
        "whisper_encoder": WhisperEncoder(audio),
        "vq_adaptor": torch.nn.ModuleDict({"layers": torch.nn.Sequential(*adaptor)}),
        "language_model": Qwen3ForCausalLM(text),
    }
    _save_weights(torch.nn.ModuleDict({"model": torch.nn.ModuleDict(parts)}), folder)
    config = {
        "architectures": ["MossTranscribeDiarizeForConditionalGeneration"],
        "model_type": "moss_transcribe_diarize",
        "text_config": text.to_dict(),
        "audio_config": audio.to_dict(),
        "audio_token_id": ids["<|audio_pad|>"],
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "processing_moss.py").write_text(MOSS_PROCESSOR)
    WhisperFeatureExtractor().save_pretrained(folder)
    named = {"auto_map": {"AutoProcessor": "processing_moss.MossProcessor"}, "processor_class": "MossProcessor"}
    (folder / "processor_config.json").write_text(json.dumps(named))
