"""Word times by Qwen3-ForcedAligner, which answers at marks behind each word of a text when that begins and ends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import transformers
from transformers.models.qwen3_asr.processing_qwen3_asr import FORCED_ALIGNER_LANGUAGES, LANGUAGE_CODE_TO_NAME

from pipeline.alignment.loading import LONGEST_S
from pipeline.alignment.protocol import Word
from pipeline.schema import SAMPLE_RATE_HZ

SHORTEST_S = 0.5  # shorter audio is padded


class QwenAligner:
    """Qwen/Qwen3-ForcedAligner-0.6B-hf or another of its architecture, in float32. Its times are multiples of 80 ms; it
    does not tell how likely the words are, which have no scores."""

    def __init__(self, model: str, device: str = "cpu", revision: str | None = None) -> None:
        """Load a model, a folder or a name on the hub, onto a PyTorch device.

        Args:
            model: in the format of transformers ("-hf"), with its chat template.
            device: cpu, cuda, mps.
            revision: of a model on the hub.
        """
        self._device, hub = torch.device(device), {"revision": revision}
        loaded = transformers.AutoModelForTokenClassification.from_pretrained(model, dtype=torch.float32, **hub)
        self._model = loaded.to(self._device).eval()
        self._processor = transformers.AutoProcessor.from_pretrained(model, **hub)

    @torch.inference_mode()
    def align(
        self,
        samples: np.ndarray,
        words: Sequence[str],
        language: str | None = None,
        open_s: tuple[float, float] = (0.0, 0.0),
    ) -> list[Word]:
        """See `protocol.Aligner`. No word has a time in a language that the model was not trained for, or where the
        samples are longer than five minutes."""
        # The words are ours in every language: the processor cuts Japanese and Korean otherwise.
        pieces = [self._processor.split_words_for_alignment(word.replace("’", "'")) for word in words]
        known = language is None or LANGUAGE_CODE_TO_NAME.get(language) in FORCED_ALIGNER_LANGUAGES
        duration_s = len(samples) / SAMPLE_RATE_HZ
        if not known or not any(pieces) or not 0 < duration_s <= LONGEST_S["qwen"]:
            return [Word(word) for word in words]
        audio = samples.astype(np.float32) / 32768
        audio = np.pad(audio, (0, max(0, int(SHORTEST_S * SAMPLE_RATE_HZ) - len(audio))))
        transcript = " ".join(piece for own in pieces for piece in own)
        inputs, split = self._processor.prepare_forced_aligner_inputs(audio=audio, transcript=transcript)
        inputs = inputs.to(self._device)
        (times,) = self._processor.decode_forced_alignment(
            self._model(**inputs).logits, inputs["input_ids"], split, self._model.config.timestamp_token_id
        )
        found, at = [], 0
        for word, own in zip(words, pieces, strict=True):
            said = times[at : at + len(own)]
            at += len(own)
            spans = [(min(one["start_time"], duration_s), min(one["end_time"], duration_s)) for one in said]
            found.append(Word(word, spans[0][0], spans[-1][1]) if spans else Word(word))
        return found
