"""The demo's model in the form of transformers, which computes for real; and a small Whisper with random weights."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jiwer
import numpy as np
import pytest
import torch
import transformers
from pydantic_extra_types.language_code import LanguageAlpha2

from demo.training import hugging_face
from demo.training.speech import DIGITS
from jobs import ask, transcribe
from pipeline import models
from pipeline.audio import media
from pipeline.models import checkpoint
from pipeline.models.demand import of_windows
from pipeline.models.protocol import Chat, Clip, Hypothesis, LanguageScores, Message, Model, Request, RequestError
from pipeline.models.runtimes.networks import _Loops, _repeats
from pipeline.models.runtimes.vllm import LOOP
from pipeline.settings import Audio, Engine, Language, Settings
from tests.conftest import DEMO, run_job

CLIPS = [json.loads(line) for line in (DEMO / "held_out/manifest.jsonl").read_text("utf-8").splitlines()]
SOME = CLIPS[::5]
CHUNK = 96_000  # samples of the demo's model
LANGUAGES = Language(expected=tuple(map(LanguageAlpha2, DIGITS)))
Found = TypeVar("Found")


def samples(clips: Sequence[dict[str, Any]]) -> list[np.ndarray]:
    return [np.concatenate(list(media.decode(DEMO / "held_out" / clip["path"], Audio()))) for clip in clips]


def started(model: Path, **engine: Any) -> Model:
    settings = Settings(
        input="in", output="out", engine=Engine(model=str(model), device="cpu", **engine), language=LANGUAGES
    )
    found = checkpoint.inspect(settings.engine)
    settings = checkpoint.fit(settings, found)
    return models.start(settings, found, of_windows(settings, found))


def answers(model: Model, ask: Callable[[Model], Sequence[Awaitable[Found]]]) -> list[Found]:
    async def gather() -> list[Found]:
        return await asyncio.gather(*ask(model))

    return asyncio.run(gather())


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hugging_face")
    hugging_face.convert(DEMO / "model", folder)
    return folder


@pytest.fixture(scope="module")
def model(converted: Path) -> Iterator[Model]:
    model = started(converted)
    yield model
    model.shutdown()


def test_the_words_and_languages_are_right(model: Model) -> None:
    windows = samples(SOME)
    said = answers(model, lambda it: [it.transcribe(Request(window)) for window in windows])
    assert jiwer.wer([clip["reference"] for clip in SOME], [each.text for each in said]) <= 0.05
    assert {each.finish_reason for each in said} == {"stop"}
    assert all(each.mean_logprob is not None and -1 < each.mean_logprob < 0 for each in said)
    score = model.language_scorer(LANGUAGES.expected, LANGUAGES.methods)
    scores = answers(model, lambda _: [score(Request(window)) for window in windows])
    assert {method for each in scores for method in each.languages} == {"score", "words"}
    tags = [max(each.languages["score"], key=lambda tag: each.languages["score"][tag]) for each in scores]
    assert tags == [clip["language"] for clip in SOME]


def test_a_batch_changes_nothing(model: Model) -> None:
    windows = [window[: len(window) // part] for part, window in enumerate(samples(SOME[:4]), start=1)]
    together = answers(model, lambda it: [it.transcribe(Request(window)) for window in windows])
    alone = [answers(model, lambda it, window=window: [it.transcribe(Request(window))])[0] for window in windows]
    assert [each.text for each in together] == [each.text for each in alone]
    assert [each.token_count for each in together] == [each.token_count for each in alone]
    for one, other in zip(together, alone, strict=True):
        assert one.mean_logprob == pytest.approx(other.mean_logprob, abs=1e-4)


def test_a_text_ends_at_its_limit(converted: Path) -> None:
    model = started(converted, max_tokens_per_s=0.01)
    (said,) = answers(model, lambda it: [it.transcribe(Request(samples(SOME[:1])[0]))])
    model.shutdown()
    assert (said.finish_reason, said.token_count) == ("length", 9)  # 8 for any window


def test_a_prompt_without_room_fails_alone(converted: Path) -> None:
    model = started(converted, max_model_len=128)
    window = samples(SOME[:1])[0]
    long, short = Request(np.tile(window, 3)), Request(window[:32_000])
    assert long.duration_s > 6

    async def ask() -> list[Hypothesis | BaseException]:
        asked = map(model.transcribe, (long, short))
        return await asyncio.gather(*asked, return_exceptions=True)

    failed, said = asyncio.run(ask())
    model.shutdown()
    assert isinstance(failed, RequestError) and "no room" in str(failed)
    assert isinstance(said, Hypothesis) and said.text


def test_second_attempts_are_sampled_and_come_out_the_same_again(model: Model) -> None:
    windows = samples(SOME[:3])

    def attempts(windows: Sequence[np.ndarray], temperature: float) -> list[str]:
        asked = [Request(window, temperature=temperature) for window in windows]
        return [each.text for each in answers(model, lambda it: [it.transcribe(one) for one in asked])]

    first = attempts(windows, 2.0)
    assert first == attempts(windows[::-1], 2.0)[::-1]
    assert first != attempts(windows, 0.0)


def test_questions_are_answered(model: Model) -> None:
    clips = SOME[::4]
    question = [Message("user", "Which language is spoken?")]
    replies = answers(
        model, lambda it: [it.chat(Chat(question, [Clip(window)], max_tokens=60)) for window in samples(clips)]
    )
    assert [reply.text for reply in replies] == [clip["language"] for clip in clips]
    assert all(reply.calls is None and reply.padded_s >= 6.0 for reply in replies)


@pytest.mark.slow
def test_a_job_runs_in_it(converted: Path, tmp_path: Path, shared_ray: None) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for clip in SOME[::8]:
        (folder / clip["path"]).write_bytes((DEMO / "held_out" / clip["path"]).read_bytes())
    (folder / "broken.ogg").write_bytes(b"OggS, or so it says")
    given = ["--input", str(folder), "--engine.model", str(converted), "--language.expected", ",".join(DIGITS)]
    run = run_job([*given, "--engine.device", "cpu"], str(tmp_path / "out"))
    for clip in SOME[::8]:
        row = run.of(clip["path"])
        assert (row["outcome"], row["text"], row["language"]) == ("ok", clip["reference"], clip["language"])
        assert (row["runtime"], row["runtime_version"]) == ("transformers", transformers.__version__)
    assert run.of("broken.ogg")["outcome"] == "failed"


@pytest.mark.parametrize("size", [1, 2, 20, 21])
def test_a_loop_is_a_pattern_that_comes_so_often(size: int) -> None:
    pattern = list(range(size))
    assert _repeats(torch.tensor([99, *pattern * LOOP["min_count"]])) == (size <= LOOP["max_pattern_size"])
    assert not _repeats(torch.tensor([99, *(pattern * LOOP["min_count"])[1:]]))


def test_beams_that_repeat_themselves_end() -> None:
    prompt, looping, counting = [7] * 20, [5] * 8, list(range(8))
    beams = torch.tensor([[*prompt, *looping], [*prompt, *counting]])
    assert _Loops(len(prompt))(beams, None).tolist() == [True, False]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--engine.tensor-parallel-size", "2"], "transformers runs a model on one GPU"),
        (["--engine.vllm", "quantization=fp8"], "is for vLLM, and transformers runs this model"),
        (["--engine.runtime", "vllm"], "needs params.json, which it lacks; --engine.runtime transformers runs it"),
        (["--engine.runtime", "scripted"], "voxtral models run in vllm or transformers"),
        (["--engine.runtime", "torch"], "--engine.runtime torch: must be one of auto, vllm, transformers"),
    ],
)
def test_what_it_does_not_do_is_one_line(
    flags: list[str], words: str, converted: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = ["--input", str(DEMO / "held_out"), "--output", str(tmp_path / "out"), "--engine.model", str(converted)]
    assert transcribe.main([*given, "--engine.device", "cpu", *flags]) == 2
    said = capfd.readouterr().err
    assert words in said and len(said.splitlines()) == 1


def test_a_schema_needs_another_runtime(converted: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    task = tmp_path / "task.yaml"
    task.write_text("turns: [How many]\nschema: {type: object, properties: {digits: {type: array}}}\n")
    given = ["--input", str(DEMO / "held_out"), "--output", str(tmp_path / "out"), "--engine.model", str(converted)]
    assert ask.main([*given, "--task", str(task), "--engine.device", "cpu"]) == 2
    assert "--engine.runtime transformers: cannot hold answers to a schema" in capfd.readouterr().err


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of Whisper in every respect but size and sense: its weights are random."""
    folder = tmp_path_factory.mktemp("whisper")
    letters = {letter: at for at, letter in enumerate("abcdefghijklmnopqrstuvwxyzĠ")}
    special = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>", "<|transcribe|>"]
    special += ["<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    (folder / "vocab.json").write_text(json.dumps(letters | {"<|endoftext|>": len(letters)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.WhisperTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": special[1:]})
    tokenizer.save_pretrained(folder)
    ids = tokenizer.get_vocab()
    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        vocab_size=len(tokenizer),
        d_model=64,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_target_positions=448,
        init_std=0.5,
        bos_token_id=ids["<|endoftext|>"],
        eos_token_id=ids["<|endoftext|>"],
        pad_token_id=ids["<|endoftext|>"],
        decoder_start_token_id=ids["<|startoftranscript|>"],
        suppress_tokens=[1, 2],
        begin_suppress_tokens=None,
    )
    transformers.WhisperForConditionalGeneration(config).save_pretrained(folder)
    transformers.WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)
    return folder


def said_of(
    model: Model, requests: Sequence[Request], languages: Sequence[str]
) -> tuple[list[Hypothesis], list[LanguageScores]]:
    """All that a model says of them; in one event loop, which is all that vLLM takes."""
    score = model.language_scorer(languages, LANGUAGES.methods)

    async def ask() -> tuple[list[Hypothesis], list[LanguageScores]]:
        said = await asyncio.gather(*(model.transcribe(request) for request in requests))
        return said, await asyncio.gather(*map(score, requests))

    return asyncio.run(ask())


def test_whisper_runs_in_it(whisper: Path) -> None:
    model = started(whisper, runtime="transformers")
    windows = [Request(window, "de") for window in samples(SOME[:3])]
    said, scores = said_of(model, windows, ["en", "de"])
    model.shutdown()
    assert all(each.token_count and each.mean_logprob and each.padded_s == 30.0 for each in said)
    for each in scores:
        assert sum(each.languages["token"].values()) == pytest.approx(1.0)
        assert each.no_speech_probability is not None


def test_a_beam_search_finds_likelier_texts(whisper: Path) -> None:
    windows = [Request(window, "de") for window in samples(SOME[:4])]
    found = list[list[Hypothesis]]()
    for beams in (1, 4):
        model = started(whisper, runtime="transformers", beams=beams)
        found.append(said_of(model, windows, ["en", "de"])[0])
        model.shutdown()
    pairs = list(zip(*found, strict=True))
    assert all(two.token_count and two.finish_reason in ("stop", "length", "repetition") for _, two in pairs)
    assert all((two.mean_logprob or -99) >= (one.mean_logprob or -99) - 1e-4 for one, two in pairs)
    assert any(one.text != two.text for one, two in pairs)


def test_a_beam_search_says_what_is_certain_and_how_sure_it_is(model: Model, converted: Path) -> None:
    windows = samples(SOME[:4])
    windows.append(np.concatenate(windows[:3]))
    assert len(windows[-1]) > 2 * CHUNK, "audio of three chunks"
    other = started(converted, beams=3)
    one, two = (answers(it, lambda it: [it.transcribe(Request(window)) for window in windows]) for it in (model, other))
    other.shutdown()
    for greedy, searched in zip(one, two, strict=True):
        assert (searched.text, searched.token_count) == (greedy.text, greedy.token_count)
        assert searched.finish_reason == "stop"
        assert searched.mean_logprob == pytest.approx(greedy.mean_logprob, abs=1e-4)


def test_other_runtimes_have_no_beams(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    given = ["--input", str(DEMO / "held_out"), "--output", str(tmp_path / "out"), "--engine.device", "cpu"]
    assert transcribe.main([*given, "--engine.model", str(DEMO / "model"), "--engine.beams", "5"]) == 2
    said = capfd.readouterr().err
    assert "--engine.beams 5: vllm follows one text at a time; leave it out, or add" in said
    assert len(said.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("which", ["voxtral", "whisper"])
def test_vllm_says_the_same(which: str, model: Model, whisper: Path) -> None:
    """All of the held-out clips, and every probability."""
    if which == "voxtral":
        ours, theirs, languages = model, started(DEMO / "model"), list(DIGITS)
        requests = [Request(window) for window in samples(CLIPS)]
    else:
        ours, theirs = (started(whisper, runtime=name) for name in ("transformers", "vllm"))
        languages = ["en", "de"]
        requests = [Request(window, "de", translate=at % 2 == 1) for at, window in enumerate(samples(SOME))]
    (said, scores), (others, other_scores) = (said_of(each, requests, languages) for each in (ours, theirs))
    theirs.shutdown()
    for one, two in zip(said, others, strict=True):
        assert (one.text, one.finish_reason, one.token_count) == (two.text, two.finish_reason, two.token_count)
        assert one.mean_logprob == pytest.approx(two.mean_logprob, abs=1e-4)
    for one, two in zip(scores, other_scores, strict=True):
        for method, shares in one.languages.items():
            assert shares == pytest.approx(two.languages[method], abs=1e-4)
