"""What bench.gpu measures, in the order of its value: engines, and what each is asked while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.roofline import GPUS, SHAPES, Gpu, Work, cost
from bench.trials import Trial

TOKENS_PER_S = 3.0
CHUNK_S = 30.0
SHAPES_OF = {"small": SHAPES["Voxtral-Small-24B-2507"], "mini": SHAPES["Voxtral-Mini-3B-2507"]}
CEILINGS = "ceilings"
# Guesses, as no GPU has run it: seconds that an engine takes to start and to answer.
EXPECTED_S, LIMIT_S = {"small": 100.0, "mini": 70.0}, 240.0

_TEXTS = Trial("transcripts", {}, tokens_per_s=TOKENS_PER_S)
_ASKED = Trial("transcripts and the language question", {}, tokens_per_s=TOKENS_PER_S, ask=True)
_ONE = Trial("one token: encoder and prefill", {}, tokens_per_s=0.0)
_TEXT_ALONE = Trial("one token, text in place of audio: prefill", {}, tokens_per_s=0.0, without_audio=True)
_BARE = Trial("transcripts by LLM.generate", {}, tokens_per_s=TOKENS_PER_S, bare=True)
_PARTS = _ASKED, _ONE, _TEXT_ALONE


@dataclass(frozen=True)
class Engines:
    """One engine's settings, and its trials; `numbers` is bf16, or fp8 weights and activations by vLLM."""

    name: str
    model: str
    numbers: str
    seqs: int
    trials: tuple[Trial, ...] = (_TEXTS,)
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @property
    def expected_s(self) -> float:
        return EXPECTED_S[self.model] + 20.0 * (len(self.trials) - 1)

    @property
    def limit_s(self) -> float:
        return LIMIT_S + 40.0 * (len(self.trials) - 1)

    @property
    def windows(self) -> int:
        """Enough for a steady state: four times what the engine computes at once."""
        return max(1024 if self.model == "mini" else 512, 4 * self.seqs)


PLAN = (
    Engines("mini bf16 64", "mini", "bf16", 64),  # does it start?
    Engines("small bf16 64", "small", "bf16", 64, (_TEXTS, *_PARTS)),
    Engines("small bf16 64 bare", "small", "bf16", 64, (_BARE,)),
    Engines("small bf16 256", "small", "bf16", 256),
    Engines("small fp8 256", "small", "fp8", 256, (_TEXTS, _ONE)),
    Engines("small bf16 64 unchunked", "small", "bf16", 64, (_TEXTS, _ASKED), {"enable_chunked_prefill": False}),
    Engines("small fp8 64", "small", "fp8", 64),
    Engines("small bf16 128", "small", "bf16", 128),
    Engines("mini bf16 256", "mini", "bf16", 256, (_TEXTS, *_PARTS)),
    Engines("mini bf16 64 bare", "mini", "bf16", 64, (_BARE,)),
    Engines("mini fp8 256", "mini", "fp8", 256),
    Engines("small bf16 64 batched 16384", "small", "bf16", 64, (_TEXTS,), {"max_num_batched_tokens": 16384}),
    Engines("mini bf16 128", "mini", "bf16", 128),
    Engines("small bf16 64 again", "small", "bf16", 64),
)


def roofline(step: str, trial: str, gpu: str, ranks: int) -> float | None:
    """Audio seconds per second that a step's transcripts cannot pass on a GPU, by its data sheet; None where that is
    not known."""
    engines = next((engines for engines in PLAN if engines.name == step), None)
    sheet = next((sheet for name, sheet in GPUS.items() if name.split()[0] in gpu), None)
    if engines is None or sheet is None or trial not in (_TEXTS.name, _ASKED.name, _BARE.name):
        return None
    work = Work(
        window_s=CHUNK_S,
        tokens_per_s=TOKENS_PER_S,
        batch=engines.seqs,
        questions=2 if trial == _ASKED.name else 0,
    )
    if engines.numbers == "fp8":
        return cost(SHAPES_OF[engines.model], work, 1.0).speed(Gpu(2 * sheet.flops, sheet.bytes_s), ranks)
    return cost(SHAPES_OF[engines.model], work).speed(sheet, ranks)
