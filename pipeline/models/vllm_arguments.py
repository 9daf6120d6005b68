"""Arguments of vLLM's engine that users pass with --engine.vllm: which are refused, and which can change texts."""

from __future__ import annotations

from typing import Any

from pipeline.errors import ConfigurationError
from pipeline.settings import Engine

# Arguments that follow from a setting, and that setting.
SETTINGS = {
    "model": "--engine.model",
    "revision": "--engine.revision",
    "dtype": "--engine.dtype",
    "max_model_len": "--engine.max-model-len",
    "max_num_seqs": "--engine.max-num-seqs",
    "gpu_memory_utilization": "--engine.gpu-memory-utilization",
    "tensor_parallel_size": "--engine.tensor-parallel-size",
    "data_parallel_size": "--engine.count",
    "disable_log_stats": "--verbose",
    "use_tqdm_on_load": "--verbose",
}
# Arguments that the engines of a job depend on. With speculative decoding vLLM does not give the probabilities of
# chosen tokens, by which languages are scored; another logprobs_mode makes other numbers of probabilities.
FIXED = frozenset(
    "tokenizer tokenizer_mode config_format runner convert skip_tokenizer_init scheduling_policy limit_mm_per_prompt"
    " structured_outputs_config pipeline_parallel_size nnodes node_rank master_addr master_port enable_prompt_embeds"
    " pooler_config worker_cls device_ids speculative_config logprobs_mode language_model_only mm_encoder_only".split()
)
# Arguments that only decide how fast the same texts come, or what memory they take.
NEUTRAL = frozenset(
    "max_num_batched_tokens max_num_scheduled_tokens block_size kv_cache_memory_bytes num_gpu_blocks_override"
    " enable_prefix_caching enable_chunked_prefill async_scheduling mm_processor_cache_gb mm_processor_cache_type"
    " cpu_offload_gb kv_offloading_size kv_offloading_backend distributed_executor_backend disable_custom_all_reduce"
    " download_dir max_parallel_loading_workers safetensors_load_strategy performance_mode stream_interval"
    " shutdown_timeout distributed_timeout_seconds".split()
)


def passed(engine: Engine) -> dict[str, Any]:
    """The arguments by vLLM's names.

    Raises:
        ConfigurationError: one of them follows from another setting, or is not the user's to choose.
    """
    for name in engine.vllm_arguments:
        if name in SETTINGS:
            raise ConfigurationError(f"--engine.vllm {name}: is set by {SETTINGS[name]}")
        if name in FIXED or name.startswith("data_parallel_"):
            raise ConfigurationError(f"--engine.vllm {name}: the job depends on what it is; leave it out")
    return engine.vllm_arguments


def in_texts(engine: Engine) -> dict[str, dict[str, Any]]:
    """What of them belongs in a fingerprint: all but those known to leave texts as they are."""
    given = {name: value for name, value in sorted(engine.vllm_arguments.items()) if name not in NEUTRAL}
    return {"vllm": given} if given else {}
