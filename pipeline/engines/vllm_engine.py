"""The only file that touches vLLM: one AsyncLLM, fed continuously."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.engines.base import EngineError, Hypothesis, Utterance
from pipeline.engines.checkpoint import Checkpoint
from pipeline.engines.voxtral import VoxtralPrompt
from pipeline.schema import SAMPLE_RATE_HZ
from pipeline.settings import Engine

if TYPE_CHECKING:
    from vllm import RequestOutput, SamplingParams

AUDIO_TOKENS_PER_S = 12.5  # Voxtral's frame rate
PROMPT_TOKENS = 16  # what stands around the audio in the prompt, with room to spare
SHORTEST_LIMIT = 8  # tokens of text that any window may have
CPU_BLOCK_SIZE = 32  # the smallest that vLLM's CPU kernels are tuned for: short prompts still share a prefix


class VllmEngine:
    """A Voxtral checkpoint in vLLM. Start one per process, and give it many utterances at a time."""

    def __init__(self, settings: Engine, checkpoint: Checkpoint, max_window_s: float, verbose: bool = False) -> None:
        """Load the model onto the visible GPUs, or onto the CPU where `settings.device` is cpu."""
        os.environ["VLLM_LOGGING_LEVEL"] = "INFO" if verbose else "ERROR"
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "info" if verbose else "error")
        on_cpu, ranks = settings.device == "cpu", settings.tensor_parallel_size or 1
        if on_cpu:  # vLLM's sampler compiles a function even when eager, which takes a C++ compiler and its time
            os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")
            if ranks > 1:  # left alone, vLLM wants a NUMA node for each rank
                os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", _shares(sorted(os.sched_getaffinity(0)), ranks))
        import vllm
        from vllm.v1.engine.async_llm import AsyncLLM

        self._vllm, self._settings = vllm, settings
        padded_s = math.ceil(max_window_s / checkpoint.chunk_s) * checkpoint.chunk_s
        needed = math.ceil(padded_s * AUDIO_TOKENS_PER_S) + PROMPT_TOKENS + self._max_tokens(max_window_s)
        arguments = vllm.AsyncEngineArgs(
            model=checkpoint.model,
            # A name is pinned to the commit that was looked at.
            revision=None if Path(checkpoint.model).is_absolute() else checkpoint.revision,
            tokenizer_mode="mistral",
            config_format="mistral",
            load_format="mistral",
            dtype=("float32" if on_cpu else "bfloat16") if settings.dtype == "auto" else settings.dtype,
            # Memory profiling assumes one recording of this length: no longer than a window needs.
            max_model_len=settings.max_model_len or math.ceil(needed / 128) * 128,
            max_num_seqs=settings.max_num_seqs,
            tensor_parallel_size=ranks,
            distributed_executor_backend="mp" if ranks > 1 else None,
            gpu_memory_utilization=settings.gpu_memory_utilization,
            kv_cache_memory_bytes=settings.cpu_kv_cache_gb << 30 if on_cpu else None,
            block_size=CPU_BLOCK_SIZE if on_cpu else None,  # pyright: ignore[reportArgumentType]
            enforce_eager=on_cpu,
            limit_mm_per_prompt={"audio": 1},
            mm_processor_cache_gb=0,  # no window comes twice
            disable_log_stats=True,
            use_tqdm_on_load=verbose,
        )
        self._llm = AsyncLLM.from_engine_args(arguments)
        self._prompt = VoxtralPrompt(self._llm.get_tokenizer().mistral, settings.languages)  # pyright: ignore
        self._ids = itertools.count()

    async def transcribe(self, utterance: Utterance) -> Hypothesis:
        """Transcribe one window of at most the length that the engine was started for.

        Raises:
            EngineError: vLLM refused or failed this request.
        """
        audio, name = self._prompt.padded(utterance.samples), f"window-{next(self._ids)}"
        prompt = self._prompt.transcription(audio, utterance.language)
        max_tokens = self._max_tokens(utterance.duration_s)
        params = self._vllm.SamplingParams(temperature=0.0, max_tokens=max_tokens, logprobs=0)
        (answer,) = (await self._generate(name, audio, prompt, params)).outputs
        language, probability = utterance.language, None
        if language is None and answer.text.strip() and self._settings.tag_language:
            with suppress(EngineError):  # the text is worth keeping without a tag
                language, probability = await self._language(name, audio)
        return Hypothesis(
            text=answer.text.strip(),
            language=language,
            language_probability=probability,
            finish_reason=answer.finish_reason or "unknown",
            token_count=len(answer.token_ids),
            mean_logprob=_mean_logprob(answer.cumulative_logprob, len(answer.token_ids)),
            padded_s=len(audio) / SAMPLE_RATE_HZ,
        )

    def shutdown(self) -> None:
        """Stop vLLM's processes."""
        self._llm.shutdown()
        del self._llm  # now, while Python can still run its finaliser

    def _max_tokens(self, seconds: float) -> int:
        return SHORTEST_LIMIT + math.ceil(seconds * self._settings.max_tokens_per_s)

    async def _language(self, name: str, audio: np.ndarray) -> tuple[str, float]:
        """Ask for the language. The audio's prefix is in the cache: each question costs one token."""
        answers = {}
        for at, question in enumerate(self._prompt.questions):
            prompt = [*self._prompt.before_language(audio), *question.prefix]
            params = self._vllm.SamplingParams(
                temperature=0.0, max_tokens=1, logprob_token_ids=list(question.following), detokenize=False
            )
            (answer,) = (await self._generate(f"{name}-language-{at}", audio, prompt, params, name)).outputs
            assert answer.logprobs
            answers[question.prefix] = {i: answer.logprobs[0][i].logprob for i in question.following}
        return self._prompt.language(answers)

    async def _generate(
        self,
        request_id: str,
        audio: np.ndarray,
        prompt: Sequence[int],
        params: SamplingParams,
        audio_id: str | None = None,
    ) -> RequestOutput:
        params.output_kind = self._vllm.sampling_params.RequestOutputKind.FINAL_ONLY
        request = self._vllm.TokensPrompt(
            prompt_token_ids=list(prompt),
            multi_modal_data={"audio": [(audio, SAMPLE_RATE_HZ)]},
            multi_modal_uuids={"audio": [audio_id or request_id]},  # spares hashing the audio
        )
        try:
            async for output in self._llm.generate(request, params, request_id):
                if output.finished:
                    return output
        except Exception as error:
            if self._llm.errored:
                raise  # the engine is dead, not this request
            raise EngineError(f"{type(error).__name__}: {error}") from error
        raise EngineError("vLLM ended the request without an answer")


def _shares(cpus: Sequence[int], ranks: int) -> str:
    """CPU numbers for each rank: "0,1|2,3"."""
    return "|".join(",".join(map(str, cpus[rank::ranks] or cpus)) for rank in range(ranks))


def _mean_logprob(cumulative: float | None, count: int) -> float | None:
    return cumulative / count if cumulative is not None and count else None
