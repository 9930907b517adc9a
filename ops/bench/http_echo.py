"""The bound on our HTTP path: Litestar in Granian that decodes the same body, tokenizes the same documents, and answers a fixed body.

`python -m ops.bench.http_echo PORT PROCESSES MODEL thread|inline`. "thread" tokenizes in threads, as the service does; "inline" on the
event loop. Neither knows a queue, a worker, admission, metrics or a cache.
"""

from __future__ import annotations

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
from granian import Granian
from granian.constants import Interfaces
from litestar import Litestar, Request, Response, post

from batching.families.detect import detect
from batching.families.encode import Encoder


class Body(msgspec.Struct):
    """The native request, as far as it is looked at."""

    query: str
    documents: list[str]


class Result(msgspec.Struct):
    """One result of the fixed answer."""

    index: int
    relevance_score: float


def make() -> Litestar:
    """Build the application; called in every HTTP process."""
    model, mode = Path(os.environ["ECHO_MODEL"]), os.environ["ECHO_MODE"]
    encoder = Encoder(detect(model, model.name))
    decoder = msgspec.json.Decoder(Body)
    threads = ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // int(os.environ["ECHO_PROCESSES"])))
    answers: dict[int, bytes] = {}

    @post("/rerank", status_code=200)
    async def rerank(request: Request[Any, Any, Any]) -> Response[bytes]:
        body = decoder.decode(await request.body())
        if mode == "thread":
            await asyncio.get_running_loop().run_in_executor(threads, encoder.encode, body.query, body.documents)
        else:
            encoder.encode(body.query, body.documents)
        count = len(body.documents)
        if count not in answers:
            answers[count] = msgspec.json.encode({"results": [Result(index, 0.5) for index in range(count)]})
        return Response(answers[count], media_type="application/json")

    return Litestar([rerank], openapi_config=None, logging_config=None)


def main() -> None:
    """Serve until told to stop."""
    port, processes, model, mode = sys.argv[1:]
    os.environ.update(ECHO_MODEL=model, ECHO_MODE=mode, ECHO_PROCESSES=processes, TOKENIZERS_PARALLELISM="false")
    Granian(
        "ops.bench.http_echo:make", port=int(port), workers=int(processes), interface=Interfaces.ASGI, factory=True, log_enabled=False,
        websockets=False,
    ).serve()  # fmt: skip


if __name__ == "__main__":
    main()
