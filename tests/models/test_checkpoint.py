from __future__ import annotations

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

from pipeline.errors import ConfigurationError
from pipeline.models import checkpoint
from pipeline.settings import Engine, Segmentation, Settings
from tests.conftest import DEMO


def test_the_checkpoint_says_what_it_is() -> None:
    found = checkpoint.inspect(Engine(model=str(DEMO / "model")))
    assert (found.model, found.family, found.chunk_s) == (str(DEMO / "model"), "voxtral", 6.0)
    assert found.revision == checkpoint.inspect(Engine(model=str(DEMO / "model"))).revision


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "no known family: voxtral .*whisper"),
        ({"params.json": "{"}, "not JSON"),
        ({"params.json": "{}", "tekken.json": "{}"}, "no known family: voxtral .*whisper"),
        ({"config.json": '{"model_type": "bert"}'}, "no known family: voxtral .*whisper"),
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


def test_a_whisper_of_english_alone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "whisper", "vocab_size": 51864}')
    (tmp_path / "preprocessor_config.json").write_text('{"chunk_length": 30}')
    with pytest.raises(ConfigurationError, match="English alone"):
        checkpoint.inspect(Engine(model=str(tmp_path)))


@pytest.mark.parametrize("name", ["~no-such-user/model", "a" * 5_000])
def test_a_name_that_no_folder_can_have_is_one_clear_line(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^--engine.model") as caught:
        checkpoint.inspect(Engine(model=name))
    assert len(str(caught.value)) < 600 and "\n" not in str(caught.value)


@pytest.mark.parametrize(("chunk_s", "max_pause_s"), [(30.0, 30.0), (6.0, 1.0)])
def test_windows_of_released_models_are_packed_full(chunk_s: float, max_pause_s: float) -> None:
    found = checkpoint.Checkpoint("m", "voxtral", "r", chunk_s, "vllm")
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


def test_the_weights_of_a_folder_are_counted() -> None:
    weights = (DEMO / "model" / "consolidated.safetensors").stat().st_size
    assert checkpoint.inspect(Engine(model=str(DEMO / "model"))).weights_bytes == weights


WHISPER_FILES = {
    "config.json": b'{"model_type": "whisper", "max_target_positions": 448}',
    "preprocessor_config.json": b'{"chunk_length": 30}',
}


@pytest.mark.parametrize(
    ("files", "size"),
    [
        ({"model.safetensors": 30, "model.fp32-00001-of-00002.safetensors": 60, "pytorch_model.bin": 31}, 30),
        ({"model-00001-of-00002.safetensors": 30, "model-00002-of-00002.safetensors": 20}, 50),
        ({"pytorch_model.bin": 31, "flax_model.msgpack": 7}, 31),
        ({"flax_model.msgpack": 7}, None),
    ],
)
@pytest.mark.parametrize("offline", [False, True])
def test_only_the_files_that_are_loaded_count(
    files: dict[str, int], size: int | None, offline: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a folder, and of the hub's cache, where files are links."""
    commit = "0" * 40
    folder = tmp_path / "models--a--b" / "snapshots" / commit if offline else tmp_path
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (WHISPER_FILES | {name: bytes(count) for name, count in files.items()}).items():
        (tmp_path / f"blob-{name}").write_bytes(content)
        (folder / name).symlink_to(tmp_path / f"blob-{name}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    settings = Engine(model="a/b", revision=commit) if offline else Engine(model=str(folder))
    assert checkpoint.inspect(settings).weights_bytes == size


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
