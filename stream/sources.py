"""What feeds a session, and how to write another one: see docs/sources.md.

Cameras and shared tabs of browsers and publishers by WHIP come over WebRTC (``stream.webrtc``),
recordings from files (``stream.media``). Everything else, like a subscriber of a conference server
or the socket of a meeting bot, is a ``Source``: it makes sound and pictures in stream time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from stream.config import Consent, StreamConfig
from stream.engines import Engines
from stream.graph import Flow
from stream.graph_settings import expected_modalities
from stream.receivers import Kind, Sink
from stream.record_types import Origin, Record
from stream.session import Session
from workers.messages import END, Progress


class Source(Protocol):
    """Something that shows and lets hear a person, or many in one picture."""

    origin: Origin
    kinds: frozenset[Kind]
    """What it can give: ``audio``, ``video``."""
    many: bool
    """Whether several people may be in one picture."""

    async def feed(self, sink: Sink, person: str, now: Callable[[], float]) -> None:
        """Push what comes until it is over; never blocks, waits with ``await`` alone.

        ``AudioChunk`` (mono, 16 kHz) and ``VideoFrame`` (RGB) of `person`, each kind in order of
        time, in seconds since the session began; `now` gives the current time on that clock.
        Sound and pictures of one moment must have the same time: whoever cannot know that sets
        ``provisional``. What is lost is told as ``Gap``. Raises what made it fail.
        """


async def run_source(
    source: Source,
    name: str,
    person: str,
    config: StreamConfig,
    consent: Consent,
    engines: Engines,
    write: Callable[[Record], Awaitable[None]],
) -> None:
    """Analyse a live source until it is over; every record goes to `write`.

    Only what the people in it agreed to (`consent`) is looked at. A source that fails ends its
    session as one that is over does, and its error is raised.
    """
    consent = config.within(consent)
    start = time.monotonic()

    def now() -> float:
        return time.monotonic() - start

    expected = expected_modalities(
        consent, audio="audio" in source.kinds, video="video" in source.kinds
    )
    session = Session(
        name, person, config, consent, expected, engines, engines.threads, Flow.LIVE, now,
        source=source.origin, many=source.many,
    )  # fmt: skip

    async def feed() -> None:
        try:
            for kind in sorted({"audio", "video"} - source.kinds):
                session.push(Progress(person, "audio" if kind == "audio" else "video", END))
            await source.feed(session, person, now)
        finally:
            session.close()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(session.run(), name=f"session {name}")
        subscription = session.subscribe()
        tasks.create_task(feed(), name=f"source {name}")
        async for record in subscription:
            await write(record)
