"""Word times from the attention of a Whisper model that is given the text.

The decoder reads the whole text at once. Where it is about to write a token, some of its heads look at the audio of
that token (see timing.py of https://github.com/openai/whisper); the likeliest monotonic path through them tells when.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import regex
import torch
import transformers

from pipeline.alignment import viterbi
from pipeline.alignment.loading import LONGEST_S
from pipeline.alignment.protocol import Word
from pipeline.schema import SAMPLE_RATE_HZ
from pipeline.unspaced import LETTER

FRAME_SAMPLES = 320  # of the encoder: two mel frames of 10 ms
START, TRANSCRIBE, NO_TIMES, END = "<|startoftranscript|>", "<|transcribe|>", "<|notimestamps|>", "<|endoftext|>"
# How much attention a frame gives to no token, in standard deviations above the mean over all tokens: pauses. Of 0.5,
# 1, 1.5 and 2 it has the shortest tails of starts and ends together, with Whisper base on English (docs/words.md).
PAUSE = 1.0


@dataclass(frozen=True)
class _Token:
    """The characters `[begin, end)` of the text that are a token's, its time in seconds, and its log-probability."""

    begin: int
    end: int
    start_s: float
    end_s: float
    logprob: float

    def time_s(self, at: int) -> float:
        """When the character `at` begins, or the one before it ends: a token's characters share its time evenly."""
        share = (at - self.begin) / (self.end - self.begin)
        return self.start_s + min(max(share, 0.0), 1.0) * (self.end_s - self.start_s)


class WhisperAligner:
    """Any Whisper model in the format of transformers, in float32."""

    def __init__(self, model: str, device: str = "cpu", revision: str | None = None) -> None:
        """Load a model, a folder or a name on the hub, onto a PyTorch device.

        Args:
            model: the heads that align are the `alignment_heads` of its generation_config.json, each a layer and a
                number; where that has none, those of the upper half of the decoder's layers.
            device: cpu, cuda, mps.
            revision: of a model on the hub.
        """
        self._device, hub = torch.device(device), {"revision": revision}
        loaded = transformers.AutoModelForSpeechSeq2Seq.from_pretrained(
            model, dtype=torch.float32, attn_implementation="eager", **hub
        )
        self._model = loaded.to(self._device).eval()
        self._features = transformers.AutoFeatureExtractor.from_pretrained(model, **hub)
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(model, **hub)
        self._vocabulary: dict[str, int] = self._tokenizer.get_vocab()
        config, generation = loaded.config, loaded.generation_config
        named = {token: regex.fullmatch(r"<\|([a-z]{2,3})\|>", token) for token in self._vocabulary}
        is_multilingual = getattr(generation, "is_multilingual", True)
        self._languages = {m[1]: self._vocabulary[token] for token, m in named.items() if m and is_multilingual}
        layers = range(config.decoder_layers // 2, config.decoder_layers)
        upper = [(layer, head) for layer in layers for head in range(config.decoder_attention_heads)]
        self._heads: Sequence[Sequence[int]] = getattr(generation, "alignment_heads", None) or upper

    def align(
        self,
        samples: np.ndarray,
        words: Sequence[str],
        language: str | None = None,
        open_s: tuple[float, float] = (0.0, 0.0),
    ) -> list[Word]:
        """See `protocol.Aligner`. No word has a time where the samples are longer than 30 s, or the text has more
        tokens than the decoder takes. A language that the model does not know, or None, is the one that it finds."""
        text, places = _laid_out(words)
        found = None
        if any(places) and 0 < len(samples) <= LONGEST_S["whisper"] * SAMPLE_RATE_HZ:
            found = self._tokens(samples, text, language)
        if not found:
            return [Word(word) for word in words]
        duration_s = len(samples) / SAMPLE_RATE_HZ
        return [
            _timed(word, place, found, duration_s) if place else Word(word)
            for word, place in zip(words, places, strict=True)
        ]

    @torch.inference_mode()
    def _tokens(self, samples: np.ndarray, text: str, language: str | None) -> list[_Token] | None:
        """A text's tokens with their times; None where they are too many."""
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        tokens: list[int] = encoded["input_ids"]
        if len(tokens) + 5 > self._model.config.max_target_positions:
            return None
        audio = samples.astype(np.float32) / 32768
        features = self._features(audio, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt").to(self._device)
        heard = self._model.model.encoder(features.input_features)
        prompt = self._prompt(heard, language)
        read = self._decode(heard, [*prompt, *tokens, self._vocabulary[END]])
        writing = slice(len(prompt) - 1, len(prompt) - 1 + len(tokens))  # the place before each token: it is next
        weights = torch.stack([read.cross_attentions[layer][0, head] for layer, head in self._heads])
        weights = weights[..., : -(-len(samples) // FRAME_SAMPLES)]
        weights = weights / weights.sum(-1, keepdim=True)
        deviation, mean = torch.std_mean(weights, dim=1, keepdim=True, correction=0)
        attention = ((weights - mean) / (deviation + 1e-9)).mean(0)[writing].T.cpu().numpy()  # (frames, tokens)
        pauses = np.full((len(attention), 1), PAUSE, attention.dtype)
        spans = viterbi.align(np.concatenate([attention, pauses], axis=1), range(len(tokens)), blank=len(tokens))
        if spans is None:
            return None
        logprobs = read.logits[0, writing].log_softmax(-1).gather(1, torch.tensor(tokens, device=self._device)[:, None])
        found: list[_Token] = []
        for (begin, end), span, logprob in zip(encoded["offset_mapping"], spans, logprobs[:, 0].tolist(), strict=True):
            spaces = len(text[begin:end]) - len(text[begin:end].lstrip())
            start_s, end_s = (frame * FRAME_SAMPLES / SAMPLE_RATE_HZ for frame in (span.start, span.end))
            found.append(_Token(min(begin + spaces, end - 1), end, start_s, end_s, logprob))
        return found

    def _prompt(self, heard: Any, language: str | None) -> list[int]:
        start = self._vocabulary[START]
        if not self._languages:
            return [start, self._vocabulary[NO_TIMES]]
        known = list(self._languages.values())
        token = self._languages.get(language or "")
        if token is None:
            token = known[int(self._decode(heard, [start]).logits[0, 0, known].argmax())]
        return [start, token, self._vocabulary[TRANSCRIBE], self._vocabulary[NO_TIMES]]

    def _decode(self, heard: Any, ids: Sequence[int]) -> Any:
        decoded = torch.tensor([[*ids]], device=self._device)
        return self._model(encoder_outputs=heard, decoder_input_ids=decoded, output_attentions=True)


def _timed(word: str, place: tuple[int, int], tokens: Sequence[_Token], duration_s: float) -> Word:
    """A word of the characters `place` of a text with these tokens."""
    begin, end = place
    own = [token for token in tokens if token.begin < end and token.end > begin]
    start_s, end_s = own[0].time_s(begin), own[-1].time_s(end)
    score = math.exp(math.fsum(token.logprob for token in own) / len(own))
    return Word(word, min(start_s, duration_s), min(end_s, duration_s), score)


def _laid_out(words: Sequence[str]) -> tuple[str, list[tuple[int, int] | None]]:
    """The words as a text such as Whisper writes, and where each is in it without the punctuation at its ends; None
    where it is nothing else."""
    text, places = "", []
    for word in words:
        has_space = not regex.match(rf"\p{{P}}*{LETTER}", word, regex.V1)
        begin = len(text) + has_space
        text += " " * has_space + word
        core = regex.search(r"[^\p{P}](?:.*[^\p{P}])?", word, regex.DOTALL)
        places.append((begin + core.start(), begin + core.end()) if core else None)
    return text, places
