"""Pieces of work that hold the event loop: one in a turn, first come first served, and nobody waits for one who went away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from itertools import pairwise

import uvloop

from service.turns import Turns

OTHER = -1


def in_both_loops(main: Callable[[], Coroutine[None, None, None]]) -> None:
    asyncio.run(main())
    uvloop.run(main())


def test_one_in_a_turn_and_in_order() -> None:
    """What else is ready runs between any two pieces."""

    async def main() -> None:
        turns, log = Turns(), []

        async def work(number: int) -> None:
            await turns.take()
            log.append(number)

        async def others() -> None:
            while len(log) < 20:
                log.append(OTHER)
                await asyncio.sleep(0)

        await asyncio.gather(others(), *(work(number) for number in range(5)))
        assert [one for one in log if one != OTHER] == [0, 1, 2, 3, 4]
        assert all(OTHER in pair for pair in pairwise(log))

    in_both_loops(main)


def test_alone_it_does_not_wait() -> None:
    """With nobody else there it goes on in the same turn, and in the next one again."""

    async def main() -> None:
        turns, loop = Turns(), asyncio.get_running_loop()
        for _ in range(3):
            late: list[bool] = []
            loop.call_soon(late.append, True)
            await turns.take()
            assert not late
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    in_both_loops(main)


def test_a_cancelled_one_keeps_nobody_waiting() -> None:
    """Neither one who still waits nor one whose turn has just come."""

    async def main() -> None:
        turns, done = Turns(), []
        loop = asyncio.get_running_loop()

        async def work(number: int) -> None:
            await turns.take()
            done.append(number)
            if number == 0:
                loop.call_soon(tasks[1].cancel)  # behind what gives task 1 its turn

        tasks = [asyncio.ensure_future(work(number)) for number in range(4)]
        loop.call_soon(tasks[2].cancel)
        found = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 2)
        assert done == [0, 3]
        assert [type(one) for one in found] == [type(None), asyncio.CancelledError, asyncio.CancelledError, type(None)]
        await asyncio.wait_for(turns.take(), 2)

    in_both_loops(main)
