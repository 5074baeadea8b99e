"""One recording through the graph: what ``stream.replay`` and ``stream.analyze`` share."""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import floor
from pathlib import Path

from stream import config as configuration
from stream import records
from stream.config import ReplayConfig
from stream.engines import Engines
from stream.errors import ConsentError, MediaError
from stream.graph import Flow
from stream.graph_settings import expected_modalities
from stream.media import Media, MediaItem, open_media
from stream.record_types import Record
from stream.session import Session
from workers.infer import InferenceEngine
from workers.messages import SAMPLE_RATE, AudioChunk, Gap
from workers.windows import WindowPlan

LIVE_CHUNK = SAMPLE_RATE // 50
"""Samples per chunk when a recording is fed as a call would be: 20 ms."""

IN_FLIGHT = 256
"""Records that wait for the reader of ``analyze``."""

Write = Callable[[Record], Awaitable[None]]


@dataclass(slots=True)
class Outcome:
    """What became of one recording."""

    seconds: float = 0.0
    """Media time that was read."""
    error: MediaError | None = None
    """Why it could not be read to its end; what was read has been analysed."""
    warnings: list[str] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    """Items that a stage could not process, per stage."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Items lost before a stage; only when paced."""


class Pace:
    """Feeds a session in real time by media time, in pieces as small as those of a call."""

    def __init__(self) -> None:
        self._start: float | None = None

    def now(self) -> float:
        """Media time that a live viewer would have reached."""
        return 0.0 if self._start is None else asyncio.get_running_loop().time() - self._start

    async def feed(self, session: Session, item: MediaItem) -> None:
        if self._start is None:
            self._start = asyncio.get_running_loop().time()
        for piece in _pieces(item):
            await asyncio.sleep(_due(piece) - self.now())
            session.push(piece)


def open_recording(path: str | os.PathLike[str], config: ReplayConfig) -> Media:
    """Open what purpose and consent allow. Raises ``ConsentError`` and ``MediaError``."""
    consent = config.within(config.consent)
    if not consent.any:
        raise ConsentError(
            "consent allows neither face nor voice nor words: nothing can be analysed",
            hint="set consent.face, consent.voice or consent.words to what the recorded"
            " people agreed to",
        )
    return open_media(
        path,
        fps=config.analysis.frames_per_second,
        max_width=config.many.max_width if config.people == "many" else config.analysis.max_width,
        audio=consent.voice or consent.words,
        video=consent.face,
    )


async def analyze_recording(
    media: Media,
    config: ReplayConfig,
    engines: Engines,
    write: Write,
    *,
    paced: bool = False,
    watch: Callable[[float], None] = lambda _: None,
) -> Outcome:
    """Send every record of `media` to `write`, in order; `watch` hears the media time reached.

    Without `paced` nothing is lost and all goes as fast as it can. With it the recording is fed in
    real time under the policies of a live call.
    """
    pace = Pace() if paced else None
    consent = config.within(config.consent)
    session = Session(
        media.name,
        media.person,
        config,
        consent,
        expected_modalities(consent, audio=media.has_audio, video=media.has_video),
        engines,
        engines.threads,
        Flow.LIVE if paced else Flow.LOSSLESS,
        pace.now if pace else None,
        faces=config.outlines or config.boxes,
        plan=_short_plan(media.duration, config),
        both_ways=config.two_sided and not paced,
        source="file",
        many=config.people == "many",
    )
    outcome = Outcome()
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(session.run(), name=f"session {session.id}")
            tasks.create_task(_feed(media, session, pace, outcome, watch), name="feed")
            async for record in session.subscribe():
                if record["type"] == "end" and outcome.error is not None:
                    record = records.end("failed")  # noqa: PLW2901  # the graph knows of no file
                await write(record if config.outlines else _without_outlines(record))
    except ExceptionGroup as group:
        raise _alone(group) from group
    outcome.seconds = media.position
    outcome.warnings = media.warnings
    for name, account in session.graph.accounts().items():
        outcome.failed[name] += account.failed.total()
    for name, box in session.graph.boxes.items():
        outcome.dropped[name] += box.account.lost
    return outcome


def _without_outlines(record: Record) -> Record:
    """A face record with the boxes alone."""
    if record["type"] != "face":
        return record
    return {**record, "faces": [{**face, "outlines": []} for face in record["faces"]]}


def _short_plan(duration: float | None, config: ReplayConfig) -> WindowPlan | None:
    """One window over a recording that is shorter than a window; None for longer ones.

    The last moment is left out: sound and picture rarely end together.
    """
    if duration is None or not 0.5 <= duration < config.window.width:
        return None
    return WindowPlan.fixed([(0.0, floor((duration - 0.1) * 50) / 50)])


def _alone(error: Exception) -> Exception:
    """The one error inside a group of one (a full disk, say); else the group."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


async def _feed(
    media: Media,
    session: Session,
    pace: Pace | None,
    outcome: Outcome,
    watch: Callable[[float], None],
) -> None:
    """Feed `session` to the end of `media`. One thread waits for the decoder."""
    items = iter(media)
    loop = asyncio.get_running_loop()
    pool = ThreadPoolExecutor(1, thread_name_prefix="media")
    try:
        while (item := await loop.run_in_executor(pool, next, items, None)) is not None:
            await (pace.feed(session, item) if pace else session.put(item))
            watch(media.position)
    except MediaError as error:
        outcome.error = error
    finally:
        media.close()  # frees a thread that still waits
        pool.shutdown(wait=True)
        session.close()


def _due(item: MediaItem) -> float:
    """When a live source would have given `item`, in seconds of media time."""
    if isinstance(item, AudioChunk | Gap):
        return item.t1
    return item.t if item.t != float("inf") else 0.0


def _pieces(item: MediaItem) -> Iterator[MediaItem]:
    if not isinstance(item, AudioChunk):
        yield item
        return
    for start in range(0, len(item.samples), LIVE_CHUNK):
        samples = item.samples[start : start + LIVE_CHUNK]
        yield replace(item, t0=item.t0 + start / SAMPLE_RATE, samples=samples)


def analyze(
    path: str | os.PathLike[str],
    config: ReplayConfig | str | os.PathLike[str] | None = None,
    *,
    engines: Engines | None = None,
) -> Iterator[Record]:
    """The records of one recording, from plain (not asynchronous) Python.

    `config` is a configuration, the path of one (like configs/replay.toml), or None for the
    defaults. `engines`, when given, are used and left open: load them once for many recordings.
    Nothing starts before the first record is asked for. Stopping early (``close()``, ``break``)
    ends everything that was started.

    Raises ``MediaError`` when the file cannot be read; when it can be read in part, after the
    records of that part.
    """
    if not isinstance(config, ReplayConfig):
        config = configuration.load(ReplayConfig, None if config is None else Path(config))
    with open_recording(path, config) as media:
        background = _Background(media, config, engines)
        try:
            yield from background.records()
        finally:
            background.stop()


class _Background:
    """Runs ``analyze_recording`` on an event loop in a thread of its own."""

    def __init__(self, media: Media, config: ReplayConfig, engines: Engines | None) -> None:
        self._media, self._config, self._engines = media, config, engines
        self._queue: queue.SimpleQueue[Record | Outcome | BaseException] = queue.SimpleQueue()
        self._loop = asyncio.new_event_loop()
        self._room = asyncio.Semaphore(IN_FLIGHT)
        self._stopped = False
        self._task: asyncio.Task[Outcome] | None = None
        self._thread = threading.Thread(target=self._run, name="analyze", daemon=True)
        self._thread.start()

    def records(self) -> Iterator[Record]:
        while True:
            item = self._queue.get()
            match item:
                case Outcome():
                    if item.error is not None:
                        raise item.error
                    return
                case BaseException():
                    raise item
            self._call(self._room.release)
            yield item

    def stop(self) -> None:
        """End the analysis if it still runs, and wait until all is closed."""
        self._stopped = True
        self._call(self._cancel)
        self._thread.join()

    def _call(self, function: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the loop has closed: all is done
            self._loop.call_soon_threadsafe(function)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                self._queue.put(runner.run(self._main()))
        except BaseException as error:  # noqa: BLE001  # told to the reader, in its thread
            self._queue.put(error)

    async def _main(self) -> Outcome:
        self._task = asyncio.current_task()
        if self._stopped:
            raise asyncio.CancelledError
        loaded = None if self._engines is not None else Engines.load(self._config)
        engines = self._engines or loaded
        assert engines is not None
        # The batcher belongs to the event loop that uses it; the models are shared.
        engines = replace(
            engines, inference=InferenceEngine(engines.model, engines.threads.predict)
        )
        try:
            return await analyze_recording(self._media, self._config, engines, self._write)
        finally:
            await engines.inference.idle()  # whoever left early did not wait for it
            if loaded is not None:
                loaded.close()

    async def _write(self, record: Record) -> None:
        await self._room.acquire()
        self._queue.put(record)
