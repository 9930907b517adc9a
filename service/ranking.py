"""From raw scores to the ranking that a dialect encodes: one plan per request, what was tokenized for it, and the result. Pure."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from batching.errors import InvalidRequest, TooLarge
from batching.families.activate import activate
from batching.families.encode import Encoded
from batching.job import Scored
from batching.tiles import Pixels
from batching.types import Float32s, Int32s, Sequences
from service.images.gallery import installed
from service.models import Model
from service.schemas import RerankRequest, RerankResult, Timings
from service.settings import PREFIX, Settings
from service.tokens import CHARACTERS_PER_TOKEN, SPECIALS, estimate, unrepeat
from service.windows import Windows, best, reckon, split

_DOCUMENT = re.compile(r"documents\[(\d+)\]")
NO_NUMBER = "the model's score is not a finite number"


@dataclass(frozen=True, slots=True)
class Plan:
    """One request, ready to be tokenized. `documents` without repeats; `spots` intp [n]: a document's place there, None if none repeats."""

    model: Model
    request: RerankRequest
    documents: list[str]
    spots: NDArray[np.intp] | None
    max_length: int
    chunked: bool
    queue_tokens: int
    """The most tokens that it may be."""
    images: dict[int, Pixels] | None = None
    """Tiles by the document's place, once they are there."""

    def only(self, places: NDArray[np.intp]) -> Plan:
        """Return the plan for some of its documents."""
        return self if len(places) == len(self.documents) else replace(self, documents=[self.documents[place] for place in places.tolist()])

    @property
    def estimated_tokens(self) -> int:
        """About the tokens it will be, and rather too few than too many."""
        query, most, family = self.request.query, self.max_length, self.model.card.family
        if self.chunked:
            shared = estimate(query, [], family, most)
            own = estimate(query, [""], family, most) - shared
            found = (reckon(len(document) // CHARACTERS_PER_TOKEN, own, self.request, most) for document in self.documents)
            return shared + sum(found)
        if self.request.max_tokens_per_doc is not None:
            most = min(most, len(query) // CHARACTERS_PER_TOKEN + self.request.max_tokens_per_doc + SPECIALS)
        images = len(self.request.images) * family.pictures.tokens if self.request.images and family.pictures else 0
        return images + estimate(query, self.documents, family, most)

    @property
    def is_met(self) -> bool:
        """Whether tokenizing it is little more than looking up words."""
        return not self.chunked and self.model.encoder.vocabulary.has_met([self.request.query, *self.documents])


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan in tokens; `windows` where documents may be chunked."""

    plan: Plan
    encoded: Encoded
    windows: Windows | None = None


def check_size(requests: Sequence[RerankRequest], most: int) -> None:
    """Raise TooLarge when a call holds more pairs than MAX_DOCUMENTS."""
    pairs = sum(len(request.documents) for request in requests)
    if pairs > most:
        raise TooLarge(f"documents: {pairs} given, at most {most} allowed in one request ({PREFIX}MAX_DOCUMENTS)", "documents")


def plan(request: RerankRequest, model: Model, settings: Settings) -> Plan:
    """Decide how a request is tokenized. Raises InvalidRequest for a length over the limit."""
    limit = model.max_length
    if request.max_length is not None and request.max_length > limit:
        field, whose = request.sent_as("max_length"), f"{PREFIX}MAX_LENGTH" if settings.max_length == limit else f"{model.name}'s own"
        raise InvalidRequest(f"{field}: {request.max_length} is over the limit of {limit} tokens ({whose})", field)
    check_images(request, model, settings)
    documents, spots = (request.documents, None) if request.images else unrepeat(request.documents)
    long = request.long or ("truncate" if request.truncate is False else settings.long_documents)
    chunked = long == "chunk" and model.card.family.unit != "list" and not request.images
    return Plan(model, request, documents, spots, request.max_length or limit, chunked, settings.queue_tokens)


def check_images(request: RerankRequest, model: Model, settings: Settings) -> None:
    """Raise InvalidRequest, naming the first document with an image, where images can't be ranked."""
    if not request.images:
        return
    first = next(iter(request.images.values()))
    if model.card.family.pictures is None:
        why = f"{model.name} reads text only" if settings.images else f"images are switched off ({PREFIX}IMAGES)"
        if settings.images and not installed():
            why += ", or Pillow is missing (pip install 'rerankd[images]')"
        raise InvalidRequest(f"{first.field}: images cannot be ranked here: {why}", first.field)
    if request.long == "chunk":
        raise InvalidRequest("long_documents: a request with images is not chunked", "long_documents")


def prepare(plan: Plan) -> Prepared:
    """Tokenize a plan; blocks. Raises InvalidRequest for what is too long and may not be cut, by the name that the caller gave it."""
    try:
        return _prepare(plan)
    except InvalidRequest as error:
        raise _renamed(error, plan) from error


def _renamed(error: InvalidRequest, plan: Plan) -> InvalidRequest:
    found = _DOCUMENT.fullmatch(error.field or "")
    if found is None:
        return error
    request = plan.request
    at = int(found[1])
    if not request.images:
        at = request.documents.index(plan.documents[at])  # not in the plan: repeats, and what is known already
    name = request.name_of(at)
    return type(error)(str(error).replace(found[0], name, 1), name)


def _prepare(plan: Plan) -> Prepared:
    request, encoder = plan.request, plan.model.encoder
    if plan.chunked:
        windows = split(encoder, request, plan.documents, plan.max_length, plan.queue_tokens)
        _check_tokens(windows.encoded.sequences, windows.owner)
        return Prepared(plan, windows.encoded, windows)
    images = None if plan.images is None else [plan.images.get(place) for place in range(len(plan.documents))]
    encoded = encoder.encode(
        request.query,
        plan.documents,
        instruction=request.instruction,
        max_length=plan.max_length,
        truncate=request.truncate is not False,
        side=request.side,
        document_tokens=request.max_tokens_per_doc,
        **({} if images is None else {"images": images}),
    )
    _check_tokens(encoded.sequences)
    return Prepared(replace(plan, images=None), encoded)  # their tiles lie in the sequences now


def _check_tokens(sequences: Sequences, owner: NDArray[np.intp] | None = None) -> None:
    """Raise InvalidRequest for text without a token, where the model has none of its own around it: there is nothing to score.

    `owner`: each sequence's document, where they are not one each.
    """
    if np.count_nonzero(sequences.lengths) == len(sequences.lengths):
        return
    place = int(sequences.lengths.argmin()) - int(sequences.shared)
    field = "query" if place < 0 else f"documents[{place if owner is None else owner[place]}]"
    raise InvalidRequest(f"{field}: is empty, and this model can't read an empty text", field)


def order(raw: Float32s, top_n: int | None) -> list[int]:
    """Return indices best raw score first, ties by index, without scores that are no finite numbers, cut at `top_n` (None, 0: all)."""
    ranked = np.argsort(-raw, kind="stable")
    finite = np.isfinite(raw)
    if not finite.all():
        ranked = ranked[finite[ranked]]
    indices: list[int] = (ranked[:top_n] if top_n else ranked).tolist()
    return indices


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a result tells besides the ranking. Times in monotonic seconds."""

    request_id: str
    started: float
    tokenize_s: float


Complete = Callable[[Float32s, NDArray[np.bool_], Int32s], tuple[Float32s, NDArray[np.bool_], Int32s]]
"""From raw scores, cuts and tokens of what was scored now to those of all documents."""


def conclude(prepared: Prepared, scored: Scored, told: Told, complete: Complete | None = None) -> RerankResult:
    """Add what was known already, put repeats back, activate, order, and name the documents without a score."""
    plan, encoded = prepared.plan, prepared.encoded
    raw, truncated, pair_tokens = scored.raw, encoded.truncated, encoded.pair_tokens
    windows = None
    if prepared.windows is not None:
        chosen = best(prepared.windows, raw)
        raw, truncated, pair_tokens, windows = chosen.raw, prepared.windows.cut, chosen.pair_tokens, chosen.windows
    if complete is not None:
        raw, truncated, pair_tokens = complete(raw, truncated, pair_tokens)
    if plan.spots is not None:
        raw, truncated, pair_tokens = raw[plan.spots], truncated[plan.spots], pair_tokens[plan.spots]
        windows = windows and [windows[spot] for spot in plan.spots]
    return RerankResult(
        id=told.request_id,
        model=plan.model.name,
        created=int(time.time()),
        raw=raw,
        scores=activate(raw, plan.model.card),
        order=order(raw, plan.request.top_n),
        truncated=truncated,
        pair_tokens=int(pair_tokens.sum()),
        timings=Timings(
            tokenize_s=told.tokenize_s, queue_s=scored.queue_s, forward_s=scored.forward_s, total_s=time.monotonic() - told.started
        ),
        errors=dict.fromkeys(np.flatnonzero(~np.isfinite(raw)).tolist(), NO_NUMBER),
        windows=windows,
    )
