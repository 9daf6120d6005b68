"""Models in Hugging Face's transformers: slower than vLLM, and at home wherever PyTorch is."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import cast

import numpy as np

from pipeline.errors import ConfigurationError
from pipeline.models.abilities import Ability
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.demand import Demand, max_tokens, room
from pipeline.models.family import Chats, asking
from pipeline.models.family import family as load_family
from pipeline.models.language_questions import chosen, scorer
from pipeline.models.padding import PadOnce
from pipeline.models.protocol import Chat, Hypothesis, LanguageScorer, Reply, Request, RequestError
from pipeline.models.runtime import Runtime
from pipeline.models.runtimes.batches import Batches, Continuation, Prompt
from pipeline.schema import SAMPLE_RATE_HZ
from pipeline.settings import Engine, Settings

# Prompts that are decoded together at most, each until the last of them ends. See docs/operations.md.
LARGEST_BATCH = 8


class TransformersModel:
    """A speech model in transformers; its batches are computed one after the other."""

    def __init__(self, settings: Settings, checkpoint: Checkpoint) -> None:
        """Load the model onto a GPU, or where `settings.engine.device` is cpu onto the CPU, or a Mac's GPU."""
        import torch

        from pipeline.models.runtimes.networks import Network

        engine, family = settings.engine, load_family(checkpoint.family)
        assert family.prompts is not None
        device = "cuda" if engine.device == "gpu" else "mps" if torch.backends.mps.is_available() else "cpu"
        revision = None if Path(checkpoint.model).is_absolute() else checkpoint.revision
        self._network = Network(checkpoint.model, revision, engine.resolved_dtype, device)
        self._context = min(engine.max_model_len or self._network.context, self._network.context)
        self._max_tokens_per_s, self._beams = engine.max_tokens_per_s, engine.beams
        self.abilities = family.abilities
        self._prompts = family.prompts(self._network.tokenizer)
        self._padded = PadOnce(self._prompts.padded)
        self._batches = Batches(self._compute, min(LARGEST_BATCH, engine.max_num_seqs))

    def language_scorer(self, expected: Sequence[str], methods: Sequence[str]) -> LanguageScorer:
        """Asks a question of one token for each place where the candidates part.

        Raises:
            ConfigurationError: a language that the model does not know.
        """
        questions = chosen(self._prompts.language_questions(expected), methods, self.abilities)

        async def following(
            request: Request, audio: np.ndarray, ids: Sequence[int], wanted: tuple[int, ...]
        ) -> Mapping[int, float]:
            prompt = Prompt(ids, [audio], max_tokens=1, following=wanted)
            return (await self._batches.answer(prompt, ("next", self._shape(ids)), request.audio_id)).following

        return scorer(questions, self._padded, following)

    async def transcribe(self, request: Request) -> Hypothesis:
        """Transcribe one window.

        Raises:
            RequestError: the model does not know the language.
        """
        audio = self._padded(request)
        ids = asking(self._prompts, request, audio)
        beams = 1 if request.temperature else self._beams
        prompt = Prompt(ids, [audio], self._most(ids, request), request.temperature, beams=beams)
        said = await self._batches.answer(prompt, self._key(prompt), request.audio_id)
        text = self._prompts.text(self._network.text(said.ids))
        return Hypothesis.of_tokens(text, said.finish_reason, len(said.ids), said.logprobs, len(audio) / SAMPLE_RATE_HZ)

    def _most(self, ids: Sequence[int], request: Request) -> int:
        left = room(len(ids), self._context, "a text")
        return min(max_tokens(request.duration_s, self._max_tokens_per_s), left)

    async def chat(self, chat: Chat) -> Reply:
        """Answer in a conversation. Function calls are the model's own choice, and follow no schema.

        Raises:
            ContextError: the conversation is longer than the model's context.
            RequestError: the conversation is not one that the model can be asked.
        """
        prompts = cast(Chats, self._prompts)
        padded = [self._padded(clip) for clip in chat.clips]
        ids = prompts.chat(chat, padded)
        left = room(len(ids), self._context, "an answer")
        prompt = Prompt(ids, padded, min(chat.max_tokens, left), chat.temperature, chat.top_p, chat.seed)
        order = min((clip.audio_id for clip in chat.clips), default=0)
        said = await self._batches.answer(prompt, self._key(prompt), order)
        text, calls = prompts.reply(said.ids)
        return Reply(
            text=text,
            calls=calls,
            finish_reason=said.finish_reason,
            token_count=len(said.ids),
            prompt_tokens=len(ids),
            padded_s=sum(map(len, padded)) / SAMPLE_RATE_HZ,
        )

    def _compute(self, prompts: Sequence[Prompt]) -> Sequence[Continuation | RequestError]:
        """A batch; where it is too large for the memory, or one of its prompts is wrong, each prompt alone."""
        import torch

        try:
            return self._network.generate(prompts)
        except (ValueError, torch.OutOfMemoryError) as error:
            if len(prompts) == 1:
                return [RequestError(f"{type(error).__name__}: {error}")]
        return [answer for prompt in prompts for answer in self._compute([prompt])]

    def shutdown(self) -> None:
        """Let the batch that is being computed end."""
        self._batches.close()

    def _shape(self, ids: Sequence[int]) -> int:
        return len(ids) if self._network.encodes else 0

    def _key(self, prompt: Prompt) -> Hashable:
        """What prompts of one batch share. Sampled ones share nothing: their texts follow from their own seed. Several
        beams are a batch of their own."""
        return object() if prompt.temperature or prompt.beams > 1 else ("text", self._shape(prompt.ids))


def version() -> str | None:
    """That of the installed package; None where PyTorch is missing, too."""
    with suppress(metadata.PackageNotFoundError):
        return metadata.version("torch") and metadata.version("transformers")
    return None


def check(engine: Engine) -> None:
    """Whether the settings of engines are such that it takes.

    Raises:
        ConfigurationError: several GPUs are to share a model.
    """
    if (engine.tensor_parallel_size or 1) > 1:
        raise ConfigurationError(
            f"--engine.tensor-parallel-size {engine.tensor_parallel_size}: transformers runs a model on one GPU here;"
            " leave it out, or use vLLM"
        )


def start(settings: Settings, checkpoint: Checkpoint, demand: Demand, in_ray: bool) -> TransformersModel:
    """Load a model; the longest request is no concern of it."""
    return TransformersModel(settings, checkpoint)


RUNTIME = Runtime(
    version=version,
    start=start,
    uses_gpus=True,
    shards=False,
    lacks=frozenset({Ability.FOLLOW_SCHEMA}),
    searches=True,
    check=check,
)
