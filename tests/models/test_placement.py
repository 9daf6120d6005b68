from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConfigurationError
from pipeline.models.placement import MAX_SIZE, WEIGHTS_SHARE, supported_dtype, tensor_parallel_size

# Bytes of weights in 16 bits, and of memory as the driver reports it.
SMALL, MINI, WHISPER = 48_522_000_000, 9_350_000_000, 3_087_000_000
T4, L4, L40S, A100_40, A100_80, H100, H200 = (
    int(mib * 2**20) for mib in (15_360, 23_034, 46_068, 40_960, 81_920, 81_559, 143_771)
)


@pytest.mark.parametrize(
    ("weights", "memory", "size"),
    [
        (SMALL, H100, 2),
        (SMALL, A100_80, 2),
        (SMALL, H200, 1),
        (SMALL, L40S, 2),
        (SMALL, A100_40, 4),
        (SMALL, L4, 4),
        (SMALL, T4, 8),
        (MINI, H100, 1),
        (MINI, L4, 1),
        (MINI, T4, 2),
        (WHISPER, T4, 1),
        (0, T4, 1),
    ],
)
def test_the_released_models_on_usual_gpus(weights: int, memory: int, size: int) -> None:
    found, reason = tensor_parallel_size(weights, memory)
    assert found == size
    assert f"{weights / 1e9:.1f} GB" in reason
    assert f"{memory / 1e9:.0f} GB" in reason


def test_weights_of_unknown_size_are_given_two_and_it_is_said() -> None:
    size, reason = tensor_parallel_size(None, H200)
    assert size == 2
    assert "not known" in reason


def test_weights_too_large_for_a_machine_are_one_clear_line() -> None:
    with pytest.raises(ConfigurationError, match=r"200\.0 GB.*--engine.tensor-parallel-size") as caught:
        tensor_parallel_size(200_000_000_000, L4)
    assert "\n" not in str(caught.value)


@given(st.integers(0, 10**12), st.integers(10**9, 10**12))
def test_it_is_the_smallest_power_of_two_that_fits(weights: int, memory: int) -> None:
    room = WEIGHTS_SHARE * memory
    if weights > MAX_SIZE * room:
        with pytest.raises(ConfigurationError):
            tensor_parallel_size(weights, memory)
        return
    size, _ = tensor_parallel_size(weights, memory)
    assert size in (1, 2, 4, 8)
    assert weights <= size * room
    assert size == 1 or weights > size / 2 * room


@pytest.mark.parametrize(
    ("dtype", "capability", "used"),
    [
        ("bfloat16", (7, 5), "float16"),
        ("bfloat16", (7, 0), "float16"),
        ("bfloat16", (8, 0), "bfloat16"),
        ("bfloat16", (9, 0), "bfloat16"),
        ("bfloat16", (10, 0), "bfloat16"),
        ("float16", (7, 5), "float16"),
        ("float32", (7, 5), "float32"),
    ],
)
def test_bfloat16_needs_compute_capability_8(dtype: str, capability: tuple[int, int], used: str) -> None:
    found, reason = supported_dtype(dtype, capability)
    assert found == used
    assert (reason is None) == (found == dtype)
    if reason:
        assert "7." in reason
