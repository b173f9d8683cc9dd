"""The timeout that all calls under way share."""

from __future__ import annotations

import asyncio

import pytest

from jupyter_batch.realtime.shared_timeout import SharedTimeout


def test_each_block_has_its_own_time_and_cancels_are_the_callers():
    """A block that is too long raises; one that ends in time is left alone; none is kept."""

    async def cycle():
        shared, never = SharedTimeout(0.02), asyncio.Event()

        async def block(awaited):
            with shared:
                return await awaited

        async def failing():
            raise ValueError("of the call")

        slow = [asyncio.create_task(block(never.wait())) for _ in range(3)]
        cancelled = asyncio.create_task(block(never.wait()))
        assert await block(asyncio.sleep(0, "done")) == "done"
        with pytest.raises(ValueError, match="of the call"):
            await block(failing())
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        for task in slow:
            with pytest.raises(TimeoutError, match="no answer within"):
                await task
            assert task.cancelling() == 0
        later = asyncio.create_task(block(never.wait()))  # with a timer of its own
        with pytest.raises(TimeoutError):
            await later
        shared.close()
        assert not shared._blocks
        assert not shared._expired

    asyncio.run(asyncio.wait_for(cycle(), 60))


def test_a_task_that_is_cancelled_from_outside_too_stays_cancelled():
    """Where the timeout and a cancel meet, the cancel wins, as with `asyncio.timeout`."""

    async def cycle():
        shared = SharedTimeout(0.01)

        async def block():
            with shared:
                try:
                    await asyncio.Event().wait()
                finally:
                    task.cancel()  # while the timeout ends the block

        task = asyncio.create_task(block())
        with pytest.raises(asyncio.CancelledError):
            await task
        shared.close()

    asyncio.run(asyncio.wait_for(cycle(), 60))
