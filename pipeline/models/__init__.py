"""Speech models behind one small protocol (protocol.py). A family says how its checkpoints look and how its models are
asked; a runtime runs them; pipeline/registry.py names both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import ConfigurationError
from pipeline.models.abilities import Ability, lacking
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.demand import Demand
from pipeline.models.family import family as load_family
from pipeline.models.protocol import Model
from pipeline.models.runtime import Runtime
from pipeline.models.runtime import runtime as load_runtime
from pipeline.settings import Engine, Settings


def require(task: str, abilities: Sequence[Ability], checkpoint: Checkpoint) -> None:
    """Check that a checkpoint's models have the abilities that a task requires.

    Raises:
        ConfigurationError: they lack one.
    """
    if lack := lacking(task, abilities, load_family(checkpoint.family).abilities):
        raise ConfigurationError(f"--engine.model {checkpoint.model}: {checkpoint.family} {lack}")
    if lost := next((ability for ability in abilities if ability in _runtime(checkpoint).lacks), None):
        raise ConfigurationError(f"--engine.runtime {checkpoint.runtime}: cannot {lost}, which the task {task} needs")


def runtime(engine: Engine, checkpoint: Checkpoint) -> tuple[str, str | None]:
    """What runs a checkpoint, and its version; None where that runs elsewhere and does not tell.

    Raises:
        ConfigurationError: it is not installed, or does not take the settings.
    """
    name, found = checkpoint.runtime, _runtime(checkpoint)
    if engine.vllm and name != "vllm":
        raise ConfigurationError(
            f"--engine.vllm {engine.vllm[0]}: is for vLLM, and {name} runs this model; leave it out"
        )
    if engine.beams > 1 and not found.searches:
        raise ConfigurationError(
            f"--engine.beams {engine.beams}: {name} follows one text at a time; leave it out, or add"
            " --engine.runtime transformers where the model runs there (docs/models.md)"
        )
    if found.look:
        return name, checkpoint.runtime_version
    if (version := found.version()) is None:
        raise ConfigurationError(f"--engine.model {checkpoint.model}: {name} is not installed (make setup installs it)")
    if found.check:
        found.check(engine)
    return name, version


def refusal(checkpoint: Checkpoint, schema: Mapping[str, Any]) -> str | None:
    """Why no answer of a checkpoint's models can follow a JSON Schema; None where one can, as far as is known before
    they are asked."""
    found = _runtime(checkpoint)
    return found.refusal(schema) if found.refusal else None


def untold(checkpoint: Checkpoint) -> str | None:
    """What a checkpoint's models do not tell, and what follows for a job; None where they tell all."""
    return load_family(checkpoint.family).untold or None


def uses_gpus(checkpoint: Checkpoint) -> bool:
    """Whether models of a checkpoint need GPUs where --engine.device is gpu."""
    return _runtime(checkpoint).uses_gpus


def shards(checkpoint: Checkpoint) -> bool:
    """Whether several GPUs can share a model of a checkpoint."""
    return _runtime(checkpoint).shards


def start(settings: Settings, checkpoint: Checkpoint, demand: Demand, in_ray: bool = False) -> Model:
    """Load the model in this process, for requests within `demand`; takes a minute or more. `in_ray`: Ray's metrics
    export those of the runtime."""
    return _runtime(checkpoint).start(settings, checkpoint, demand, in_ray)


def _runtime(checkpoint: Checkpoint) -> Runtime:
    return load_runtime(checkpoint.runtime)
