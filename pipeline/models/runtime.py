"""What a runtime says of itself: each file of runtimes/ holds one Runtime, and the registry names it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from pipeline import registry
from pipeline.models.abilities import Ability
from pipeline.models.protocol import Model
from pipeline.settings import Engine, Settings

if TYPE_CHECKING:  # these look at models that lie elsewhere by their runtime
    from pipeline.models.checkpoint import Checkpoint
    from pipeline.models.demand import Demand


@dataclass(frozen=True, slots=True)
class Runtime:
    """A way to run models.

    `version` is that of the package that runs them, None where it is not installed or they run elsewhere. `start` loads
    a checkpoint in this process, which takes a minute or more, for requests within a demand; its last argument says
    whether Ray's metrics shall export the runtime's own.
    `uses_gpus`: its models need GPUs where the settings say so. `shards`: several GPUs can share one. `lacks`:
    abilities that no model has in it. `searches`: it can search for a text with several beams. `look`: what there is to
    know of a model that runs elsewhere, in place of its files. `check`: whether it takes the settings of engines, asked
    before a run. Both raise ConfigurationError. `refusal`: why no answer can follow a JSON Schema, None where one can.
    """

    version: Callable[[], str | None]
    start: Callable[[Settings, Checkpoint, Demand, bool], Model]
    uses_gpus: bool
    shards: bool = True
    lacks: frozenset[Ability] = frozenset()
    searches: bool = False
    look: Callable[[Engine], Checkpoint] | None = None
    check: Callable[[Engine], None] | None = None
    refusal: Callable[[Mapping[str, Any]], str | None] | None = None


def runtime(name: str) -> Runtime:
    """The registered runtime of that name; its file is imported now."""
    return resolve_name(registry.RUNTIMES[name])
