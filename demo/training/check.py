"""Measure the demo checkpoint through the real engine: `make demo-check`.

Word error rate and language accuracy on demo/held_out, whose voices training did not have; how often the answer to a
question is right, by skill; and whether vLLM says what the training code says on the same audio.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jiwer
import numpy as np
import torch
from pydantic_extra_types.language_code import LanguageAlpha2
from safetensors.torch import load_file

from demo.training.measure import Example, answered, audio_of, examples
from demo.training.mixture import NAMES
from demo.training.model import SmallVoxtral
from demo.training.prompts import Prompts
from demo.training.speech import DIGITS, SAMPLE_RATE_HZ
from demo.training.vocabulary import CHUNK_S, EOS, decode
from pipeline import models
from pipeline.audio import media
from pipeline.models.checkpoint import fit, inspect
from pipeline.models.demand import Demand, of_windows
from pipeline.models.protocol import Request
from pipeline.models.runtimes.vllm import arguments
from pipeline.settings import Audio, Engine, Language, Settings

HERE = Path(__file__).parents[1]
EACH = 100  # examples of a skill


def own_model() -> SmallVoxtral:
    model = SmallVoxtral()
    model.load_state_dict(load_file(HERE / "model/consolidated.safetensors"))
    return model.eval()


def training_code_texts(windows: Sequence[np.ndarray]) -> list[str]:
    """What the training code's model says of int16 samples of at most one chunk each."""
    model = own_model()
    waveforms = torch.zeros(len(windows), CHUNK_S * SAMPLE_RATE_HZ)
    for at, samples in enumerate(windows):
        waveforms[at, : len(samples)] = torch.from_numpy(samples / np.float32(32768))
    return [decode(ids) for ids in model.transcribe(waveforms)]


async def engine_answers(windows: Sequence[np.ndarray]) -> list[tuple[str, str]]:
    """Text and language that the engine finds in them; the language by the model's own score alone."""
    settings = Settings(
        input="none",
        output="none",
        engine=Engine(model=str(HERE / "model"), device="cpu"),
        language=Language(expected=tuple(map(LanguageAlpha2, DIGITS)), methods=("score",)),
    )
    checkpoint = inspect(settings.engine)
    settings = fit(settings, checkpoint)
    model = models.start(settings, checkpoint, of_windows(settings, checkpoint))
    score = model.language_scorer(settings.language.expected, settings.language.methods)

    async def answer(samples: np.ndarray) -> tuple[str, str]:
        shares = (await score(Request(samples))).languages["score"]
        return (await model.transcribe(Request(samples))).text, max(shares, key=lambda language: shares[language])

    try:
        return await asyncio.gather(*(answer(samples) for samples in windows))
    finally:
        model.shutdown()


def engine_rights(asked: Sequence[Example]) -> list[bool]:
    """Whether vLLM, decoding greedily, gives exactly the right answer to each."""
    settings = Settings(input="none", output="none", engine=Engine(model=str(HERE / "model"), device="cpu"))
    given = arguments(settings, inspect(settings.engine), Demand(2 * CHUNK_S, 800, audios=2))
    import vllm

    llm = vllm.LLM(**given)
    prompts = [
        {"prompt_token_ids": list(example.ids)}
        | ({"multi_modal_data": {"audio": audio_of(example)}} if example.recordings else {})
        for example in asked
    ]
    params = vllm.SamplingParams(temperature=0.0, max_tokens=80, detokenize=False)
    outputs = llm.generate(prompts, params, use_tqdm=False)  # pyright: ignore[reportArgumentType]
    said = [[i for i in output.outputs[0].token_ids if i != EOS] for output in outputs]
    return [
        ids == list(example.answer[:-1]) or (example.skill == "same" and _verdict(ids) == _verdict(example.answer))
        for ids, example in zip(said, asked, strict=True)
    ]


def _verdict(ids: Sequence[int]) -> str:
    """Of an answer that writes down both numbers before it."""
    return decode(list(ids)).rpartition(": ")[2]


def skills_table() -> None:
    """The share of right answers by skill, as a table for demo/README.md."""
    with tempfile.TemporaryDirectory() as folder:
        asked = examples(Prompts(Path(folder)), EACH, seed=11)
    rights, own = engine_rights(asked), answered(own_model(), asked)
    print(f"\n| skill | right of {EACH} |\n|---|---|")
    for skill in dict.fromkeys(NAMES):
        if shares := [right for right, example in zip(rights, asked, strict=True) if example.skill == skill]:
            print(f"| {skill} | {np.mean(shares):.0%} |")
    exact = [a == b for a, b, one in zip(rights, own, asked, strict=True) if one.skill != "same"]
    print(f"\nvLLM and the training code are right on the same answers in {sum(exact)} of {len(exact)}")


def main() -> None:
    clips = [json.loads(line) for line in (HERE / "held_out/manifest.jsonl").read_text("utf-8").splitlines()]
    windows = [np.concatenate(list(media.decode(HERE / "held_out" / clip["path"], Audio()))) for clip in clips]
    answers = asyncio.run(engine_answers(windows))
    expected = training_code_texts(windows)
    for language in DIGITS:
        own = [at for at, clip in enumerate(clips) if clip["language"] == language]
        wer = jiwer.wer([clips[at]["reference"] for at in own], [answers[at][0] for at in own])
        right = np.mean([answers[at][1] == language for at in own])
        print(f"{language}: word error rate {wer:.1%}, language right {right:.1%}, {len(own)} clips")
    words = jiwer.process_words([clip["reference"] for clip in clips], [text for text, _ in answers])
    right = np.mean([tag == clip["language"] for (_, tag), clip in zip(answers, clips, strict=True)])
    count = words.hits + words.substitutions + words.deletions
    print(f"all: word error rate {words.wer:.1%} over {count} words, language right {right:.1%}")
    same = sum(text == other for (text, _), other in zip(answers, expected, strict=True))
    print(f"vLLM and the training code agree on {same} of {len(clips)} clips", flush=True)
    skills_table()


if __name__ == "__main__":
    main()
