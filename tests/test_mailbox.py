"""Every mailbox accounts for each item exactly."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.virtual_time import run
from workers.mailbox import Closed, Mailbox, Policy
from workers.messages import AudioChunk, Gap, Message, Progress, VideoFrame

IMAGE = np.zeros((2, 2, 3), np.uint8)


def frame(t: float) -> VideoFrame:
    return VideoFrame("p1", t, IMAGE)


def balanced(box: Mailbox[Message]) -> bool:
    account = box.account
    return account.put == account.taken + sum(account.dropped.values()) + len(box)


@given(st.lists(st.sampled_from(["frame", "progress", "audio", "take"]), max_size=80))
def test_account_is_exact_at_every_moment(actions: list[str]) -> None:
    async def main() -> None:
        box: Mailbox[Message] = Mailbox("box", 3, Policy.DROP_OLDEST)
        for i, action in enumerate(actions):
            if action == "take" and len(box):
                await box.get()
            elif action == "frame":
                box.put_nowait(frame(i))
            elif action == "progress":
                box.put_nowait(Progress("p1", "video", i))
            elif action == "audio":
                box.put_nowait(AudioChunk("p1", i, np.zeros(16000, np.float32)))
            assert balanced(box)
            assert box.account.inside == len(box) <= 3
        box.discard()
        assert balanced(box) and len(box) == 0

    run(main())


def test_what_waited_too_long_is_dropped_but_for_progress() -> None:
    async def main() -> None:
        box: Mailbox[Message] = Mailbox("box", 9, Policy.DROP_OLDEST, max_age=1.0)
        blocks: Mailbox[Message] = Mailbox("blocks", 9, Policy.BLOCK, max_age=1.0)
        for t in range(2):
            box.put_nowait(frame(t))
        await blocks.put(frame(0))
        await asyncio.sleep(0.9)
        box.put_nowait(Progress("p1", "video", 2))
        box.put_nowait(frame(3))
        assert box.age == pytest.approx(0.9) and box.held == 3 * IMAGE.nbytes
        await asyncio.sleep(0.2)
        assert await box.get() == Gap("p1", "video", 0, 1, "too_old")
        assert await box.get() == Progress("p1", "video", 2)
        assert isinstance(await box.get(), VideoFrame)
        assert box.account.dropped == {"too_old": 2} and balanced(box)
        box.put_nowait(frame(4))
        await asyncio.sleep(1.1)
        reading = asyncio.create_task(box.get())
        assert await reading == Gap("p1", "video", 4, 4, "too_old")
        assert isinstance(await blocks.get(), VideoFrame)  # a recording loses nothing

    run(main())


def test_a_slow_reader_gets_what_is_fresh_again() -> None:
    async def main() -> None:
        box: Mailbox[Message] = Mailbox("box", 500, Policy.DROP_OLDEST, max_age=2.0)
        waited = []
        for t in range(400):  # ten items a second, of which two can be read
            box.put_nowait(frame(t))
            await asyncio.sleep(0.1)
            if t % 5 == 4:
                item = await box.get()
                while isinstance(item, Gap):
                    item = await box.get()
                assert isinstance(item, VideoFrame)
                waited.append(t + 1 - item.t)
        assert max(waited) <= 20 and sum(age <= 10 for age in waited) > len(waited) / 4
        assert balanced(box) and box.account.dropped["too_old"] > 200

    run(main())


def test_dropped_items_leave_one_gap_in_front_of_what_follows() -> None:
    async def main() -> None:
        box: Mailbox[Message] = Mailbox("box", 2, Policy.DROP_OLDEST)
        for t in range(5):
            box.put_nowait(frame(t))
        assert await box.get() == Gap("p1", "video", 0, 2, "queue_full")
        item = await box.get()
        assert isinstance(item, VideoFrame) and item.t == 3
        assert box.account.dropped == {"queue_full": 3}

    run(main())


def test_progress_replaces_older_progress_and_never_crowds_out_data() -> None:
    async def main() -> None:
        box: Mailbox[Message] = Mailbox("box", 3, Policy.DROP_OLDEST)
        box.put_nowait(frame(0))
        for t in range(1, 50):
            box.put_nowait(Progress("p1", "video", t))
        first, second = await box.get(), await box.get()
        assert isinstance(first, VideoFrame)
        assert second == Progress("p1", "video", 49)
        assert box.account.dropped == {"superseded": 48}
        box.put_nowait(Progress("p1", "video", 50))
        box.put_nowait(Progress("p2", "video", 1))
        assert len(box) == 2

    run(main())


def test_blocking_mailbox_loses_nothing_and_keeps_order() -> None:
    async def main() -> None:
        box: Mailbox[Message] = Mailbox("box", 2, Policy.BLOCK)
        seen: list[float] = []

        async def produce() -> None:
            for t in range(100):
                await box.put(frame(t))
            box.close()

        async def consume() -> None:
            while True:
                try:
                    item = await box.get()
                except Closed:
                    return
                assert isinstance(item, VideoFrame)
                seen.append(item.t)
                await asyncio.sleep(0.01)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(produce())
            tasks.create_task(consume())
        assert seen == list(range(100))
        assert box.account.peak == 2

    run(main())


def test_closes_with_its_last_producer_and_refuses_later_items() -> None:
    async def main() -> None:
        box: Mailbox[Message] = Mailbox("box", 2, Policy.DROP_OLDEST, producers=2)
        box.close()
        box.put_nowait(frame(0))
        box.close()
        assert isinstance(await box.get(), VideoFrame)
        with pytest.raises(Closed):
            await box.get()
        box.put_nowait(frame(1))
        assert box.account.dropped == {"closed": 1}
        assert balanced(box)

    run(main())


def test_a_producer_that_waits_is_released_when_the_mailbox_is_discarded() -> None:
    async def main() -> None:
        box: Mailbox[Message] = Mailbox("box", 1, Policy.BLOCK)
        await box.put(frame(0))
        waiting = asyncio.create_task(box.put(frame(1)))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        box.discard()
        await waiting
        assert box.account.dropped == {"discarded": 1, "closed": 1}
        assert balanced(box)

    run(main())


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ValueError, match="capacity"):
        Mailbox("box", 0, Policy.BLOCK)
    with pytest.raises(ValueError, match="producers"):
        Mailbox("box", 1, Policy.BLOCK, producers=0)
    box: Mailbox[Message] = Mailbox("box", 1, Policy.BLOCK)
    with pytest.raises(ValueError, match="blocks"):
        box.put_nowait(frame(0))
