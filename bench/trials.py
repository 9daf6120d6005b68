"""One engine under measurement, with any of vLLM's settings, and Voxtral models of any shapes without weights."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import counting
from bench.harness import demo_language, fitted, in_own_process, steady
from pipeline.models.checkpoint import Checkpoint, inspect
from pipeline.models.demand import of_windows
from pipeline.models.families.voxtral import Voxtral
from pipeline.models.protocol import Chat, Clip, LanguageScorer, Message, Request
from pipeline.models.runtimes import vllm_cpu
from pipeline.models.runtimes.vllm import VllmModel, arguments
from pipeline.schema import SAMPLE_RATE_HZ
from pipeline.settings import Engine, Settings

if TYPE_CHECKING:
    from vllm import RequestOutput, SamplingParams

MODEL = Path(__file__).parents[1] / "demo/model"
ENCODER_FRAMES_PER_S = 50  # Whisper's: mel frames of 10 ms, two by two
WARM_UP = 16  # windows
ANSWER_TOKENS, ASKED_TOKENS = 32, 128  # of an answer, and what a question with its answer takes at most
Done = list[tuple[float, int]]  # when each window was done, in seconds, and the tokens of its text
WORDS = 200, 400  # ids that mean text in the demo's vocabulary, and no special ones in any


@dataclass(frozen=True)
class Trial:
    """One engine: our settings of it, vLLM's own in their place, and what it is asked of each window.

    `tokens_per_s` forces a text of so many tokens per second of audio, whatever the model says. `ask`: the language,
    too. `plain`: text alone, without the probabilities and the loop detection that guards want. `without_audio`: a
    prompt of as many tokens of text instead of audio, for what the encoder costs. `questions`: in place of a transcript
    so many questions, each with an answer of ANSWER_TOKENS. `bare`: vLLM's own LLM.generate in place of ours.
    """

    name: str
    engine: Mapping[str, Any]
    overrides: Mapping[str, Any] = field(default_factory=dict)
    tokens_per_s: float | None = None
    ask: bool = False
    plain: bool = False
    without_audio: bool = False
    questions: int = 0
    bare: bool = False


@dataclass(frozen=True)
class Speed:
    """What came of a trial; per second of the steady state. `counts` are of all its windows."""

    audio_s: float
    tokens: float
    start_s: float
    counts: counting.Counts


Told = Callable[[Trial, Speed], None]


class _TrialModel(VllmModel):
    """Does what a trial asks for."""

    def __init__(self, trial: Trial, settings: Settings, checkpoint: Checkpoint) -> None:
        overrides: dict[str, Any] = {"scheduler_cls": counting.SCHEDULER} | dict(trial.overrides)
        demand = of_windows(settings, checkpoint)
        demand = replace(demand, text_tokens=demand.text_tokens + ASKED_TOKENS) if trial.questions else demand
        super().__init__(settings, checkpoint, demand, **overrides)
        self._rng, self._with_audio = np.random.default_rng(0), self._prompts.prompt
        self.ask_for(trial)

    def ask_for(self, trial: Trial) -> None:
        """What comes next, of the same engine."""
        self._trial = trial
        self._prompts.prompt = self._text if trial.without_audio else self._with_audio

    def _text(self, ids: Sequence[int], audio: np.ndarray, audio_id: int) -> dict[str, Any]:
        return {"prompt_token_ids": self._rng.integers(*WORDS, len(ids)).tolist()}

    async def _generate(
        self, audio: np.ndarray, request: Request, ids: Sequence[int], params: SamplingParams
    ) -> RequestOutput:
        if self._trial.tokens_per_s is not None and params.detokenize:  # not a question
            params.max_tokens = params.min_tokens = _forced(self._trial.tokens_per_s, request.duration_s)
            params.ignore_eos, params.repetition_detection = True, None
        if self._trial.plain and params.detokenize:
            params.logprobs = params.repetition_detection = None
        return await super()._generate(audio, request, ids, params)

    async def _answer(self, prompt: dict[str, Any], params: SamplingParams, priority: int) -> RequestOutput:
        if self._trial.questions:
            params.max_tokens = params.min_tokens = ANSWER_TOKENS
            params.ignore_eos, params.repetition_detection = True, None
        return await super()._answer(prompt, params, priority)


async def _run(trials: Sequence[Trial], windows: Sequence[np.ndarray], counts: Path, told: Told) -> None:
    started = time.monotonic()
    os.environ[counting.COUNTS] = str(counts)
    first = trials[0]
    settings = fitted(Engine(**first.engine), demo_language("score"))
    model = _TrialModel(first, settings, inspect(settings.engine))
    score = model.language_scorer(settings.language.expected, settings.language.methods)
    start_s, before = time.monotonic() - started, counting.Counts()
    window_s = sum(map(len, windows)) / len(windows) / SAMPLE_RATE_HZ
    try:
        for trial in trials:
            model.ask_for(trial)
            done = await _ask(model, score, trial, windows, 2 * settings.engine.max_num_seqs)
            audio_s, tokens = _speed(done, window_s)
            counted = counting.read(counts)
            told(trial, Speed(audio_s, tokens, start_s, counted - before))
            before = counted
    finally:
        model.shutdown()


async def _ask(
    model: _TrialModel, score: LanguageScorer, trial: Trial, windows: Sequence[np.ndarray], at_once: int
) -> Done:
    done, room = Done(), asyncio.Semaphore(at_once)

    async def one(samples: np.ndarray) -> None:
        async with room:
            request, clip = Request(samples), Clip(samples)
            if trial.questions:
                chats = [Chat([Message("user", f"Question {n}?")], [clip]) for n in range(trial.questions)]
                said = await asyncio.gather(*map(model.chat, chats))
            elif trial.ask:
                said = (await asyncio.gather(model.transcribe(request), score(request)))[:1]
            else:
                said = [await model.transcribe(request)]
        done.append((time.monotonic(), sum(each.token_count or 0 for each in said)))

    await asyncio.gather(*map(one, windows[:WARM_UP]))
    done.clear()
    await asyncio.gather(*map(one, windows[WARM_UP:]))
    return done


def _speed(done: Done, window_s: float) -> tuple[float, float]:
    """Audio seconds and tokens per second of the steady state."""
    low, high = steady(done)
    seconds = done[high][0] - done[low][0]
    return (high - low) * window_s / seconds, sum(tokens for _, tokens in done[low:high]) / seconds


def _bare(trial: Trial, windows: Sequence[np.ndarray]) -> Speed:
    """vLLM's own LLM.generate with our settings: all windows in one call, texts of forced length."""
    started = time.monotonic()
    settings = fitted(Engine(**trial.engine), demo_language("score"))
    found = inspect(settings.engine)
    given = arguments(settings, found, of_windows(settings, found)) | dict(trial.overrides)
    given["disable_log_stats"] = False  # its statistics say when each window was done
    with vllm_cpu.environment(given) if settings.engine.device == "cpu" else nullcontext():
        import vllm

        llm = vllm.LLM(**given)
    start_s = time.monotonic() - started
    prompts = Voxtral(llm.get_tokenizer())
    asked, params = list[Any](), list[Any]()
    for at, samples in enumerate(windows):
        audio, count = prompts.padded(samples), _forced(trial.tokens_per_s or 0.0, len(samples) / SAMPLE_RATE_HZ)
        asked.append(prompts.prompt(prompts.transcription(audio, None), audio, at))
        params.append(vllm.SamplingParams(temperature=0.0, max_tokens=count, min_tokens=count, ignore_eos=True))
    try:
        llm.generate(asked[:WARM_UP], params[:WARM_UP], use_tqdm=False)
        answers = llm.generate(asked[WARM_UP:], params[WARM_UP:], use_tqdm=False)
    finally:
        llm.llm_engine.engine_core.shutdown()
    done = Done(sorted((each.metrics.last_token_ts, len(each.outputs[0].token_ids)) for each in answers))  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]
    window_s = sum(map(len, windows)) / len(windows) / SAMPLE_RATE_HZ
    return Speed(*_speed(done, window_s), start_s, counting.Counts())


def _forced(tokens_per_s: float, duration_s: float) -> int:
    return max(1, round(tokens_per_s * duration_s))


def measure_here(trials: Sequence[Trial], windows: str, count: int | None, told: Told) -> None:
    """Run trials of one engine, that of the first, in this process, over the first `count` int16 arrays of an npz file;
    tell each speed as it comes."""
    with np.load(windows) as kept, tempfile.TemporaryDirectory() as folder:
        samples = [kept[name] for name in kept.files[:count]]
        if trials[0].bare:
            told(trials[0], _bare(trials[0], samples))
        else:
            asyncio.run(_run(trials, samples, Path(folder) / "counts.json", told))


def _measure(trial: Trial, windows: str) -> Speed:
    speeds = list[Speed]()
    measure_here([trial], windows, None, lambda _, speed: speeds.append(speed))
    return speeds[0]


def measure(trial: Trial, windows: str) -> Speed:
    """Run a trial in a process of its own, over the int16 arrays of an npz file."""
    return in_own_process(_measure, trial, windows)


def checkpoint(folder: Path, shapes: dict[str, Any]) -> Path:
    """A folder that vLLM takes for a checkpoint of these shapes, but for the weights. The vocabulary is the demo's: its
    tokens are the first of the model's."""
    folder.mkdir()
    encoder = shapes["multimodal"]["whisper_model_args"]["encoder_args"]
    own = {"rope_theta": 1e8, "norm_eps": 1e-5, "max_position_embeddings": 32_768}
    params = json.loads(json.dumps(own | shapes))
    params["multimodal"]["whisper_model_args"]["encoder_args"].setdefault("vocab_size", shapes["vocab_size"])
    tokenizer = json.loads((MODEL / "tekken.json").read_text("utf-8"))
    mels = encoder["audio_encoding_args"]
    tokenizer["audio"]["audio_encoding_config"]["num_mel_bins"] = mels["num_mel_bins"]
    tokenizer["audio"]["chunk_length_s"] = encoder["max_source_positions"] / ENCODER_FRAMES_PER_S
    (folder / "params.json").write_text(json.dumps(params), "utf-8")
    (folder / "tekken.json").write_text(json.dumps(tokenizer), "utf-8")
    return folder


def small_shapes(chunk_s: float = 6.0) -> dict[str, Any]:
    """Shapes for a CPU: those of the demo's model."""
    shapes = json.loads((MODEL / "params.json").read_text("utf-8"))
    encoder = shapes["multimodal"]["whisper_model_args"]["encoder_args"]
    encoder["max_source_positions"] = int(chunk_s * ENCODER_FRAMES_PER_S)
    return shapes


def noise(path: Path, count: int, seconds: float) -> str:
    """Write so many int16 windows of noise into an npz file; its name."""
    rng, length = np.random.default_rng(0), int(seconds * SAMPLE_RATE_HZ)
    np.savez(path, *(rng.integers(-3000, 3000, length, dtype=np.int16) for _ in range(count)))
    return str(path)
