"""What users of other servers reported, tried on this one. Which test stands for which report is told in `reports`; those that had none are here."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from batching.board import Board
from batching.cut import cut
from batching.families.activate import activate
from batching.types import Sequences
from service import model_files
from service.ranking import order
from tests.anchors.reports import REPORTS
from tests.processes.http import Closed
from tests.processes.service import Service, ask, asked, encoder, is_right, scorers

ROOT = Path(__file__).parents[2]
ELSEWHERE = {"slow", "gpu", "clients", "browser", "soak"}
"""Marks of what an ordinary run leaves out."""
QUERY = "where does the river end"
FEW = [f"stone number {number} in the garden" for number in range(8)]
BOMB = "dynamite"
MEMORY_TOKENS = 1500


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """Two HTTP processes, a token cache that is soon full and else the defaults, before a worker that fails on one word and has little memory."""
    poison = int(encoder().encode("q", [BOMB]).sequences.ids[-2])
    with Service(
        scorers(mode="raise", poison=poison, memory_tokens=MEMORY_TOKENS), workers=2, token_cache_bytes=1_000_000, log_level="error"
    ) as service:
        assert is_right(asyncio.run(ask(service.address, body=asked(QUERY, FEW))), QUERY, FEW)
        yield service


def texts(count: int, words: int, first: int = 0) -> list[str]:
    """So many documents of so many words, no two alike."""
    return [f"{number} " + "river stone cloud lamp bread winter " * (words // 6) for number in range(first, first + count)]


def counted(page: bytes, name: str) -> float:
    """The sum of a series over its labels."""
    return sum(float(line.split()[-1]) for line in page.decode().splitlines() if line.startswith((f"{name}{{", f"{name} ")))


@pytest.mark.parametrize("number", range(1, 21))
def test_every_report_has_its_tests(number: int) -> None:
    """Each test that stands for a report exists, and runs whenever the tests are run."""
    for name in REPORTS[number].tests:
        path, _, function = name.partition("::")
        tree = ast.parse((ROOT / path).read_text("utf-8"))
        found = [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == function]
        assert len(found) == 1, name
        marks = {one.attr for decorator in found[0].decorator_list for one in ast.walk(decorator) if isinstance(one, ast.Attribute)}
        assert not marks & ELSEWHERE, name


def test_report_02_an_exception_while_scoring_ends_its_call_and_no_other(service: Service) -> None:
    """Ten calls make the model raise: each is 500 soon, those beside them are right, and afterwards nothing is refused or held."""

    async def main() -> None:
        async with asyncio.timeout(20):
            bad = [ask(service.address, body=asked(QUERY, [BOMB, f"harmless {number}"])) for number in range(10)]
            good = [ask(service.address, body=asked(QUERY, FEW)) for _ in range(10)]
            answers = await asyncio.gather(*bad, *good)
        assert [answer.status for answer in answers[:10]] == [500] * 10
        assert all(is_right(answer, QUERY, FEW) for answer in answers[10:])
        assert (await ask(service.address, "/health/ready")).status == 200
        assert is_right(await ask(service.address, body=asked(QUERY, FEW)), QUERY, FEW)
        page = (await ask(service.address, "/metrics")).body
        assert counted(page, "rerankd_queue_reserved_tokens") == 0

    asyncio.run(main())


def test_report_03_of_a_refused_call_nothing_is_computed() -> None:
    """A call that has room for a half of its documents only is refused as a whole: no pair of it is scored, and no room is lost."""

    def pairs(service: Service) -> int:
        assert service.runtime
        board = Board(service.runtime / "0" / "board")
        with contextlib.closing(board):
            return sum(worker.pairs for worker in board.workers())

    async def main(service: Service) -> None:
        first, second, third = texts(60, 30), texts(60, 30, 100), texts(10, 30, 200)
        working = asyncio.ensure_future(ask(service.address, body=asked(QUERY, first)))
        await asyncio.sleep(0.3)
        refused = await ask(service.address, body=asked(QUERY, second))
        assert refused.status == 429
        fits = await ask(service.address, body=asked(QUERY, third))
        assert is_right(fits, QUERY, third)
        assert is_right(await working, QUERY, first)
        assert pairs(service) == len(first) + len(third)

    with Service(scorers(seconds_per_token=0.0008), queue_tokens=4500, token_budget=256) as service:
        asyncio.run(main(service))


def test_report_04_a_thousand_documents_of_megabytes_are_ranked_by_default(service: Service) -> None:
    """1,000 documents and 3 MB, no setting touched: every one comes back with its own score."""
    documents = texts(1000, 480)
    body = asked(QUERY, documents)
    assert len(body) > 2_500_000
    answer = asyncio.run(ask(service.address, body=body))
    assert answer.status == 200
    assert is_right(answer, QUERY, documents)


def test_report_06_tokenizing_a_large_call_holds_nobody_up(service: Service) -> None:
    """While one call of 8 MB is read and tokenized, others come one after another to both HTTP processes and are answered."""

    async def main() -> None:
        large = asked(QUERY, texts(2000, 600, 10_000))
        working, answered = asyncio.ensure_future(ask(service.address, body=large)), 0
        while not working.done():
            answered += is_right(await ask(service.address, body=asked(QUERY, FEW)), QUERY, FEW)
        assert (await working).status == 200
        assert answered >= 10

    asyncio.run(main())


def test_report_07_hardly_a_token_is_padding_even_where_a_model_pads() -> None:
    """A thousand documents from 10 to 500 tokens: as they come two fifths of a padded batch would be padding; cut by length it is a fiftieth."""
    dice = np.random.default_rng(0)
    lengths = np.clip(dice.lognormal(4.5, 0.7, 1000), 10, 500).astype(np.int32)
    request = Sequences(np.zeros(int(lengths.sum()), np.int32), lengths, np.zeros_like(lengths), False, len(lengths))

    def padding(batches: list[np.ndarray]) -> float:
        computed = sum(int(batch.max()) * len(batch) for batch in batches)
        return 1 - int(lengths.sum()) / computed

    assert padding(np.split(lengths, range(32, 1000, 32))) > 0.4
    assert padding([part.sequences.lengths for part in cut(request, 4096, padded=True)]) < 0.05


def test_report_09_memory_that_ran_out_costs_no_answer_and_is_counted(service: Service) -> None:
    """Batches over the memory are halved until they fit: every score is right, no worker is lost, and operators see it."""
    documents = texts(100, 30)
    assert is_right(asyncio.run(ask(service.address, body=asked(QUERY, documents))), QUERY, documents)
    page = asyncio.run(ask(service.address, "/metrics")).body
    assert counted(page, "rerankd_worker_out_of_memory_total") > 0
    assert counted(page, "rerankd_worker_restarts_total") == 0


def test_report_12_scores_that_round_to_one_keep_their_order() -> None:
    """Raw scores from 9 to 40, whose sigmoids are 1.0 in half precision and mostly in float32: ranked by what the model said, ties by index."""
    card = model_files.card(model_files.starter(), "starter", None)
    raw = np.array([9.0, 40.0, 18.0, 17.5, 40.0, 25.0], np.float32)
    sigmoids = (1 / (1 + np.exp(-raw))).astype(np.float16)
    assert set(sigmoids.tolist()) == {1.0}
    assert order(raw, None) == [1, 4, 5, 2, 3, 0]
    scores = activate(raw, card)
    assert all(scores[one] >= scores[other] for one, other in itertools.pairwise(order(raw, None)))


def test_report_17_counters_never_fall_whichever_process_is_asked(service: Service) -> None:
    """Scrapes on new connections reach either HTTP process, one of which is killed meanwhile: a counter only rises, and counts every call."""

    async def main() -> None:
        name, seen, right = "rerankd_requests_total", [], 0
        before = counted((await ask(service.address, "/metrics")).body, name)
        for step in range(40):
            if step == 20:
                service.http_processes()[0].kill()
            with contextlib.suppress(OSError, Closed):
                right += (await ask(service.address, body=asked(QUERY, FEW))).status == 200
                seen.append(counted((await ask(service.address, "/metrics")).body, name))
        assert len(seen) >= 30
        assert all(later >= earlier for earlier, later in itertools.pairwise(seen))
        async with asyncio.timeout(10):  # a call is counted when its answer is out
            while counted((await ask(service.address, "/metrics")).body, name) < before + right:
                await asyncio.sleep(0.05)

    asyncio.run(main())
    service.until(lambda: len(service.http_processes()) == 2 and service.is_ready(), 30.0)


def test_report_18_large_calls_leave_no_memory_behind(service: Service) -> None:
    """Twelve calls of 1,000 new documents each after six of the kind: no process has gained more than a fiftieth."""

    def memory() -> dict[int, int]:
        return {one.pid: one.memory_info().rss for one in service.processes()}

    def ask_for(calls: range) -> None:
        for number in calls:
            answer = asyncio.run(ask(service.address, body=asked(QUERY, texts(1000, 60, 1000 * number))))
            assert answer.status == 200

    ask_for(range(100, 106))
    before = memory()
    ask_for(range(110, 122))
    after = memory()
    assert before.keys() == after.keys()
    assert all(after[pid] <= 1.02 * before[pid] + 1e6 for pid in before)
