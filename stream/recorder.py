"""Records running sessions to disk, beside the calls: whatever the disk does, the calls go on.

One thread writes for all sessions. What cannot be written is counted, and the person is told that
nothing is recorded for now; as soon as there is room again the record goes on, and says itself how
much it misses.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TypeVar

from stream.access import same
from stream.audit import AuditBroken, AuditLog
from stream.errors import ConfigError
from stream.keep import MediaQueue, MediaWriter
from stream.record_files import (
    ARTEFACTS,
    KINDS,
    Artefact,
    Erased,
    RecordError,
    SessionFolder,
    sweep,
)
from stream.record_log import Line, LogWriter
from stream.record_types import Record
from stream.sections import RecordConfig
from stream.session_index import Index, summary_of
from stream.subscription import Subscription
from stream.tickets import AccessError

log = logging.getLogger(__name__)

WRITE_PERIOD_S = 0.25
"""How long a record waits to be written."""

SYNC_PERIOD_S = 0.5
"""How long a written record waits until it would survive a loss of power."""

STEADY = 4
"""Writes in a row that must work until a person is told that the record goes on: on a disk that is
nearly full what is small fits and the rest does not.
"""

SWEEP_PERIOD_S = 3600.0

CAPACITY = 4096
"""Records of a session that wait while the disk is slow: several minutes."""

REASONS = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "disk_full"),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "read_only"),
}
T = TypeVar("T")


class ArtefactWriter:
    """One part of a session's record; opened when it has its first line."""

    def __init__(self, path: Path, header: dict[str, object]) -> None:
        self.lost = 0
        """Records that could not be written since the last that could."""
        self.missed = 0
        """Records that could not be written at all."""
        self._path = path
        self._header = header
        self._log: LogWriter | None = None

    def write(self, lines: Sequence[Line], note: int) -> str | None:
        """Append; the reason if the disk refused. `note` numbers the line that tells of a loss."""
        if not lines and not self.lost:
            return None
        told = [(note, {"type": "lost", "records": self.lost})] if self.lost else []
        try:
            if self._log is None:
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._log = LogWriter(self._path, self._header)
            self._log.append([*told, *lines])
        except OSError as error:
            self.lost += len(lines)
            self.missed += len(lines)
            return _reason(error)
        self.lost = 0
        return None

    def sync(self) -> str | None:
        try:
            if self._log is not None:
                self._log.sync()
        except OSError as error:
            return _reason(error)
        return None

    def close(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None


class SessionWriter:
    """The files of one session. Blocks; for one thread."""

    def __init__(
        self,
        folder: SessionFolder,
        config: RecordConfig,
        subject: str | None,
        key: str,
        media: MediaQueue | None,
    ) -> None:
        started = time.time()
        days = config.days.model_dump()
        self._number = 0
        self._synced = time.monotonic()
        common = {"type": "log", "session": folder.session, "subject": subject}
        headers: dict[Artefact, dict[str, object]] = {
            name: {
                **common,
                "key": key_hash(key),
                "artefact": name,
                "started": started,
                "keep_until": started + days[name] * 86_400,
            }
            for name in ARTEFACTS
            if days[name] > 0
        }
        self._parts: dict[Artefact, ArtefactWriter] = {
            name: ArtefactWriter(folder.file(name), header)
            for name, header in headers.items()
            if name != "media"
        }
        self._media: MediaWriter | None = None
        if media is not None and "media" in headers:
            log = folder.file("media")
            self._media = MediaWriter(log, folder.media, headers["media"], media)

    def write(self, records: Sequence[Record], dropped: int) -> str | None:
        """Append `records`, of which `dropped` were lost before; the reason if the disk refused."""
        batches: dict[Artefact, list[Line]] = {name: [] for name in self._parts}
        note = self._number = self._number + 1
        for record in records:
            self._number += 1
            if record["type"] == "group":  # what a room looks like is not of this person
                continue
            name = KINDS.get(record["type"], "estimates")
            if name in batches:
                batches[name].append((self._number, dict(record)))
        self._parts["estimates"].lost += dropped
        self._parts["estimates"].missed += dropped
        reasons = [self._parts[name].write(lines, note) for name, lines in batches.items()]
        if self._media is not None:
            reasons.append(_refusal(self._media.write))
        if time.monotonic() - self._synced >= SYNC_PERIOD_S:
            reasons.append(self.sync())
        return next((reason for reason in reasons if reason), None)

    def sync(self) -> str | None:
        self._synced = time.monotonic()
        refusals = [part.sync() for part in self._parts.values()]
        if self._media is not None:
            refusals.append(_refusal(self._media.sync))
        return next((why for why in refusals if why), None)

    @property
    def frames_lost(self) -> int:
        """Media that is in no file."""
        return self._media.lost if self._media is not None else 0

    @property
    def missed(self) -> int:
        """Records that are in no file."""
        return sum(part.missed for part in self._parts.values())

    def close(self) -> None:
        self.sync()
        for part in self._parts.values():
            part.close()
        if self._media is not None:
            _refusal(self._media.close)


def _refusal(work: Callable[[], None]) -> str | None:
    """Do something with a file; the reason if the disk refused."""
    try:
        work()
    except OSError as error:
        return _reason(error)
    return None


def _reason(error: OSError) -> str:
    return REASONS.get(error.errno or 0, "disk_failed")


def key_hash(key: str) -> str:
    """What a record keeps of the key of its session."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def _holds(folder: SessionFolder, key: str) -> bool:
    names = list(folder.files())
    if names and not same(key_hash(key), folder.header(names[0]).get("key", "")):
        raise AccessError(
            "the key of the session is missing or wrong",
            hint="send the header Authorization: Bearer with the key that answered the offer",
        )
    return bool(names)


class Recorder:
    """The folder of records of a server; use as an asynchronous context manager."""

    def __init__(self, config: RecordConfig, audit: AuditLog | None = None) -> None:
        self.config = config
        self._audit = audit
        self.counts: Counter[str] = Counter()
        """``started`` (sessions), ``lost`` (records), ``frames_lost``, ``swept`` (files)."""
        self._root = Path(config.folder)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="recorder")
        self._index: Index | None = None
        self._sweeping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Recorder:
        """Raises ``ConfigError``."""
        try:
            await self._run(self._open)
        except BaseException:
            self._thread.shutdown()
            raise
        self._sweeping = asyncio.create_task(self._sweep_forever(), name="sweeper")
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._sweeping is not None
        self._sweeping.cancel()
        await asyncio.wait([self._sweeping])
        if self._index is not None:
            await self._run(self._index.close)
        self._thread.shutdown()

    async def record(
        self,
        session: str,
        subject: str | None,
        key: str,
        records: Subscription,
        tell: Callable[[str | None], None],
        media: MediaQueue | None = None,
    ) -> None:
        """Write `records` to their end; `tell` hears whether it works, on every change.

        Whoever has `key` may erase the record. `media` is what else is kept.
        """
        folder = SessionFolder(self._root, session)
        writer = SessionWriter(folder, self.config, subject, key, media)
        told: str | None = "not yet"
        dropped, worked = 0, STEADY
        try:
            while True:
                await asyncio.sleep(WRITE_PERIOD_S)
                closed, batch = records.closed, records.take()
                missed, dropped = records.dropped - dropped, records.dropped
                reason = await self._run(partial(writer.write, batch, missed))
                worked = 0 if reason else worked + 1
                if reason != told and (reason or worked >= STEADY):
                    tell(reason)
                    if told == "not yet":
                        self.counts["started"] += 1
                        self._thread.submit(self._enter, folder)
                    told = reason
                if closed:
                    return
        finally:  # in order, in the one thread, without waiting: this may have been cancelled
            self._thread.submit(self._finish, writer, folder)

    async def erase(self, session: str) -> list[Erased]:
        """Erase the record of a session that is over; what is gone."""
        return await self._run(lambda: self._erase(SessionFolder(self._root, session)))

    async def holds(self, session: str, key: str) -> bool:
        """Whether there is a record of `session`. Raises ``AccessError`` for another key."""
        return await self._run(lambda: _holds(SessionFolder(self._root, session), key))

    async def settled(self) -> None:
        """Return when all that was begun is done."""
        await self._run(lambda: None)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _open(self) -> None:
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe = self._root / ".probe"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise ConfigError(
                f"record.folder {self._root} cannot be written: {error.strerror}",
                hint="name a folder that you may write to, or record nothing",
            ) from None
        self._index = Index(self._root)
        self._index.refresh()

    def _enter(self, folder: SessionFolder) -> None:
        try:
            if self._index is not None and folder.path.exists():
                self._index.put(summary_of(folder))
        except (sqlite3.Error, RecordError, OSError, KeyError, TypeError) as error:
            # the index is made anew from the records when the server or a command starts
            log.warning("a session could not be indexed: %s", type(error).__name__)

    def _finish(self, writer: SessionWriter, folder: SessionFolder) -> None:
        writer.close()
        self.counts["lost"] += writer.missed
        self.counts["frames_lost"] += writer.frames_lost
        self._enter(folder)

    def _erase(self, folder: SessionFolder) -> list[Erased]:
        erased = folder.erase()
        if self._index is not None:
            self._index.remove(folder.session)
        return erased

    async def _sweep_forever(self) -> None:
        while True:
            try:
                await self._run(self._sweep)
            except (RecordError, AuditBroken, OSError, sqlite3.Error) as error:
                log.warning("records were not swept: %s", type(error).__name__)
            await asyncio.sleep(SWEEP_PERIOD_S)

    def _sweep(self) -> None:
        failed: dict[str, str] = {}
        gone = sweep(self._root, time.time(), self.config.days.model_dump(), failed)
        for session, why in failed.items():
            log.warning("session %s was not swept: %s", session, why)
        self.counts["swept"] += sum(map(len, gone.values()))
        for session, erased in gone.items() if self._audit is not None else ():
            assert self._audit is not None
            self._audit.append("erased", session, by="retention", erased=list(map(asdict, erased)))
        if self._index is not None:
            self._index.refresh()
