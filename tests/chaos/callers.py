"""Callers of every kind against a service with fake scorers, arriving at a given rate; each answer is compared with the known one."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from types import TracebackType
from typing import NamedTuple

import numpy as np

from batching.types import Float32s
from tests.chaos.report import Report
from tests.fakes import expected
from tests.processes.http import Answer, Caller, Closed
from tests.processes.service import asked, encoder

WORDS = [
    "river",
    "stone",
    "cloud",
    "lamp",
    "bread",
    "winter",
    "engine",
    "paper",
    "garden",
    "silver",
    "north",
    "music",
    "glass",
    "horse",
    "island",
    "letter",
    "summer",
    "window",
    "copper",
    "table",
]
BEAT_S = 0.02
TOTAL = re.compile(r"total;dur=([\d.]+)")
PATIENCE_S = 40.0
"""An answer that takes longer never came."""


class Known(NamedTuple):
    """A request, its answer and its size."""

    body: bytes
    order: list[int]
    scores: list[float]
    tokens: int

    def is_right(self, answer: Answer) -> bool:
        """Whether the answer is the known one, to the last digit."""
        results = answer.json["results"]
        return [one["index"] for one in results] == self.order and [one["relevance_score"] for one in results] == self.scores


@cache
def requests(documents: int, count: int, seed: int = 0) -> list[Known]:
    """So many requests of so many documents of 5 to 25 words each."""
    dice = random.Random(seed)
    return [_request(dice, documents) for _ in range(count)]


def _request(dice: random.Random, documents: int) -> Known:
    query = " ".join(dice.choices(WORDS, k=6))
    texts = [f"{number} " + " ".join(dice.choices(WORDS, k=dice.randint(5, 25))) for number in range(documents)]
    sequences = encoder().encode(query, texts, max_length=512).sequences
    raw: Float32s = expected(sequences)
    order = np.argsort(-raw, kind="stable")
    return Known(asked(query, texts, return_documents=False), order.tolist(), raw[order].tolist(), sequences.tokens)


def tokens_of(documents: int) -> float:
    """Tokens of such a request, on average."""
    return float(np.mean([one.tokens for one in requests(documents, 50)]))


OVERLOAD = (429, 503, 504)
"""What a good request may be told, whoever is killed: kills from outside are not its fault."""


class Tally:
    """What became of all calls. `right`: when each right answer came and how long it took, by kind of caller."""

    def __init__(self, allowed: Sequence[int] = (429,)) -> None:
        """`allowed`: what a good request may be told instead of its ranking."""
        self.allowed = allowed
        self.outcomes: Counter[str] = Counter()
        self.right: list[tuple[str, float, float]] = []
        self.refused: list[float] = []
        self.refused_inside: list[float] = []
        self.closed: list[tuple[float, float]] = []
        self.wrong: list[str] = []
        self.unanswered = 0
        self.not_sent = 0

    def seconds(self, kind: str) -> list[float]:
        """How long right answers to this kind took."""
        return [took for one, _, took in self.right if one == kind]

    def judge(self, kind: str, known: Known | None, answer: Answer, took: float, allowed: Sequence[int]) -> None:
        """Count an answer: it must be the known one, or one of the allowed refusals with a text."""
        self.outcomes[f"{kind} {answer.status}"] += 1
        if answer.status == 200 and known is not None and known.is_right(answer):
            self.right.append((kind, time.monotonic(), took))
        elif answer.status in allowed and says_why(answer):
            if answer.status == 429:
                self.refused.append(took)
                if found := TOTAL.search(answer.headers.get("server-timing", "")):
                    self.refused_inside.append(float(found[1]) / 1e3)
        else:
            self.wrong.append(f"{kind}: {answer.status} {answer.body[:300]!r}")

    def tell(self, report: Report) -> None:
        """All calls by status, and the lines that hold for every run in which nothing is killed."""
        report.tell("answers by status", by_status(self))
        report.must("wrong answers", len(self.wrong), "0", not self.wrong)
        lost = self.unanswered + len(self.closed)
        report.must("never answered, or closed", lost, "0", not lost)
        if self.not_sent:
            report.tell("callers who found too many others there and did not ask", self.not_sent)
        for wrong in self.wrong[:5]:
            report.tell("wrong", wrong)


def says_why(answer: Answer) -> bool:
    """Whether a refusal has a text."""
    try:
        return isinstance(answer.json.get("detail", answer.json.get("message")), str)
    except ValueError:
        return False


def by_status(tally: Tally) -> str:
    """How often each status came, over all kinds."""
    statuses: Counter[str] = Counter()
    for outcome, count in tally.outcomes.items():
        statuses[outcome.rpartition(" ")[2]] += count
    if tally.closed:
        statuses["closed"] = len(tally.closed)
    return ", ".join(f"{status}: {count:,}" for status, count in sorted(statuses.items()))


class Pulse:
    """How long this machine's longest pause was while the block ran: a virtual machine may stand still, and then no time limit means anything.

    `late`: seconds that each beat of the callers' own event loop came late, which every time that they measure may contain.
    """

    def __enter__(self) -> Pulse:
        self.longest_s, self.late = 0.0, list[float]()
        self._task = asyncio.ensure_future(self._beat())
        return self

    async def _beat(self) -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(BEAT_S)
            last, before = time.monotonic(), last
            self.longest_s = max(self.longest_s, last - before)
            self.late.append(last - before - BEAT_S)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._task.cancel()


Kind = Callable[[str, Tally, random.Random], Awaitable[None]]


async def good(address: str, tally: Tally, dice: random.Random, *, documents: int = 10, kind: str = "good") -> None:
    """Asks and waits."""
    known = dice.choice(requests(documents, 50))
    await call(address, tally, kind, known, known.body, tally.allowed)


async def large(address: str, tally: Tally, dice: random.Random) -> None:
    """Has many documents."""
    await good(address, tally, dice, documents=100, kind="large")


async def hurried(address: str, tally: Tally, dice: random.Random) -> None:
    """Has little time; 408 where not even the body arrived within it."""
    known = dice.choice(requests(10, 50))
    limit_s = f"{dice.uniform(0.05, 1.0):.2f}"
    await call(address, tally, "hurried", known, known.body, (*tally.allowed, 408, 504), X_Request_Timeout=limit_s)


async def bad(address: str, tally: Tally, dice: random.Random) -> None:
    """Sends what is no request."""
    body = dice.choice(
        [b"{", b"[]", b'{"query": 5, "documents": ["a"]}', b'{"query": "a"}', b'{"query": "a", "documents": [7]}', b"\xff\xfe"]
    )
    await call(address, tally, "bad", None, body, (400,))


async def huge(address: str, tally: Tally, dice: random.Random) -> None:
    """Sends more documents than are allowed."""
    await call(address, tally, "huge", None, asked("q", ["x"] * 3000), (413,))


async def slow(address: str, tally: Tally, dice: random.Random) -> None:
    """Reads drop by drop."""
    known = dice.choice(requests(100, 20))
    await call(address, tally, "slow", known, known.body, tally.allowed, pause_s=0.2)


async def leaving(address: str, tally: Tally, dice: random.Random) -> None:
    """Hangs up before its answer is there, or while it comes."""
    async with Caller(address) as caller:
        try:
            await caller.send("/rerank", dice.choice(requests(100, 20)).body)
            await asyncio.sleep(dice.uniform(0.0, 0.5))
        except OSError:
            return
    tally.outcomes["left"] += 1


async def call(
    address: str, tally: Tally, kind: str, known: Known | None, body: bytes, allowed: Sequence[int], pause_s: float = 0.0, **headers: str
) -> None:
    began = time.monotonic()
    try:
        async with asyncio.timeout(PATIENCE_S), Caller(address) as caller:
            await caller.send("/rerank", body, **headers)
            answer = await caller.answer(pause_s)
    except TimeoutError:
        tally.unanswered += 1
    except (OSError, Closed):
        tally.closed.append((began, time.monotonic()))
    else:
        tally.judge(kind, known, answer, time.monotonic() - began, allowed)


async def arrive(address: str, tally: Tally, kinds: dict[Kind, float], rate: float, seconds: float, seed: int = 0, most: int = 400) -> None:
    """Callers of these kinds (with their shares) come at `rate` a second for so long, however slow the answers; waits for all of them.

    At most `most` are there at once: whoever comes then goes away again, and is counted.
    """
    dice, tasks = random.Random(seed), set[asyncio.Task[None]]()
    began = coming = time.monotonic()
    while coming - began < seconds:
        coming += dice.expovariate(rate)
        await asyncio.sleep(max(0.0, coming - time.monotonic()))
        if len(tasks) >= most:
            tally.not_sent += 1
        else:
            [kind] = dice.choices(list(kinds), list(kinds.values()))
            task = asyncio.ensure_future(kind(address, tally, dice))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
    if tasks:
        await asyncio.gather(*tasks)
