from __future__ import annotations

import asyncio
import math
import os
import subprocess
import sys
import threading
import weakref
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import psutil
import pytest
from huggingface_hub import constants
from hypothesis import given
from hypothesis import strategies as st
from mistral_common.protocol.transcription.request import TranscriptionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

from bench import counting
from pipeline.errors import ConfigurationError
from pipeline.models import checkpoint
from pipeline.models.candidates import Choice
from pipeline.models.families import voxtral, whisper
from pipeline.models.protocol import EngineError, PadOnce, Utterance
from pipeline.models.runtimes.orphans import END_WITH_PARENT
from pipeline.models.runtimes.vllm import CPU_BLOCK_SIZE, VllmEngine
from pipeline.settings import Engine, Language, Segmentation, Settings
from tests.conftest import DEMO


@dataclass
class OfVllm:
    """vLLM's tokenizer holds mistral_common's."""

    mistral: MistralTokenizer


@pytest.fixture(scope="module")
def tokenizer() -> OfVllm:
    return OfVllm(MistralTokenizer.from_file(str(DEMO / "model" / "tekken.json")))


@pytest.mark.parametrize("language", [None, "en", "nl"])
@pytest.mark.parametrize("seconds", [0.5, 6.0, 7.0])
def test_prompts_are_mistral_commons(tokenizer: OfVllm, language: str | None, seconds: float) -> None:
    prompt = voxtral.Voxtral(tokenizer, ["en", "de"])
    samples = np.zeros(int(seconds * 16_000), np.int16)
    padded = prompt.padded(samples)
    assert len(padded) == math.ceil(seconds / 6) * 6 * 16_000
    request = TranscriptionRequest(model="x", audio=voxtral._silence(len(samples)), language=language)  # pyright: ignore
    encoded = tokenizer.mistral.encode_transcription(request)
    assert prompt.transcription(padded, language) == encoded.tokens
    assert len(encoded.audios[0].audio_array) == len(padded)


def test_padding_keeps_the_samples(tokenizer: OfVllm) -> None:
    prompt = voxtral.Voxtral(tokenizer, ["en"])
    samples = np.array([-32768, 0, 16384], np.int16)
    assert prompt.padded(samples)[:4].tolist() == [-1.0, 0.0, 0.5, 0.0]
    assert prompt.padded(samples).dtype == np.float32


def test_all_requests_for_a_window_share_one_padded_array(tokenizer: OfVllm) -> None:
    pad = PadOnce(voxtral.Voxtral(tokenizer, ["en"]).padded)
    window = Utterance(np.full(16_000, 16384, np.int16))
    audio = pad(window)
    assert audio[0] == 0.5
    assert pad(replace(window, language="en")) is audio
    assert pad(Utterance(np.zeros(16_000, np.int16)))[0] == 0.0
    held = weakref.ref(audio)
    del audio
    assert held() is None, "it goes with the last request that holds it"


def test_languages_are_scored_as_whole_strings(tokenizer: OfVllm) -> None:
    # en and de are one token each behind `lang`; nl is spelt in bytes: ":", "n", "l".
    prompt = voxtral.Voxtral(tokenizer, ["en", "de", "nl"])
    choice = prompt.witnesses["score"].choice
    questions = {len(question.prefix): question for question in choice.questions}
    assert sorted(questions) == [1, 2, 3]
    assert len(questions[1].following) == 3
    chances = {"en": 0.2, "de": 0.1, "nl": 0.7 * 0.5 * 0.4}
    en, de, colon = (prompt._language_ids(x)[1] for x in ("en", "de", "nl"))
    _, _, n, l_ = prompt._language_ids("nl")
    answers = {
        questions[1].prefix: {en: math.log(0.2), de: math.log(0.1), colon: math.log(0.7)},
        questions[2].prefix: {n: math.log(0.5)},
        questions[3].prefix: {l_: math.log(0.4)},
    }
    scores = {name: math.exp(value) for name, value in choice.logprobs(answers).items()}
    assert scores == pytest.approx(chances)


@pytest.mark.parametrize("languages", [["en"], ["en", "de"]])
def test_one_question_does_where_one_token_tells(tokenizer: OfVllm, languages: list[str]) -> None:
    (question,) = voxtral.Voxtral(tokenizer, languages).witnesses["score"].choice.questions
    assert len(question.following) == len(languages)


def test_voxtral_is_asked_in_words_too(tokenizer: OfVllm) -> None:
    prompt = voxtral.Voxtral(tokenizer, ["en", "nl"])
    ids = prompt.witnesses["words"].ask(prompt.padded(np.zeros(16_000, np.int16)))
    assert ids[: len(ids) // 2] == prompt.transcription(np.zeros(6 * 16_000), None)[: len(ids) // 2], (
        "the audio's prefix"
    )
    assert "Which language is spoken? Answer with one of: en, nl." in tokenizer.mistral.decode(ids)
    assert len(ids) < prompt.context(6.0)


class WhisperVocabulary:
    """What our Whisper family asks of transformers' tokenizer."""

    def __init__(self, *names: str) -> None:
        fixed = ("startoftranscript", "transcribe", "notimestamps", "nocaptions", "en", "de", *names)
        self._ids = {f"<|{name}|>": number for number, name in enumerate(fixed)}

    def get_vocab(self) -> dict[str, int]:
        return self._ids


def test_whisper_is_told_the_language_and_asked_for_it() -> None:
    prompt = whisper.Whisper(WhisperVocabulary(), ["en", "de"])
    audio = prompt.padded(np.zeros(16_000, np.int16))
    assert len(audio) == 30 * 16_000
    assert prompt.transcription(audio, "de") == [0, 5, 1, 2]
    (question,) = prompt.witnesses["token"].choice.questions
    assert question.following == (3, 4, 5)
    assert prompt.witnesses["token"].choice.logprobs({(): {3: -3.0, 4: -1.0, 5: -2.0}}) == {"en": -1, "de": -2, "": -3}
    with pytest.raises(EngineError, match="xx"):
        prompt.transcription(audio, "xx")
    with pytest.raises(ConfigurationError, match="fr"):
        whisper.Whisper(WhisperVocabulary(), ["en", "fr"])


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4), min_size=1, max_size=5))
def test_a_choice_follows_every_string_to_its_end(strings: list[list[int]]) -> None:
    named = {str(ids): [*ids, 9] for ids in strings}  # 9 ends each: none is the beginning of another
    choice = Choice(named)
    answers = {question.prefix: dict.fromkeys(question.following, -1.0) for question in choice.questions}
    shared = min(len(os.path.commonprefix(list(named.values()))), min(map(len, named.values())) - 1)  # noqa: RUF071
    assert choice.logprobs(answers) == {name: -(len(ids) - shared) for name, ids in named.items()}


def test_the_checkpoint_says_what_it_is() -> None:
    found = checkpoint.inspect(Engine(model=str(DEMO / "model")))
    assert (found.model, found.family, found.chunk_s) == (str(DEMO / "model"), "voxtral", 6.0)
    assert found.revision == checkpoint.inspect(Engine(model=str(DEMO / "model"))).revision


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "neither Voxtral"),
        ({"params.json": "{"}, "not JSON"),
        ({"params.json": "{}", "tekken.json": "{}"}, "neither Voxtral"),
        ({"config.json": '{"model_type": "bert"}'}, "neither Voxtral"),
        ({"config.json": '{"model_type": "whisper"}'}, "no preprocessor_config.json"),
        ({"params.json": '{"multimodal": {"whisper_model_args": {}}}', "tekken.json": "{}"}, "how long its windows"),
    ],
)
def test_a_wrong_model_is_one_clear_line(files: dict[str, str], words: str, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(ConfigurationError, match=words) as caught:
        checkpoint.inspect(Engine(model=str(tmp_path)))
    assert str(tmp_path) in str(caught.value)


def _settings(**segmentation: float) -> Settings:
    return Settings(input="in", output="out", segmentation=Segmentation(**segmentation))  # pyright: ignore[reportArgumentType]


def test_whispers_checkpoint_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "whisper", "max_target_positions": 448}')
    (tmp_path / "preprocessor_config.json").write_text('{"chunk_length": 30}')
    found = checkpoint.inspect(Engine(model=str(tmp_path)))
    assert (found.family, found.chunk_s, found.max_context) == ("whisper", 30.0, 448)
    segmentation = checkpoint.fit(_settings(), found).segmentation
    assert segmentation.max_window_s == 30.0
    assert segmentation.max_pause_s == 30.0  # each window costs 30 s: packed full
    with pytest.raises(ConfigurationError, match="30 s"):
        checkpoint.fit(_settings(max_window_s=60.0), found)


@pytest.mark.parametrize(("chunk_s", "max_pause_s"), [(30.0, 30.0), (6.0, 1.0)])
def test_windows_of_released_models_are_packed_full(chunk_s: float, max_pause_s: float) -> None:
    found = checkpoint.Checkpoint("m", "voxtral", "r", chunk_s)
    segmentation = checkpoint.fit(_settings(), found).segmentation
    assert (segmentation.max_window_s, segmentation.max_pause_s) == (chunk_s, max_pause_s)
    assert checkpoint.fit(_settings(max_pause_s=2.0), found).segmentation.max_pause_s == 2.0


@pytest.mark.parametrize("name", ["/no/such/folder", "./folder", "~/no such folder"])
def test_an_absent_folder_is_told_as_such(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"no such folder$") as caught:
        checkpoint.inspect(Engine(model=name))
    assert name in str(caught.value)


def test_a_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ConfigurationError, match="a file, not a folder"):
        checkpoint.inspect(Engine(model=str(tmp_path / "model.safetensors")))


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (404, "RepoNotFound", "no such model on the Hugging Face hub"),
        (401, "", "no such model on the Hugging Face hub"),  # what the hub says of names that it does not know
        (403, "GatedRepo", "approved accounts only"),
        (404, "RevisionNotFound", "no revision old of it"),
        (403, "", r"refused the request .*403"),
        (503, "", r"refused the request .*503"),
    ],
)
def test_what_the_hub_refuses(status: int, code: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{hub.server_port}")
        try:
            with pytest.raises(ConfigurationError, match=words) as caught:
                checkpoint.inspect(Engine(model="nobody/nothing", revision="old"))
        finally:
            hub.shutdown()
    assert "nobody/nothing" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ConfigurationError, match=r"nobody/nothing.* cannot be reached") as caught:
        checkpoint.inspect(Engine(model="nobody/nothing"))
    assert "no such model" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="neither a folder nor a name"):
        checkpoint.inspect(Engine(model="no such name!"))


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache that holds Whisper's descriptions for `main`; the hub is offline."""
    model = tmp_path / "hub" / "models--openai--whisper-large-v3"
    snapshot = model / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(COMMIT)
    (snapshot / "config.json").write_text('{"model_type": "whisper", "max_target_positions": 448}')
    (snapshot / "preprocessor_config.json").write_text('{"chunk_length": 30}')
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_offline_the_cache_says_what_a_model_is(hub_cache: Path, revision: str | None) -> None:
    found = checkpoint.inspect(Engine(model="openai/whisper-large-v3", revision=revision))
    assert (found.model, found.family, found.revision) == ("openai/whisper-large-v3", "whisper", COMMIT)


@pytest.mark.parametrize(("model", "revision"), [("openai/whisper-tiny", None), ("openai/whisper-large-v3", "v2")])
def test_offline_what_is_not_cached_is_one_clear_line(hub_cache: Path, model: str, revision: str | None) -> None:
    with pytest.raises(ConfigurationError) as caught:
        checkpoint.inspect(Engine(model=model, revision=revision))
    said = str(caught.value)
    assert str(hub_cache) in said
    assert "HF_HOME" in said
    assert f"hf download {model}" + (f" --revision {revision}" if revision else "") in said
    assert "\n" not in said


def test_hf_hub_offline_in_the_environment_is_enough(hub_cache: Path) -> None:
    """As infra/kubernetes/rayjob.yaml sets it."""
    code = "from pipeline.models.checkpoint import Engine, inspect\n"
    code += "print(inspect(Engine(model='openai/whisper-large-v3')).revision)"
    environment = os.environ | {"HF_HOME": str(hub_cache.parent), "HF_HUB_OFFLINE": "1"}
    said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == COMMIT


CHILD_WITH_PLUGIN = """
import multiprocessing, os, threading, time
from importlib.metadata import entry_points

def child():
    (plugin,) = entry_points(group="vllm.general_plugins", name="voxtral_batch_orphans")
    plugin.load()()
    print(os.getpid(), threading.active_count() - 1, flush=True)
    time.sleep(300)

multiprocessing.get_context("fork").Process(target=child).start()
"""


@pytest.mark.parametrize("ours", [True, False])
def test_only_the_processes_of_our_engine_end_with_their_parent(ours: bool) -> None:
    environment = os.environ | {END_WITH_PARENT: "1" if ours else ""}
    parent = subprocess.Popen([sys.executable, "-c", CHILD_WITH_PLUGIN], env=environment, stdout=subprocess.PIPE)
    assert parent.stdout
    pid, watchers = map(int, parent.stdout.readline().split())
    child = psutil.Process(pid)
    parent.kill()
    parent.wait()
    assert watchers == ours
    if ours:
        assert psutil.wait_procs([child], timeout=30)[1] == []
    else:
        assert child.is_running()
        child.kill()


@pytest.mark.slow
def test_a_question_computes_no_audio_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither where more windows wait than the engine takes, nor where a step has no room for all of one."""
    monkeypatch.setenv(counting.COUNTS, str(tmp_path / "counts"))
    settings = checkpoint.fit(
        Settings(
            input="in",
            output="out",
            engine=Engine(model=str(DEMO / "model"), device="cpu", max_num_seqs=16),
            language=Language.model_validate({"expected": ["en", "de"], "witnesses": ["score"]}),
        ),
        found := checkpoint.inspect(Engine(model=str(DEMO / "model"))),
    )
    rng = np.random.default_rng(0)
    windows = [Utterance(rng.integers(-3000, 3000, 96_000, dtype=np.int16)) for _ in range(100)]

    async def ask() -> None:
        engine = VllmEngine(settings, found, scheduler_cls=counting.SCHEDULER, max_num_batched_tokens=512)
        try:
            await asyncio.gather(*(x for one in windows for x in (engine.transcribe(one), engine.listen(one))))
        finally:
            engine.shutdown()

    asyncio.run(ask())
    counts = counting.read(tmp_path / "counts")
    assert counts.requests == 2 * len(windows)
    assert len(windows) <= counts.encoder_runs <= 1.05 * len(windows)
    # The audio's 75 tokens and what stands before them lie in two blocks and a part of a third.
    assert 0.9 <= counts.cached_tokens / (len(windows) * 2 * CPU_BLOCK_SIZE) <= 1.0


@pytest.mark.slow
def test_vllm_gives_no_warning_of_our_settings(tmp_path: Path) -> None:
    """It hides below its log level ERROR: so at WARNING, in a process of its own, as vLLM reads that at its import."""
    code = f"""
from pipeline.models import checkpoint
from pipeline.models.runtimes.vllm import arguments
from pipeline.settings import Engine, Settings
settings = Settings(input="in", output="out", verbose=True, engine=Engine(model={str(DEMO / "model")!r}, device="cpu"))
given = arguments(settings, checkpoint.inspect(settings.engine))
import vllm
vllm.AsyncEngineArgs(**given).create_engine_config()
"""
    said = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    log = said.stdout + said.stderr
    assert "INFO" in log, "vLLM's log is shown with --verbose"
    assert "chunked prefill" not in "".join(line for line in log.splitlines() if "WARNING" in line)
