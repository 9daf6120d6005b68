"""What servers tell of their model before a run. No HTTP here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from pipeline.errors import ConfigurationError
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.families.server import CHUNK_S
from pipeline.models.runtimes import wire
from pipeline.settings import Engine

VLLM = "vllm"  # who owns its models, as it says
NOT_OURS = ("revision", "tensor_parallel_size", "count", "elastic")  # settings of engines that are the server's
LISTED = 10  # models that an error names


@dataclass(frozen=True, slots=True)
class _Told:
    """What a server tells of the model that is asked for. `version` is vLLM's own, for other servers None."""

    card: wire.Card
    version: str | None

    def __str__(self) -> str:
        context = self.card.max_context and f"{self.card.max_context} tokens"
        facts = ", ".join(fact for fact in (self.card.root, context, self.version) if fact)
        return f"{self.card.model} ({facts})" if facts else self.card.model


def look(engine: Engine, get: Callable[[str], bytes]) -> Checkpoint:
    """Ask the servers which model they run. `get` is given URLs, and raises ConfigurationError.

    Raises:
        ConfigurationError: a server does not answer, refuses the key, does not serve the model, or serves another one
            than the others do; or settings are given that are the server's to decide.
    """
    if not engine.server:
        raise ConfigurationError("--engine.family server: --engine.server says where it is (http://host:8000/v1)")
    if engine.family not in ("auto", "server"):
        raise ConfigurationError(f"--engine.family {engine.family}: a server has its own way with models; leave it out")
    for name in NOT_OURS:
        if value := getattr(engine, name):
            flag = f"--engine.{name.replace('_', '-')} {value}"
            raise ConfigurationError(f"{flag}: is for engines, and with --engine.server none starts; leave it out")
    told = [_told(url, engine, get) for url in engine.server]
    for url, other in zip(engine.server, told, strict=True):
        if other != told[0]:
            both = f"{engine.server[0]} has {told[0]}, {url} has {other}"
            raise ConfigurationError(f"--engine.server: {both}; name replicas that serve the same")
    card = told[0].card
    revision = card.model if card.root in (None, card.model) else f"{card.model} ({card.root})"
    return Checkpoint(
        card.model, "server", revision, CHUNK_S, "server", max_context=card.max_context, runtime_version=told[0].version
    )


def _told(url: str, engine: Engine, get: Callable[[str], bytes]) -> _Told:
    try:
        card = _chosen(wire.cards(get(f"{url}/models")), url, engine)
    except wire.WireError as error:
        raise ConfigurationError(
            f"--engine.server {url}: what answers is no OpenAI-compatible server ({error}): most such URLs end in /v1"
        ) from error
    except ConfigurationError as error:
        raise ConfigurationError(f"--engine.server {url}: {error}") from error
    version = None
    if card.owner == VLLM:
        where = f"{url.removesuffix('/v1')}/version"
        with suppress(ConfigurationError, wire.WireError):
            version = f"{VLLM} {wire.version(get(where))}"
    return _Told(card, version)


def _chosen(cards: Sequence[wire.Card], url: str, engine: Engine) -> wire.Card:
    """The card of the model that is asked for; the only one, where none is."""
    named = "model" in engine.model_fields_set
    for card in cards:
        if card.model == engine.model or (len(cards) == 1 and not named):
            return card
    names = [card.model for card in cards[:LISTED]] + ["..."] * (len(cards) > LISTED)
    serves = f"serves {', '.join(names) or 'no model'}"
    if named:
        raise ConfigurationError(f"{serves}, and not --engine.model {engine.model}: name one that it serves")
    raise ConfigurationError(f"{serves}: name one with --engine.model")
