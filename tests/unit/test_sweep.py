"""Alarms go off once, in time, and only if they are still there; without any there is no timer."""

from __future__ import annotations

import asyncio
import time

from service.sweep import TICK_S, Sweep, sweep


def test_alarms() -> None:
    """The discarded one is silent, the due one rings once within two ticks, the later one waits; then nothing ticks."""

    async def run() -> None:
        found, rung = Sweep(), []
        began = time.monotonic()
        found.add("soon", 0.01, lambda: rung.append(("soon", time.monotonic() - began)))
        found.add("never", 0.01, lambda: rung.append(("never", 0.0)))
        found.add("later", 0.15, lambda: rung.append(("later", time.monotonic() - began)))
        found.discard("never")
        found.discard("never")
        await asyncio.sleep(0.1)
        assert [name for name, _ in rung] == ["soon"]
        assert rung[0][1] >= 0.01
        await asyncio.sleep(0.15)
        assert [name for name, _ in rung] == ["soon", "later"]
        assert rung[1][1] >= 0.15
        assert len(found) == 0
        await asyncio.sleep(2 * TICK_S)
        assert found._timer is None

    asyncio.run(run())


def test_each_loop_has_its_own() -> None:
    """The same within a loop, another in the next."""

    async def get() -> tuple[Sweep, Sweep]:
        return sweep(), sweep()

    one, again = asyncio.run(get())
    other, _ = asyncio.run(get())
    assert one is again
    assert one is not other
