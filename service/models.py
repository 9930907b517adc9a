"""Which model a name means, and what serving one takes: its card, its encoder and its queue's client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from batching.client import QueueClient, QueueView
from batching.errors import NotFound, Unavailable
from batching.families.card import ModelCard
from batching.families.encode import Encoder
from service.settings import PREFIX, Settings
from service.token_cache import TokenCache


@dataclass(frozen=True, slots=True)
class Served:
    """A model to serve, before its queue is opened."""

    card: ModelCard
    encoder: Encoder
    client_factory: Callable[[], Awaitable[QueueClient]]
    cache: TokenCache | None = None
    """The encoder's, to be counted."""


@dataclass(slots=True)
class Model:
    """A model that is served; `client` is there while the application runs."""

    card: ModelCard
    encoder: Encoder
    max_length: int
    """Tokens of a pair: the setting, or the model's own limit where that is lower."""
    cache: TokenCache | None = None
    client: QueueClient | None = None

    @property
    def name(self) -> str:
        """The name it was asked for by, and is answered under."""
        return self.card.name

    @property
    def queue(self) -> QueueClient:
        """The open queue. Raises Unavailable before it is opened."""
        if self.client is None:
            raise Unavailable("the service is starting or stopping")
        return self.client


class Models:
    """All served models by name; the first answers for names that nobody knows."""

    def __init__(self, settings: Settings, served: Sequence[Served]) -> None:
        self._strict = settings.strict_models
        self._served = served
        self.all = [Model(one.card, one.encoder, min(settings.max_length, one.card.max_length), one.cache) for one in served]
        self._by_name = {alias: model for model in reversed(self.all) for alias in aliases(model.name)}

    @property
    def names(self) -> list[str]:
        """Names of the served models; the default first."""
        return [model.name for model in self.all]

    def pick(self, name: str | None) -> Model:
        """Return the model that `name` means. Raises NotFound for an unknown name under STRICT_MODELS."""
        if not name:
            return self.all[0]
        found = self.find(name)
        if found is None and self._strict:
            raise NotFound(f"model: {name[:100]!r} is not served here ({PREFIX}STRICT_MODELS is set); served: {', '.join(self.names)}")
        return found or self.all[0]

    def find(self, name: str) -> Model | None:
        """Return the model of this name, in whatever case, with or without its owner's name."""
        return self._by_name.get(name) or self._by_name.get(name.lower())

    def views(self) -> dict[str, QueueView]:
        """Return how every open queue stands."""
        return {model.name: model.client.view() for model in self.all if model.client is not None}

    async def open(self) -> None:
        """Open every queue."""
        for model, one in zip(self.all, self._served, strict=True):
            model.client = await one.client_factory()

    async def close(self) -> None:
        """Close what is open."""
        for model in self.all:
            if model.client is not None:
                client, model.client = model.client, None
                await client.close()


def open_served(card: ModelCard, settings: Settings, models: int, client_factory: Callable[[], Awaitable[QueueClient]]) -> Served:
    """Open a model's tokenizer with its share of TOKEN_CACHE_BYTES. Raises UnsupportedModel."""
    share = settings.token_cache_bytes // models
    cache = TokenCache(share) if share else None
    return Served(card, Encoder(card, cache=cache), client_factory, cache)


def aliases(name: str) -> set[str]:
    """Return the names that mean the model `name`: itself, its last part, both without a pinned revision, and all in lower case."""
    last = name.rstrip("/").rpartition("/")[2]
    found = {name, last, *(one.partition("@")[0] for one in (name, last))} - {""}
    return found | {one.lower() for one in found}
