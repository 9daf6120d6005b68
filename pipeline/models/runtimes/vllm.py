"""vLLM in this process: one AsyncLLM, fed continuously."""

from __future__ import annotations

import difflib
import itertools
import json
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import fields
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from pipeline.errors import ConfigurationError
from pipeline.models import vllm_arguments
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.demand import Demand, max_tokens, room
from pipeline.models.family import Chats, Frames, Prompts, asking
from pipeline.models.family import family as load_family
from pipeline.models.language_questions import chosen, scorer
from pipeline.models.padding import PadOnce
from pipeline.models.protocol import (
    Chat,
    DeadModelError,
    Hypothesis,
    LanguageScorer,
    Reply,
    Request,
    RequestError,
)
from pipeline.models.runtime import Runtime
from pipeline.models.runtimes import vllm_cpu
from pipeline.models.runtimes.orphans import END_WITH_PARENT
from pipeline.models.runtimes.vllm_speech import SpeechToText
from pipeline.schema import SAMPLE_RATE_HZ
from pipeline.settings import Engine, Settings

if TYPE_CHECKING:
    from vllm import RequestOutput, SamplingParams

BUILDS = ("vllm", "vllm-cpu")  # the package has either name
BATCHED_TOKENS = 8192  # that one step computes at most: 21 windows of 30 s; vLLM's own choice for servers
CPU_BLOCK_SIZE = 32  # the smallest that vLLM's CPU kernels are tuned for: short prompts still share a prefix
# A pattern of up to 20 tokens that comes 8 times in a row: people who count aloud repeat themselves less.
LOOP = {"max_pattern_size": 20, "min_pattern_size": 1, "min_count": 8}


def prompts_of(checkpoint: Checkpoint) -> type[Prompts]:
    """What makes the prompts of the checkpoint's family."""
    return load_family(checkpoint.family).prompts or SpeechToText


def arguments(settings: Settings, checkpoint: Checkpoint, demand: Demand) -> dict[str, Any]:
    """What vLLM is started with, by its own names, for a demand that fits the context. What it says, and that it ends
    with this process, is set in the environment.

    Raises:
        ConfigurationError: an argument that the user passes is refused.
    """
    engine, verbose, prompts = settings.engine, settings.verbose, prompts_of(checkpoint)
    os.environ["VLLM_LOGGING_LEVEL"] = "INFO" if verbose else "ERROR"
    os.environ[END_WITH_PARENT] = "1"
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "info" if verbose else "error")
    on_cpu, ranks = engine.device == "cpu", engine.tensor_parallel_size or 1
    padded_s = demand.padded_s(checkpoint)
    # Memory profiling assumes one recording of this length: no longer than a request needs.
    needed = math.ceil((prompts.context(padded_s) + demand.text_tokens) / 128) * 128
    max_model_len = engine.max_model_len or min(needed, checkpoint.max_context or needed)
    return {
        "model": checkpoint.model,
        # A name is pinned to the commit that was looked at.
        "revision": None if Path(checkpoint.model).is_absolute() else checkpoint.revision,
        **prompts.load_arguments,
        "dtype": engine.resolved_dtype,
        "max_model_len": max_model_len,
        "max_num_seqs": engine.max_num_seqs,
        # The queue holds all requests for a window next to each other, so that they share the audio's encoding, and its
        # keys and values. Chunked prefill stays as vLLM has it: on, but for encoder-decoder models. Without it the
        # encoder runs 8% less often (docs/performance.md), but vLLM warns of crashes and wrong output.
        "scheduling_policy": "priority",
        "max_num_batched_tokens": max(BATCHED_TOKENS, max_model_len),
        "tensor_parallel_size": ranks,
        "distributed_executor_backend": "mp" if ranks > 1 else None,
        "gpu_memory_utilization": engine.gpu_memory_utilization,
        "kv_cache_memory_bytes": engine.cpu_kv_cache_gb << 30 if on_cpu else None,
        "block_size": CPU_BLOCK_SIZE if on_cpu else None,
        "enforce_eager": on_cpu,
        # Some models would profile memory with minutes of audio (MOSS: 90), or with videos.
        "limit_mm_per_prompt": {
            # vLLM takes no length of 0: without audio, a chunk that never comes.
            "audio": {"count": demand.audios, "length": math.ceil((padded_s or checkpoint.chunk_s) * SAMPLE_RATE_HZ)},
            "image": 0,
            "video": 0,
        },
        # All requests for a window come at once. A cache would spare its later ones the copy into vLLM's process.
        "mm_processor_cache_gb": 0,
        # Under xgrammar, vLLM's own choice, no tokens count as special: a text may hold [TOOL_CALLS].
        "structured_outputs_config": {"backend": "guidance"},
        "disable_log_stats": True,
        "use_tqdm_on_load": verbose,
        **vllm_arguments.passed(engine),
    }


class VllmModel:
    """A speech model in vLLM. Start one per process, and give it many requests at a time."""

    def __init__(
        self, settings: Settings, checkpoint: Checkpoint, demand: Demand, in_ray: bool = False, **overrides: Any
    ) -> None:
        """Load the model onto the visible GPUs, or onto the CPU where `settings.engine.device` is cpu. `overrides` are
        vLLM's own arguments in place of ours: for measurements."""
        given = arguments(settings, checkpoint, demand) | overrides
        with vllm_cpu.processes(given) if settings.engine.device == "cpu" else nullcontext():
            import vllm
            from vllm.v1.engine.async_llm import AsyncLLM

            loggers: list[Any] | None = None
            if in_ray:
                from vllm.v1.metrics.ray_wrappers import RayPrometheusStatLogger

                loggers = [RayPrometheusStatLogger]
            self._llm = AsyncLLM.from_engine_args(vllm.AsyncEngineArgs(**given), stat_loggers=loggers)
        self._vllm, self._max_tokens_per_s = vllm, settings.engine.max_tokens_per_s
        assert self._llm.model_config is not None
        self._context = self._llm.model_config.max_model_len
        family = load_family(checkpoint.family)
        self.abilities = family.abilities
        self._prompts = family.prompts(self._llm.get_tokenizer()) if family.prompts else SpeechToText.of(self._llm)
        self._padded = PadOnce(self._prompts.padded)
        self._ids = itertools.count()

    def language_scorer(self, expected: Sequence[str], methods: Sequence[str]) -> LanguageScorer:
        """Asks all questions for a window at once: next to each other, they share the audio's encoding.

        Raises:
            ConfigurationError: a language that the model does not know.
        """
        questions = chosen(self._prompts.language_questions(expected), methods, self.abilities)

        async def following(
            request: Request, audio: np.ndarray, ids: Sequence[int], wanted: tuple[int, ...]
        ) -> dict[int, float]:
            params = self._vllm.SamplingParams(
                temperature=0.0, max_tokens=1, logprob_token_ids=list(wanted), detokenize=False
            )
            (said,) = (await self._generate(audio, request, ids, params)).outputs
            assert said.logprobs and said.logprobs[0]
            return {i: said.logprobs[0][i].logprob for i in wanted}

        return scorer(questions, self._padded, following)

    async def transcribe(self, request: Request) -> Hypothesis:
        """Transcribe one window of at most the length that vLLM was started for.

        Raises:
            RequestError: vLLM refused or failed this request.
        """
        audio = self._padded(request)
        prompt = asking(self._prompts, request, audio)
        left = room(len(prompt), self._context, "a text")
        most, pads = max_tokens(request.duration_s, self._max_tokens_per_s), frozenset[int]()
        if isinstance(self._prompts, Frames):
            most, pads = self._prompts.frames(audio) - len(prompt) - 1, self._prompts.pads
        params = self._vllm.SamplingParams(
            temperature=request.temperature,
            seed=0 if request.temperature else None,
            max_tokens=min(most, left),
            logprobs=0,
            # pads repeat themselves
            repetition_detection=None if pads else self._vllm.sampling_params.RepetitionDetectionParams(**LOOP),
        )
        (answer,) = (await self._generate(audio, request, prompt, params)).outputs
        reason, count = answer.finish_reason or "unknown", sum(token not in pads for token in answer.token_ids)
        if pads and len(answer.token_ids) == most:
            reason = "stop"  # there are no more frames
        tokens = zip(answer.token_ids, answer.logprobs or [], strict=False)
        logprobs = [position[token].logprob for token, position in tokens if position and token not in pads]
        text = self._prompts.text(answer.text).strip()
        return Hypothesis.of_tokens(text, reason, count, logprobs, len(audio) / SAMPLE_RATE_HZ)

    async def chat(self, chat: Chat) -> Reply:
        """Answer in a conversation whose audio is within the demand that vLLM was started for. Calls that must come are
        begun for the model; those that may come are its own choice, and follow no schema.

        Raises:
            ContextError: the conversation is longer than the model's context.
            RequestError: vLLM refused or failed this request.
        """
        prompts = cast(Chats, self._prompts)
        padded = [self._padded(clip) for clip in chat.clips]
        begun = [prompts.begin_calls] if chat.calls_schema else []
        ids = [*prompts.chat(chat, padded), *begun]
        left = room(len(ids), self._context, "an answer")
        sampling, schema = self._vllm.sampling_params, chat.calls_schema or chat.schema
        params = self._vllm.SamplingParams(
            temperature=chat.temperature,
            top_p=chat.top_p if chat.temperature else 1.0,
            seed=chat.seed if chat.temperature else None,
            max_tokens=min(chat.max_tokens, left),
            detokenize=False,
            repetition_detection=sampling.RepetitionDetectionParams(**LOOP),
            structured_outputs=sampling.StructuredOutputsParams(json=dict(schema)) if schema else None,
        )
        audio_ids = [clip.audio_id for clip in chat.clips]
        # Prompts without audio come first: parts of a recording wait for them.
        output = await self._answer(prompts.chat_prompt(ids, padded, audio_ids), params, min(audio_ids, default=0))
        (answer,) = output.outputs
        text, calls = prompts.reply([*begun, *answer.token_ids])
        return Reply(
            text=text,
            calls=calls,
            finish_reason=answer.finish_reason or "unknown",
            token_count=len(answer.token_ids),
            prompt_tokens=len(ids),
            padded_s=sum(map(len, padded)) / SAMPLE_RATE_HZ,
        )

    def shutdown(self) -> None:
        """Stop vLLM's processes."""
        self._llm.shutdown()
        del self._llm  # now, while Python can still run its finaliser

    async def _generate(
        self, audio: np.ndarray, request: Request, ids: Sequence[int], params: SamplingParams
    ) -> RequestOutput:
        return await self._answer(self._prompts.prompt(ids, audio, request.audio_id), params, request.audio_id)

    async def _answer(self, prompt: dict[str, Any], params: SamplingParams, priority: int) -> RequestOutput:
        params.output_kind, answer = self._vllm.sampling_params.RequestOutputKind.FINAL_ONLY, None
        try:
            async for output in self._llm.generate(
                prompt,  # pyright: ignore[reportArgumentType]
                params,
                f"request-{next(self._ids)}",
                priority=priority,
            ):
                if output.finished:
                    answer = output
        except Exception as error:
            if self._llm.errored:
                raise  # all of vLLM failed, not this request
            raise RequestError(f"{type(error).__name__}: {error}") from error
        if not answer:
            raise RequestError("vLLM ended the request without an answer")
        reason = answer.outputs[0].finish_reason
        if reason == "abort":  # nobody here aborts a request: vLLM is shutting down
            raise DeadModelError("vLLM was told to end")
        if reason == "error":  # a text that was cut, or none at all
            raise RequestError("vLLM failed within the request")
        return answer


def version() -> str | None:
    """That of the installed build."""
    for build in BUILDS:
        with suppress(metadata.PackageNotFoundError):
            return metadata.version(build)
    return None


def check(engine: Engine) -> None:
    """Whether vLLM has the arguments that the user passes. It is imported only where there are any: that takes seconds.

    Raises:
        ConfigurationError: one is refused, or unknown.
    """
    if wanted := vllm_arguments.passed(engine):
        from vllm import AsyncEngineArgs

        known = [field.name for field in fields(AsyncEngineArgs)]
        for name in wanted:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"did you mean {near[0]}?" if near else "see `vllm serve --help=all`"
                raise ConfigurationError(f"--engine.vllm {name}: vLLM {version()} has no such argument ({hint})")


def refusal(schema: Mapping[str, Any]) -> str | None:
    """Why no answer can follow a JSON Schema, in the words of what makes vLLM's grammars; None where one can, or where
    it is not installed."""
    with suppress(ImportError):
        from llguidance import LLMatcher

        grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema), defaults={"whitespace_flexible": True})
        return " ".join(LLMatcher.validate_grammar(grammar).split()) or None
    return None


RUNTIME = Runtime(version=version, start=VllmModel, uses_gpus=True, check=check, refusal=refusal)
