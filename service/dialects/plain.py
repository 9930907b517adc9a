"""The plain dialect: `/rerank` with a query and documents and nothing that names a model.

Two services' clients send exactly this. One reads `results` with the document as a string and a score of six decimals, the other
`scores` (raw, in input order) and `ranked_indices`; the answer holds both, over the common one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from batching.errors import InvalidRequest
from service.dialects import common, documents, options
from service.dialects.body import Body
from service.dialects.fields import flag, text
from service.dialects.nouns import Answer, Call, Decoded, Dialect
from service.schemas import RerankResult

_DECIMALS = 6


def decode(body: Body, call: Call) -> Decoded:
    """Read a plain call; raises InvalidRequest, TooLarge."""
    if body.query == "":
        raise InvalidRequest("No query provided", "query")
    if body.documents == []:
        raise InvalidRequest("No documents provided", "documents")
    query = text(body.query, "query")
    images: documents.Images = {}
    given, named = documents.several(body.documents, "documents")
    texts = documents.read(given, "documents", call.max_documents, body.rank_fields, images, named)
    how = common.Style(echo="string", raw=options.wants_raw(body), windows=flag(body.return_windows, "return_windows"))
    ranked = options.request(body, query, texts, common.top_n(body), named, images)
    return Decoded((ranked,), partial(_encode, given=given, texts=texts, how=how))


def _encode(results: Sequence[RerankResult], *, given: list[Any], texts: list[str], how: common.Style) -> Answer:
    result = results[0]
    answer = common.build(result, given, texts, how)
    if not how.raw:
        for item in answer.results:
            item.relevance_score = round(item.relevance_score, _DECIMALS)
    answer.scores = [None if index in result.errors else value for index, value in enumerate(result.raw.tolist())]
    answer.ranked_indices = result.order
    return Answer(answer)


DIALECT = Dialect("plain", decode, (common.RerankAnswer,))
