"""The speech model and the engines that run it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_core import from_json, to_json

from pipeline import registry
from pipeline.settings.fields import TEXTS, Section

if TYPE_CHECKING:
    FamilyName = RuntimeName = str
else:
    FamilyName = Literal["auto", *registry.FAMILIES]
    RuntimeName = Literal["auto", *registry.RUNTIMES]


def _server_address(url: str) -> str:
    """The URL without a slash at its end.

    Raises:
        ValueError: it is none of a server, or holds a secret. The message has no part of it that may be one.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port  # raises
    except ValueError as error:
        raise ValueError("not a URL: write http://host:8000/v1") from error
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError(f"{host}: no password, query or fragment in the URL; the key goes into OPENAI_API_KEY")
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(f"{url:.80}: not the URL of a server: write http://host:8000/v1")
    return url.rstrip("/")


def _argument(pair: str) -> tuple[str, Any]:
    """KEY=VALUE -> the key with underscores, and the value: JSON, or the text itself.

    Raises:
        ValueError: it is no such pair.
    """
    name, equals, value = pair.partition("=")
    name = name.strip().removeprefix("--").replace("-", "_")
    if not equals or not name.isidentifier():
        raise ValueError(f"{pair:.80}: write KEY=VALUE, such as quantization=fp8")
    try:
        return name, from_json(value)
    except ValueError:
        return name, value.strip()


class Engine(Section):
    """The speech model and the engines that run it."""

    model: str = "mistralai/Voxtral-Small-24B-2507"
    """A Hugging Face name (openai/whisper-large-v3, too), or a folder with the model's files; with --engine.server the
    name that the server has for it."""
    server: tuple[str, ...] = ()
    """Where an OpenAI-compatible server runs the model (http://host:8000/v1); no engine starts then. Several, for
    replicas of one model. The key is read from OPENAI_API_KEY."""
    server_audio: Literal["flac", "opus"] = "flac"
    """What a server is sent: `flac` loses nothing; `opus` (in Ogg) loses a little, and takes a quarter of the bytes."""
    revision: str | None = None
    """Branch, tag or commit of a Hugging Face model."""
    family: FamilyName = "auto"
    """The model's family (docs/models.md). `auto` reads it from the checkpoint; `scripted` computes nothing and
    serves tests: the model is a file that says how it behaves (pipeline/models/runtimes/scripted.py), or `none`."""
    runtime: RuntimeName = "auto"
    """What runs the model. `auto`: vLLM, or `transformers` (Hugging Face's) for a Voxtral that is only in its format.
    See docs/operations.md."""
    device: Literal["auto", "gpu", "cpu"] = "auto"
    """`auto`: gpu where the cluster has any, else cpu."""
    tensor_parallel_size: int | None = Field(default=None, ge=1)
    """GPUs (or CPU ranks) that share one engine. Default: as many as the weights need of the memory of these GPUs (one
    for Voxtral Mini and Whisper, two of 80 GB for Voxtral Small); 1 on cpu."""
    count: int | None = Field(default=None, ge=1)
    """Engines. Default: as many as the GPUs allow; 1 on cpu."""
    elastic: bool = False
    """Begin with the engines that fit; the others of --engine.count start as machines come: for clusters that scale.
    Name --engine.device, too. Default: all of them must fit from the start."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Number format of weights and activations. `auto`: bfloat16 on gpu (float16 on GPUs that have none), float32 on
    cpu."""
    max_model_len: int | None = Field(default=None, ge=128)
    """Context. Default: what one window and its text need. [tokens]"""
    max_num_seqs: int = Field(default=64, ge=1)
    """Windows in one engine's batch at most; requests inside one server at most."""
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    """Share of each GPU's memory for weights and cache."""
    cpu_kv_cache_gb: int = Field(default=1, ge=1)
    """Cache of an engine on the CPU. [GB]"""
    max_tokens_per_s: float = Field(default=16.0, gt=0)
    """Longest text that a window may have; reaching it is reported as finish_reason `length`. [tokens per second]"""
    beams: int = Field(default=1, ge=1, le=32)
    """Texts of a window that are followed at once, of which the likeliest is kept (beam search): only with
    --engine.runtime transformers. Five lower Whisper base's word errors by a tenth, and are slow: docs/quality.md."""
    vllm: Annotated[tuple[str, ...], TEXTS] = ()
    """Another argument of vLLM's engine, by its own name: quantization=fp8, kv_cache_dtype=fp8 or
    max_num_batched_tokens=4096; the value is JSON or a word. Repeatable; in YAML a mapping."""
    stall_timeout_s: float = Field(default=600.0, gt=0)
    """An engine that has windows and finishes none for this long is replaced; servers may stay silent for as long.
    [seconds]"""
    start_timeout_s: float = Field(default=1_800.0, gt=0)
    """An engine that takes longer than this to start, once it is its turn, is started again. [seconds]"""
    max_deaths: int = Field(default=20, ge=0)
    """Engines that may die and be replaced before the job gives up."""

    @field_validator("server")
    @classmethod
    def _addresses(cls, server: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(map(_server_address, server)))

    @field_validator("vllm", mode="before")
    @classmethod
    def _pairs(cls, vllm: Any) -> Any:
        return (
            tuple(f"{name}={to_json(value).decode()}" for name, value in vllm.items())
            if isinstance(vllm, dict)
            else vllm
        )

    @field_validator("vllm")
    @classmethod
    def _named(cls, vllm: tuple[str, ...]) -> tuple[str, ...]:
        names = [_argument(pair)[0] for pair in vllm]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"{twice} is there twice")
        if "hf_token" in names:
            raise ValueError("hf_token: set HF_TOKEN in the environment; arguments are in reports and process lists")
        return vllm

    @property
    def vllm_arguments(self) -> dict[str, Any]:
        """Those of `vllm`, by vLLM's names."""
        return dict(map(_argument, self.vllm))

    @property
    def windows_at_once(self) -> int:
        """Windows that one engine computes at once."""
        return self.max_num_seqs * max(1, len(self.server))

    @property
    def resolved_dtype(self) -> str:
        """The number format that `auto` means on this device; a server does not tell its own."""
        if self.server:
            return "unknown"
        return {"cpu": "float32", "gpu": "bfloat16"}[self.device] if self.dtype == "auto" else self.dtype
