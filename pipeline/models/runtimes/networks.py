"""A checkpoint's network in PyTorch, as transformers loads it, and how a batch of prompts is decoded with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor
from transformers import GenerationConfig, GenerationMixin, LogitsProcessor, StoppingCriteria
from transformers.modeling_outputs import BaseModelOutput

from pipeline.errors import ConfigurationError
from pipeline.models.runtimes.batches import Continuation, Prompt
from pipeline.schema import SAMPLE_RATE_HZ

LOOP_TOKENS, LOOP_TIMES = 20, 8  # as runtimes/vllm.py has them: a pattern of up to so many tokens, so many times


class Network:
    """A speech model: a decoder that takes audio in place of tokens (Voxtral), or encoder and decoder (Whisper)."""

    def __init__(self, model: str, revision: str | None, dtype: str, device: str) -> None:
        config = transformers.AutoConfig.from_pretrained(model, revision=revision)
        name = next((name for name in config.architectures or () if hasattr(transformers, name)), None)
        if name is None:
            raise ConfigurationError(
                f"--engine.model {model}: no architecture in its config.json that transformers has"
            )
        self._device = torch.device(device)
        loaded = getattr(transformers, name).from_pretrained(model, revision=revision, dtype=getattr(torch, dtype))
        self._model = loaded.to(self._device).eval()
        self._features = transformers.AutoFeatureExtractor.from_pretrained(model, revision=revision)
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(model, revision=revision)
        decoder = config.get_text_config(decoder=True)
        self.context: int = getattr(config, "max_target_positions", None) or decoder.max_position_embeddings
        own = self._model.generation_config
        ends = _either(own.eos_token_id, decoder.eos_token_id)
        self._ends: list[int] = list(ends) if isinstance(ends, list) else [ends]
        # Its own would suppress tokens, force some, or sample: answers shall be those of the other runtimes.
        self._model.generation_config = GenerationConfig(
            eos_token_id=self._ends,
            pad_token_id=own.pad_token_id if own.pad_token_id is not None else self._ends[0],
            decoder_start_token_id=_either(own.decoder_start_token_id, getattr(config, "decoder_start_token_id", None)),
        )
        self.encodes = bool(config.is_encoder_decoder)
        """Whether an encoder of its own takes the audio, so that prompts of one batch must have one length."""

    def text(self, ids: Sequence[int]) -> str:
        """Token ids -> the text, without special tokens."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True).strip()

    @torch.inference_mode()
    def generate(self, prompts: Sequence[Prompt]) -> list[Continuation]:
        """Decode a batch. Its prompts have one temperature; where that is not 0, or there are several beams, there is
        one prompt. The prompts of an encoder and decoder have one length."""
        if prompts[0].beams > 1:
            return [self._searched(*prompts)]
        first, limits = prompts[0], [prompt.max_tokens for prompt in prompts]
        torch.manual_seed(first.seed)
        sampling = {"do_sample": True, "temperature": first.temperature, "top_p": first.top_p, "top_k": 0}
        inputs = self._inputs(prompts)
        told = _Probabilities([prompt.following for prompt in prompts])
        ends = _Ends(limits, max(len(prompt.ids) for prompt in prompts), self._ends)
        tokens = GenerationMixin.generate(  # pyright: ignore[reportAttributeAccessIssue]  # Whisper's own takes any length
            self._model,
            **inputs,
            generation_config=GenerationConfig(
                max_new_tokens=max(limits), **(sampling if first.temperature else {"do_sample": False})
            ),
            logits_processor=[told],  # pyright: ignore[reportArgumentType]
            stopping_criteria=[ends],  # pyright: ignore[reportArgumentType]
        )
        assert isinstance(tokens, Tensor)
        logprobs = told.of(tokens)
        found = []
        for at, row in enumerate(tokens[:, ends.start :].tolist()):
            ids, reason = self._ended(row[: ends.limit_of(at)])
            found.append(Continuation(ids, logprobs[at][: len(ids)], reason, told.following[at]))
        return found

    def _searched(self, prompt: Prompt) -> Continuation:
        """The likeliest continuation that a beam search finds."""
        inputs, start = self._inputs([prompt]), len(prompt.ids) if self.encodes else 0
        encoded = self._model.get_encoder()(inputs["input_features"]).last_hidden_state if self.encodes else None
        # `generate` would give the beams of a recording of several chunks the first chunk several times.
        heard = None if self.encodes else self._embedded(inputs)

        def over(chosen: Tensor) -> dict[str, Any]:
            if heard is not None:
                return {"inputs_embeds": torch.cat([heard, self._model.get_input_embeddings()(chosen)], dim=1)}
            ids = torch.cat([inputs["decoder_input_ids"], chosen], dim=1)
            # in an object of its own: `generate` puts one for each beam in
            return {"encoder_outputs": BaseModelOutput(encoded), "decoder_input_ids": ids}

        nothing = torch.zeros((1, 0), dtype=torch.long, device=self._device)
        tokens = GenerationMixin.generate(  # pyright: ignore[reportAttributeAccessIssue]
            self._model,
            **over(nothing),
            generation_config=GenerationConfig(
                max_new_tokens=prompt.max_tokens, num_beams=prompt.beams, do_sample=False
            ),
            stopping_criteria=[_Loops(start)],  # pyright: ignore[reportArgumentType]
        )
        assert isinstance(tokens, Tensor)
        chosen = tokens[:, start:]
        ids, reason = self._ended(chosen[0].tolist())
        # The search keeps the probabilities of all that it has looked at, or none: the chosen ones are computed again.
        more = {"use_cache": False} if self.encodes else {"use_cache": False, "logits_to_keep": chosen.shape[1] + 1}
        logits = self._model(**over(chosen), **more).logits[0, -chosen.shape[1] - 1 : -1]
        logprobs = logits.float().log_softmax(dim=-1).gather(1, chosen[0][:, None])[:, 0].tolist()
        return Continuation(ids, logprobs[: len(ids)], reason, {})

    def _embedded(self, inputs: dict[str, Any]) -> Tensor:
        """(1, length, width): a prompt as the decoder takes it, with audio in the place of tokens."""
        core, ids = self._model.model, inputs["input_ids"]
        embedded: Tensor = core.get_input_embeddings()(ids)
        audio = core.get_audio_features(inputs["input_features"], return_dict=True).pooler_output
        places = core.get_placeholder_mask(ids, inputs_embeds=embedded, audio_features=audio)
        return embedded.masked_scatter(places, audio.to(embedded.dtype))

    def _ended(self, ids: list[int]) -> tuple[list[int], str]:
        """The ids of a row without what fills it up, and why they end."""
        end = next((at for at, i in enumerate(ids) if i in self._ends), None)
        reason = "repetition" if _repeats(torch.tensor(ids[:end])) else "length" if end is None else "stop"
        return ids[: None if end is None else end + 1], reason

    def _inputs(self, prompts: Sequence[Prompt]) -> dict[str, Any]:
        audios = [audio for prompt in prompts for audio in prompt.audios]
        inputs: dict[str, Any] = {}
        if audios:
            inputs["input_features"] = torch.cat([self._mel(audio) for audio in audios]).to(
                self._device, self._model.dtype
            )
        longest = max(len(prompt.ids) for prompt in prompts)
        ids = torch.tensor([[0] * (longest - len(prompt.ids)) + list(prompt.ids) for prompt in prompts])
        if self.encodes:
            return inputs | {"decoder_input_ids": ids.to(self._device)}
        mask = torch.tensor([[0] * (longest - len(prompt.ids)) + [1] * len(prompt.ids) for prompt in prompts])
        return inputs | {"input_ids": ids.to(self._device), "attention_mask": mask.to(self._device)}

    def _mel(self, audio: np.ndarray) -> Tensor:
        """(samples,) of whole chunks -> (chunks, mels, frames)."""
        found = self._features(
            audio, sampling_rate=SAMPLE_RATE_HZ, padding=False, truncation=False, return_tensors="pt"
        )
        mel: Tensor = found["input_features"]
        return mel.unflatten(-1, (-1, self._features.nb_max_frames)).squeeze(0).transpose(0, 1)


class _Probabilities(LogitsProcessor):
    """Changes nothing, and notes the log-probabilities of what was chosen. It sees the model's own logits, before any
    temperature."""

    def __init__(self, following: Sequence[tuple[int, ...]]) -> None:
        self._wanted = following
        self._now: Tensor | None = None  # (batch, vocabulary), of the token that is chosen next
        self._chosen: list[Tensor] = []
        self.following: list[dict[int, float]] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        self._note(input_ids)
        self._now = scores.float().log_softmax(dim=-1)
        if not self.following:
            rows = zip(self._wanted, self._now, strict=True)
            self.following = [dict(zip(ids, row[list(ids)].tolist(), strict=True)) for ids, row in rows]
        return scores

    def _note(self, ids: Tensor) -> None:
        if self._now is not None:
            self._chosen.append(self._now.gather(1, ids[:, -1:]))

    def of(self, ids: Tensor) -> list[list[float]]:
        """(batch, length) of all ids in the end -> for each row the log-probabilities of those that were chosen."""
        self._note(ids)
        self._now = None
        return torch.cat(self._chosen, dim=1).tolist()


class _Ends(StoppingCriteria):
    """Ends each row at its own limit, or where it repeats itself. `start` is where the chosen ids begin."""

    def __init__(self, limits: Sequence[int], start: int, ends: Sequence[int]) -> None:
        self._limits, self.start, self._ends = torch.tensor(limits), start, torch.tensor(ends)

    def limit_of(self, row: int) -> int:
        """The ids that a row has at most."""
        return int(self._limits[row])

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        chosen = input_ids[:, self.start :].cpu()
        going = ~torch.isin(chosen, self._ends).any(dim=1) & (chosen.shape[1] <= self._limits)
        for at, row in enumerate(chosen):
            if going[at] and _repeats(row):
                self._limits[at] = chosen.shape[1]
        return (chosen.shape[1] >= self._limits).to(input_ids.device)


class _Loops(StoppingCriteria):
    """Ends beams that repeat themselves. `start` is where the chosen ids begin."""

    def __init__(self, start: int) -> None:
        self._start = start

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        loops = [_repeats(row) for row in input_ids[:, self._start :].cpu()]
        return torch.tensor(loops, device=input_ids.device)


def _either(own: Any, other: Any) -> Any:
    return other if own is None else own


def _repeats(ids: Tensor) -> bool:
    """Whether the last ids are one pattern, LOOP_TIMES in a row."""
    for size in range(1, min(LOOP_TOKENS, len(ids) // LOOP_TIMES) + 1):
        tail = ids[-size * LOOP_TIMES :]
        if bool((tail[size:] == tail[:-size]).all()):
            return True
    return False
