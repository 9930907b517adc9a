"""What every dialect decodes into and encodes from; the two ends of the use case in `service/rerank.py`.

No wire format is described here: those live in `service/dialects/`. Both nouns are made once per request and never changed.
"""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

Side = Literal["right", "left"]
Long = Literal["truncate", "chunk"]


class Picture(msgspec.Struct, frozen=True):
    """An image as a caller gave it: `source` is a URL, a data URL or base64; `field` is where it stood in the request."""

    source: str
    field: str


class RerankRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A query and the documents to rank, whatever dialect they came in.

    `model`: the name asked for (None: the first served). `top_n`: None or 0 is all. `max_length`: tokens of a pair, specials included.
    `max_tokens_per_doc`: tokens of a document. `truncate`: None is the server's default (True); False refuses what is too long.
    `side`: the end that is cut off (None: the model's own). `priority`: 0 is the most urgent. `long`: what becomes of a document that
    does not fit (None: "truncate"); `chunk_overlap` (tokens) and `max_chunks` (per document) belong to "chunk".
    """

    query: str
    documents: list[str]
    model: str | None = None
    top_n: int | None = None
    instruction: str | None = None
    max_length: int | None = None
    max_tokens_per_doc: int | None = None
    truncate: bool | None = None
    side: Side | None = None
    priority: int = 0
    long: Long | None = None
    chunk_overlap: int | None = None
    max_chunks: int | None = None
    named: str = "documents[{}]"
    """What the caller calls a document, `{}` being its number; `numbers`: which, where they are not those of `documents`."""
    numbers: list[int] | None = None
    images: dict[int, Picture] | None = None
    """Documents' images by their place; a document may have text too."""
    sent: dict[str, str] = {}
    """Options that the caller called something else than they are called here, and what; `within`: what stood before their names."""
    within: str = ""

    def sent_as(self, option: str) -> str:
        """Return the field of an option as the caller sent it."""
        return self.within + self.sent.get(option, option)

    def name_of(self, index: int) -> str:
        """Return the field of document `index` as the caller sent it."""
        return self.named.format(self.numbers[index] if self.numbers else index)


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the time of one request went, in seconds."""

    tokenize_s: float = 0.0
    queue_s: float = 0.0
    forward_s: float = 0.0
    total_s: float = 0.0


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """The window of a chunked document that counted: its best one.

    `start` and `end` are character offsets into the document as it was ranked; `index` of `count` says which window it was.
    """

    start: int
    end: int
    index: int
    count: int


class RerankResult(msgspec.Struct, frozen=True, kw_only=True):
    """The ranking of one `RerankRequest`.

    `raw` float32 [n] and `scores` float64 [n] (activated) and `truncated` bool [n] are in input order; `order` holds indices, best first,
    cut at top_n, without the documents named in `errors` (index -> why it has no score; its raw and score are NaN).
    `model` is the served model's name, `created` seconds since the epoch, `pair_tokens` the real tokens of all pairs.
    `windows`: with long="chunk", the best window per document in input order, None where the document was not chunked.
    """

    id: str
    model: str
    created: int
    raw: NDArray[np.float32]
    scores: NDArray[np.float64]
    order: list[int]
    truncated: NDArray[np.bool_]
    pair_tokens: int
    timings: Timings = Timings()
    errors: dict[int, str] = {}
    windows: list[Window | None] | None = None
