"""Worker processes log as every other process does, and say whose requests a line is about."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from batching.client import QueueClient
from batching.errors import ScoringFailed
from batching.lifeline import Lifeline
from batching.pool import Pool, WorkerSpec
from batching.queue_files import make_queue, queue_shape
from batching.restart import Policy
from tests.fakes import POISON, sequences


async def _fail_one(directory: Path, pool: Pool) -> None:
    async with asyncio.timeout(30):
        while pool.workers()[0].state != "ready":
            pool.poll()
            await asyncio.sleep(0.02)
        client = await QueueClient.open(directory, 0)
        try:
            for text in ([1, 2], [POISON]):
                with contextlib.suppress(ScoringFailed):
                    await client.score(sequences([text]), deadline=time.monotonic() + 10, request_id=b"0123456789abcdef")
        finally:
            await client.close()


@pytest.mark.parametrize("as_json", [False, True])
def test_a_workers_lines_are_as_the_services(short_path: Path, capfd: pytest.CaptureFixture[str], as_json: bool) -> None:
    """In JSON if so set, named after the worker, from the level set on, with the request's id and the trace of what failed."""
    make_queue(short_path / "0", queue_shape(workers=1, owners=1, limit_tokens=10_000, max_request_scores=10))
    lifeline = Lifeline()
    spec = WorkerSpec(factory="tests.fakes:make", options={"mode": "raise"})
    pool = Pool(short_path / "0", [spec], Policy(), lifeline, "debug", log_json=as_json, name="worker-3-")
    try:
        asyncio.run(_fail_one(short_path / "0", pool))
    finally:
        pool.stop(10.0)
        pool.close()
        lifeline.close()
    lines = [line for line in capfd.readouterr().err.splitlines() if "worker-3-0" in line]
    batch, failed = (
        next(line for line in lines if "batch" in line and "failed" not in line),
        next(line for line in lines if "failed" in line),
    )
    if as_json:
        told = msgspec.json.decode(failed)
        assert (told["process"], told["logger"], told["level"]) == ("worker-3-0", "rerankd.worker", "error")
        assert told["request_ids"] == "0123456789abcdef"
        assert "RuntimeError: poison" in told["trace"]
        assert msgspec.json.decode(batch)["entries"] == 1
    else:
        assert " ERROR worker-3-0 " in failed
        assert "request_ids=0123456789abcdef" in failed
        assert " DEBUG worker-3-0 batch request_ids=0123456789abcdef entries=1 tokens=2 " in batch


@pytest.mark.parametrize("as_json", [False, True])
def test_what_libraries_say_and_the_error_that_ends_a_process_are_lines_like_others(as_json: bool) -> None:
    """They say whose they are, and are one JSON object each where lines are."""
    warn = "logging.getLogger('asyncio').info('quiet'); logging.getLogger('asyncio').warning('slow')"
    program = f"import logging; from batching import logs; logs.set_up('worker-7', level='info', as_json={as_json}); {warn}; 1 / 0"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    if as_json:
        told = [msgspec.json.decode(line) for line in ended.stderr.splitlines()]
        assert [(one["process"], one["level"], one["logger"]) for one in told] == [
            ("worker-7", "warning", "asyncio"),
            ("worker-7", "critical", "rerankd"),
        ]
        assert "ZeroDivisionError" in told[1]["trace"]
    else:
        assert " WARNING worker-7 slow\n" in ended.stderr
        assert " CRITICAL worker-7 ended by an error\n" in ended.stderr
        assert "ZeroDivisionError" in ended.stderr
