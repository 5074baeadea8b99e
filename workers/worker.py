"""Stages are synchronous and clockless; a worker is the one thin asynchronous shell around them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol

from workers.errors import WorkerError
from workers.mailbox import Closed, Mailbox
from workers.messages import Control, Message, lost

log = logging.getLogger(__name__)


class Stage(Protocol):
    """One step of the graph: items in, items out, no clock, no threads, no event loop.

    A stage gets data and control messages of its inputs in order. It passes on every control
    message that concerns what it makes (translated to its own source), after the data that precede
    it. What it makes must depend only on the items, never on how they were cut or timed.
    """

    name: str

    def push(self, item: Message) -> Sequence[Message]:
        """Take one item; return what can be said now."""
        ...

    def flush(self) -> Sequence[Message]:
        """The input has ended; return what is left."""
        ...


@dataclass(slots=True)
class StageAccount:
    """``taken == processed + sum(failed.values())``, between items."""

    taken: int = 0
    processed: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    """Time spent inside the stage."""


Run = Callable[[Callable[[], Sequence[Message]]], Awaitable[Sequence[Message]]]
"""Runs a function of a stage: inline, in a thread, ..."""


async def inline(function: Callable[[], Sequence[Message]]) -> Sequence[Message]:
    """Run on the event loop: for stages that cost microseconds, and for tests."""
    return function()


class Worker:
    """Takes items from a mailbox, lets a stage process them and routes what comes out.

    A failing item is counted by kind of error and becomes a ``Gap``; the worker goes on.
    """

    def __init__(
        self,
        stage: Stage,
        inbox: Mailbox[Message],
        route: Callable[[Message], Iterable[Mailbox[Message]]],
        outboxes: Sequence[Mailbox[Message]],
        run: Run = inline,
    ) -> None:
        self.stage = stage
        self.inbox = inbox
        self.account = StageAccount()
        self._route = route
        self._outboxes = outboxes
        self._run = run

    async def main(self) -> None:
        """Run until the inbox is closed and empty; then flush and close the outboxes."""
        try:
            while True:
                try:
                    item = await self.inbox.get()
                except Closed:
                    break
                await self._process(item)
            await self._send(await self._guard(self.stage.flush, None))
        finally:
            for outbox in self._outboxes:
                outbox.close()

    async def _process(self, item: Message) -> None:
        self.account.taken += 1
        await self._send(await self._guard(lambda: self.stage.push(item), item))

    async def _guard(
        self, function: Callable[[], Sequence[Message]], item: Message | None
    ) -> Sequence[Message]:
        start = perf_counter()
        try:
            outputs = await self._run(function)
        except Exception as error:  # noqa: BLE001  # the boundary: one bad item ends no call
            return self._failed(error, item)
        finally:
            self.account.seconds += perf_counter() - start
        if item is not None:
            self.account.processed += 1
        self.inbox.because = "queue_full"
        return outputs

    def _failed(self, error: Exception, item: Message | None) -> Sequence[Control]:
        kind = type(error).__name__
        log.warning("stage %s: %s while processing %s", self.stage.name, kind, type(item).__name__)
        log.debug("stage %s failed", self.stage.name, exc_info=error)
        if isinstance(error, WorkerError) and error.restarts:
            self.inbox.because = "restarted"  # what is lost until then is lost to that
        if item is None:
            return []
        self.account.failed[kind] += 1
        gap = lost(item, "failed")
        return [gap] if gap else []

    async def _send(self, outputs: Sequence[Message]) -> None:
        for output in outputs:
            for outbox in self._route(output):
                await outbox.put(output)
