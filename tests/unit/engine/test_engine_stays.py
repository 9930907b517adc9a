"""What an answer tells of where its entries were, which traces are made of."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from batching.client import QueueClient
from batching.job import Scored
from batching.queue_files import make_queue, queue_shape
from tests.fakes import inline_worker, sequences


def test_every_entry_tells_its_times_and_its_worker(short_path: Path) -> None:
    """Put, leased, ended, in that order and between call and answer; the forward within the lease; the batch's tokens add up."""
    make_queue(short_path / "0", queue_shape(workers=2, owners=1, limit_tokens=100_000, max_request_scores=100))

    async def main() -> Scored:
        client = await QueueClient.open(short_path / "0", 0)
        try:
            return await client.score(sequences([[1] * 100] * 40), deadline=time.monotonic() + 20)
        finally:
            await client.close()

    with inline_worker(short_path / "0", slot=1, budget_tokens=1024, seconds_per_batch=0.01):
        began = time.monotonic()
        scored = asyncio.run(main())
        ended = time.monotonic()
    assert len(scored.stays) == scored.entries > 4
    for stay in scored.stays:
        assert began <= stay.put_at <= stay.leased_at <= stay.ended_at <= ended
        assert stay.ended_at - stay.forward_s >= stay.leased_at - 0.001
        assert stay.forward_s >= 0.009
        assert stay.worker == 1
        assert 0 < stay.batch_tokens <= 1024
    batches = {stay.ended_at: stay.batch_tokens for stay in scored.stays}
    assert sum(batches.values()) == 4000
