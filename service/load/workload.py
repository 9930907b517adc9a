"""The load: requests of real words whose lengths are log-normal, the same for every run with the same parameters.

Lengths are drawn in words, since a server is fed text; what they come to in tokens depends on the model's tokenizer and is counted by
`count_tokens`, never assumed.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path
from statistics import fmean

_WORDS_FILE = Path(__file__).with_name("words.txt")


@dataclass(frozen=True, slots=True)
class Shape:
    """What the requests look like. Lengths are words: log-normal with this median and sigma, cut to [low, high]."""

    median_words: float = 70.0
    sigma: float = 0.55
    low_words: int = 4
    high_words: int = 380
    query_words: tuple[int, int] = (4, 12)
    documents: tuple[int, int] = (4, 32)

    def describe(self) -> str:
        """State the distribution in one line, as a report must."""
        length = f"log-normal words, median {self.median_words:g}, sigma {self.sigma:g}, within {self.low_words}-{self.high_words}"
        if self.sigma == 0:
            length = f"{self.median_words:g} words each"
        low, high = self.documents
        return f"{low}-{high} documents a request; {length}; query {self.query_words[0]}-{self.query_words[1]} words"


MIXED = Shape()
"""The mixed load of the published ratios: about 113 tokens a pair with BERT's WordPiece."""

SHORT = Shape(median_words=40, sigma=0.0, query_words=(6, 6), documents=(20, 20))
"""20 documents of about 60 tokens a pair, for the front end."""


@dataclass(frozen=True, slots=True)
class Request:
    """One rerank call before it has a dialect."""

    query: str
    documents: tuple[str, ...]


@cache
def _words() -> tuple[tuple[str, ...], tuple[float, ...]]:
    # Zipf-Mandelbrot, as in running text: the few function words at the head of the file make up a good part of it.
    words = tuple(_WORDS_FILE.read_text(encoding="utf-8").split())
    return words, tuple(accumulate(1 / (rank + 2.7) for rank in range(1, len(words) + 1)))


def sentences(rng: random.Random, count: int) -> str:
    """Running text of `count` words with capitals, commas, full stops and now and then a number."""
    words, weights = _words()
    out: list[str] = []
    left = 0
    for word in rng.choices(words, cum_weights=weights, k=count):
        text = str(rng.randint(1, 2030)) if rng.random() < 0.02 else word
        if left == 0:
            left, text = rng.randint(6, 22), text[:1].upper() + text[1:]
        left -= 1
        mark = "." if left == 0 else "," if rng.random() < 0.05 else ""
        out.append(text + mark)
    return " ".join(out)


def document_words(rng: random.Random, shape: Shape) -> int:
    """Draw one document's length in words."""
    if shape.sigma == 0:
        return round(shape.median_words)
    drawn = round(rng.lognormvariate(math.log(shape.median_words), shape.sigma))
    return min(max(drawn, shape.low_words), shape.high_words)


def make_request(rng: random.Random, shape: Shape) -> Request:
    """Draw one request."""
    query = sentences(rng, rng.randint(*shape.query_words)).rstrip(".,") + "?"
    return Request(query, tuple(sentences(rng, document_words(rng, shape)) for _ in range(rng.randint(*shape.documents))))


def make_requests(count: int, shape: Shape = MIXED, seed: int = 0) -> list[Request]:
    """Draw `count` requests; the first n of them do not depend on `count`."""
    return [make_request(random.Random(f"{seed}/{index}"), shape) for index in range(count)]  # noqa: S311  texts, no secret


def save(path: Path, requests: Sequence[Request]) -> None:
    """Write requests as JSON for the programs of other environments."""
    path.write_text(json.dumps([asdict(request) for request in requests]), encoding="utf-8")


def pairs(requests: Sequence[Request]) -> int:
    """Count the pairs of all requests."""
    return sum(len(request.documents) for request in requests)


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens of every pair, specials included, as a pair model without truncation sees them; one list per request."""

    per_request: list[list[int]]

    @property
    def totals(self) -> list[int]:
        """Tokens of each request."""
        return [sum(lengths) for lengths in self.per_request]

    def describe(self, max_length: int = 512) -> str:
        """State the lengths in tokens in one line."""
        flat = [length for lengths in self.per_request for length in lengths]
        over = sum(length > max_length for length in flat)
        return f"{len(flat)} pairs, {sum(flat)} tokens: mean {fmean(flat):.0f}, {min(flat)}-{max(flat)}, {over} over {max_length}"


def count_tokens(requests: Sequence[Request], tokenizer_file: Path) -> TokenCounts:
    """Count every pair's tokens with the `tokenizer.json` that the model under test has."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    specials = tokenizer.num_special_tokens_to_add(True)
    counts = []
    for request in requests:
        texts = tokenizer.encode_batch_fast([request.query, *request.documents], add_special_tokens=False)
        query, *documents = (len(encoding.ids) for encoding in texts)
        counts.append([query + length + specials for length in documents])
    return TokenCounts(counts)
