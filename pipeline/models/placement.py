"""What a checkpoint needs of GPUs: how many of them share one engine, and in which number format they compute."""

from __future__ import annotations

from pipeline.errors import ConfigurationError

UNKNOWN_SIZE = 2  # GPUs for weights of unknown size: enough for the largest model released, on GPUs of 80 GB
MAX_SIZE = 8  # GPUs of one machine. Powers of two: they divide the attention heads of all released models
# Of a GPU's memory, that weights may take: the rest is for the cache of a full batch and for what a step computes.
# Voxtral Small (48.5 GB) goes on two GPUs of 80 GB (85.0e9 bytes), or on one of 141 GB.
WEIGHTS_SHARE = 0.55
BFLOAT16_SINCE = (8, 0)  # the compute capability of Ampere; vLLM refuses bfloat16 below it


def tensor_parallel_size(weights_bytes: int | None, gpu_memory_bytes: int) -> tuple[int, str]:
    """How many GPUs of so much memory each share one engine, and the reason in one line.

    `weights_bytes` is Checkpoint.weights_bytes.

    Raises:
        ConfigurationError: the weights are too large for MAX_SIZE of these GPUs.
    """
    if weights_bytes is None:
        return UNKNOWN_SIZE, f"{UNKNOWN_SIZE} GPUs an engine: the size of the weights is not known"
    room, size = WEIGHTS_SHARE * gpu_memory_bytes, 1
    while weights_bytes > size * room:
        size *= 2
    sizes = f"weights of {weights_bytes / 1e9:.1f} GB, {gpu_memory_bytes / 1e9:.0f} GB a GPU"
    if size > MAX_SIZE:
        raise ConfigurationError(
            f"--engine.model: {sizes}: more than {WEIGHTS_SHARE:.0%} of the memory of {MAX_SIZE} GPUs, which is"
            f" {MAX_SIZE * room / 1e9:.0f} GB; take GPUs with more memory, or set --engine.tensor-parallel-size"
        )
    return size, f"{size} GPU{'s' if size > 1 else ''} an engine: {sizes}"


def supported_dtype(dtype: str, compute_capability: tuple[int, int]) -> tuple[str, str | None]:
    """The number format to use in place of `dtype` on a GPU of this compute capability, and the reason where it is
    another: bfloat16 becomes float16 before Ampere."""
    if dtype != "bfloat16" or compute_capability >= BFLOAT16_SINCE:
        return dtype, None
    major, minor = compute_capability
    return "float16", f"float16 for bfloat16, which GPUs of compute capability {major}.{minor} do not have (8.0 does)"
