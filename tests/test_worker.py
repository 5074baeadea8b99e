"""A worker keeps order, survives failing items and accounts for them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from tests.virtual_time import run
from workers.mailbox import Mailbox, Policy
from workers.messages import Gap, Message, Progress, VideoFrame
from workers.worker import Worker

IMAGE = np.zeros((2, 2, 3), np.uint8)


class Odd:
    """Passes even frames, fails on odd ones, and says at the end how many it saw."""

    name = "odd"

    def __init__(self) -> None:
        self.seen = 0

    def push(self, item: Message) -> Sequence[Message]:
        if isinstance(item, VideoFrame):
            self.seen += 1
            if int(item.t) % 2:
                raise ZeroDivisionError("odd")
        return [item]

    def flush(self) -> Sequence[Message]:
        return [Progress("p1", "face", self.seen)]


def test_failures_are_counted_and_marked_and_the_rest_goes_on() -> None:
    async def main() -> None:
        inbox: Mailbox[Message] = Mailbox("in", 16, Policy.BLOCK)
        outbox: Mailbox[Message] = Mailbox("out", 16, Policy.BLOCK)
        worker = Worker(Odd(), inbox, lambda item: [outbox], [outbox])
        for t in range(4):
            await inbox.put(VideoFrame("p1", t, IMAGE))
        inbox.close()
        await worker.main()
        out = [outbox.get_nowait() for _ in range(len(outbox))]
        assert [item.t if isinstance(item, VideoFrame) else item for item in out] == [
            0,
            Gap("p1", "video", 1, 1, "failed"),
            2,
            Gap("p1", "video", 3, 3, "failed"),
            Progress("p1", "face", 4),
        ]
        account = worker.account
        assert account.failed == {"ZeroDivisionError": 2}
        assert account.taken == account.processed + sum(account.failed.values()) == 4
        assert outbox.closed

    run(main())


def test_a_cancelled_worker_still_closes_its_outboxes() -> None:
    async def main() -> None:
        inbox: Mailbox[Message] = Mailbox("in", 16, Policy.BLOCK)
        outbox: Mailbox[Message] = Mailbox("out", 16, Policy.BLOCK)
        task = asyncio.create_task(Worker(Odd(), inbox, lambda item: [outbox], [outbox]).main())
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        assert outbox.closed

    run(main())
