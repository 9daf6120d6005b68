"""Word times by forced alignment with any CTC model of characters that transformers loads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import transformers

from pipeline.alignment import viterbi
from pipeline.alignment.protocol import Word
from pipeline.alignment.spelling import WILDCARD, spell
from pipeline.errors import ConfigurationError
from pipeline.schema import SAMPLE_RATE_HZ

CHUNK_S, CONTEXT_S = 30, 2  # what the model takes at once, and how much of it at either end only others' frames are of
SHORTEST_S = 0.5  # shorter audio is padded: some models fail on a few samples
PROBE_SAMPLES = 81_920  # a multiple of all usual frame steps: 160, 320, 640, 1280
SMALLEST = 1e-9  # probability of a character in the score of its word
WILDCARD_PENALTY = 1.0  # nats a frame below the likeliest character: a known character that fits is preferred
# An open end is one more token, which fits anything: so many nats a frame below the likeliest token, silence among
# them. Words may reach so far behind where it is said to end.
OPEN_PENALTY, OPEN_SLACK_S = 1.0, 0.5
CLOSED = -1_000.0  # nats a frame, elsewhere


class CtcAligner:
    """A model such as wav2vec 2.0 with a head that spells. Silence is its blank, or its word delimiter."""

    def __init__(self, model: str, device: str = "cpu", revision: str | None = None) -> None:
        """Load a model, a folder or a name on the hub, onto a PyTorch device.

        Args:
            model: has a feature extractor, and a tokenizer whose tokens are characters.
            device: cpu, cuda, mps.
            revision: of a model on the hub.

        Raises:
            ConfigurationError: the tokens are not characters.
        """
        self._device, hub = torch.device(device), {"revision": revision}
        loaded = transformers.AutoModelForCTC.from_pretrained(model, dtype=torch.float32, **hub)
        self._model = loaded.to(self._device).eval()
        self._features = transformers.AutoFeatureExtractor.from_pretrained(model, **hub)
        tokenizer = transformers.AutoTokenizer.from_pretrained(model, **hub)
        self._blank: int = self._model.config.pad_token_id
        vocabulary: Mapping[str, int] = tokenizer.get_vocab()
        delimiter = getattr(tokenizer, "word_delimiter_token", None) or ("|" if "|" in vocabulary else " ")
        self._delimiter = vocabulary.get(delimiter)
        characters = {
            token: i for token, i in vocabulary.items() if len(token) == 1 and i < self._model.config.vocab_size
        }
        if 2 * len(characters) < len(vocabulary):
            raise ConfigurationError(
                f"{model} does not spell: {len(characters)} of its {len(vocabulary)} tokens are characters;"
                " word times need a CTC model of characters"
            )
        self._letters = {c: i for c, i in characters.items() if i not in (self._blank, self._delimiter)}
        short, longer = (len(self._logprobs(np.zeros(SAMPLE_RATE_HZ + more))) for more in (0, PROBE_SAMPLES))
        self._step = round(PROBE_SAMPLES / (longer - short))  # samples from frame to frame

    def align(
        self,
        samples: np.ndarray,
        words: Sequence[str],
        language: str | None = None,
        open_s: tuple[float, float] = (0.0, 0.0),
    ) -> list[Word]:
        """See `protocol.Aligner`. Audio above CHUNK_S goes through the model in chunks that overlap."""
        open_start_s, open_end_s = open_s
        spelled = [spell(word, self._letters) for word in words]
        if not any(set(tokens) - {WILDCARD} for tokens in spelled):
            return [Word(word) for word in words]
        logprobs = self._emissions(samples)
        wildcard = logprobs.shape[1] - 1
        tokens = [wildcard if token == WILDCARD else token for tokens in spelled for token in tokens]
        if open_start_s:
            open_frames = slice(0, self._frames(open_start_s))
            logprobs, tokens = _with_open(logprobs, wildcard, open_frames), [logprobs.shape[1], *tokens]
        if open_end_s:
            open_frames = slice(max(0, len(logprobs) - self._frames(open_end_s)), None)
            logprobs, tokens = _with_open(logprobs, wildcard, open_frames), [*tokens, logprobs.shape[1]]
        spans = viterbi.align(logprobs, tokens, self._blank)
        if spans is None:
            return [Word(word) for word in words]
        spans = spans[bool(open_start_s) : len(spans) - bool(open_end_s)]
        return self._words(words, spelled, spans, len(samples) / SAMPLE_RATE_HZ)

    def _frames(self, open_s: float) -> int:
        return math.ceil((open_s + OPEN_SLACK_S) * SAMPLE_RATE_HZ / self._step)

    def _words(
        self, words: Sequence[str], spelled: Sequence[Sequence[int]], spans: Sequence[viterbi.Span], duration_s: float
    ) -> list[Word]:
        found, at = [], 0
        for word, tokens in zip(words, spelled, strict=True):
            own = spans[at : at + len(tokens)]
            at += len(tokens)
            scores = [span.score for span, token in zip(own, tokens, strict=True) if token != WILDCARD]
            if not own:
                found.append(Word(word))
                continue
            start_s, end_s = (frame * self._step / SAMPLE_RATE_HZ for frame in (own[0].start, own[-1].end))
            score = _geometric_mean(scores) if scores else None
            found.append(Word(word, min(start_s, duration_s), min(end_s, duration_s), score))
        return found

    def _emissions(self, samples: np.ndarray) -> np.ndarray:
        """(frames, vocabulary + 1) log-probabilities; the last column is the wildcard's."""
        audio = samples.astype(np.float32) / 32768
        if len(audio) < (shortest := int(SHORTEST_S * SAMPLE_RATE_HZ)):
            audio = np.pad(audio, (0, shortest - len(audio)))
        size, context = (seconds * SAMPLE_RATE_HZ // self._step for seconds in (CHUNK_S, CONTEXT_S))  # frames
        parts: list[np.ndarray] = []
        begin = 0
        while True:
            first = begin * self._step
            logprobs = self._logprobs(audio[first : first + size * self._step])
            last = first + size * self._step >= len(audio)
            parts.append(logprobs[context if begin else 0 : None if last else size - context])
            if last:
                break
            begin += size - 2 * context
        found = np.concatenate(parts)[: -(-len(samples) // self._step)]
        if self._delimiter is not None:
            found[:, self._blank] = np.logaddexp(found[:, self._blank], found[:, self._delimiter])
        likeliest = found[:, list(self._letters.values())].max(axis=1, keepdims=True)
        return np.concatenate([found, likeliest - WILDCARD_PENALTY], axis=1)

    @torch.inference_mode()
    def _logprobs(self, audio: np.ndarray) -> np.ndarray:
        """Float samples in [-1, 1] -> (frames, vocabulary) log-probabilities."""
        inputs = self._features(audio, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt")
        logits = self._model(**inputs.to(self._device)).logits[0]
        return logits.float().log_softmax(-1).cpu().numpy()


def _with_open(logprobs: np.ndarray, vocabulary: int, frames: slice) -> np.ndarray:
    """The log-probabilities with one more column: a token that fits anything in these frames, and nothing elsewhere."""
    column = np.full((len(logprobs), 1), CLOSED, logprobs.dtype)
    column[frames] = logprobs[frames, :vocabulary].max(axis=1, keepdims=True) - OPEN_PENALTY
    return np.concatenate([logprobs, column], axis=1)


def _geometric_mean(probabilities: Sequence[float]) -> float:
    return math.exp(math.fsum(math.log(max(p, SMALLEST)) for p in probabilities) / len(probabilities))
