"""The folder of recorded sessions: where things lie, what they hold, and how they are erased.

::

    FOLDER/index.sqlite                what ``stream.session_index`` searches; can be made anew
    FOLDER/sessions/ID/estimates.log   hello, clock, states, gaps, end
    FOLDER/sessions/ID/words.log       transcripts, where configured
    FOLDER/sessions/ID/faces.log       outlines, where configured
    FOLDER/sessions/ID/media.mkv       picture and sound, where configured and agreed to, with
    FOLDER/sessions/ID/media.log       what holds of it (``stream.keep``)

Each file is a log (``stream.record_log``) with a time of its own until which it may be kept, in its
header.
"""

from __future__ import annotations

import hashlib
import heapq
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args

from stream.earlier import as_now
from stream.errors import StreamError
from stream.record_log import LogReader, Object, is_open

Artefact = Literal["estimates", "words", "faces", "media"]
ARTEFACTS: tuple[Artefact, ...] = get_args(Artefact)
KINDS: dict[str, Artefact] = {"transcript": "words", "face": "faces"}
"""Type of a record -> where it belongs; all others are with the estimates."""


NAME = re.compile(r"[\w-]{1,64}", re.ASCII)
"""Of a session."""


class RecordError(StreamError, ValueError):
    """A recorded session cannot be found, read or erased."""


@dataclass(frozen=True, slots=True)
class Erased:
    """One file that is gone; ``sha256`` is that of its content."""

    artefact: Artefact
    bytes: int
    lines: int
    sha256: str


@dataclass(slots=True)
class Summary:
    """What one session's estimates say about it."""

    session: str
    subject: str | None = None
    """Whom the ticket named that the call was made with."""
    purpose: str = ""
    started: float = 0.0
    """Unix time."""
    seconds: float = 0.0
    """Stream time of the last record."""
    reason: str | None = None
    """How it ended; None: it goes on, or the server was killed."""
    states: int = 0
    active_s: dict[str, float] = field(default_factory=dict)
    """Label -> seconds for which it was shown as active."""


class SessionFolder:
    """The files of one recorded session."""

    def __init__(self, root: Path, session: str) -> None:
        if not NAME.fullmatch(session):
            raise RecordError(f"'{session}' is no name of a session", hint="see the command list")
        self.session = session
        self.path = root / "sessions" / session

    def file(self, artefact: Artefact) -> Path:
        return self.path / f"{artefact}.log"

    @property
    def media(self) -> Path:
        """Picture and sound."""
        return self.path / "media.mkv"

    def files(self) -> dict[Artefact, Path]:
        """The logs of those that are there."""
        return {
            name: self.file(name)
            for name in ARTEFACTS
            if any(path.exists() for path in self._paths(name))
        }

    def is_live(self) -> bool:
        """Whether it is being written."""
        paths = [path for name in ARTEFACTS for path in self._paths(name) if path.exists()]
        return any(map(is_open, paths))

    def header(self, artefact: Artefact) -> Object:
        """Empty where the writer was killed before it wrote one, or where it is not as written."""
        if not self.file(artefact).exists():
            return {}
        with self._reader(self.file(artefact)) as reader:
            header = reader.header or {}
        times = (header.get("started"), header.get("keep_until"))
        return header if all(isinstance(t, float | int) and 0 <= t < 1e11 for t in times) else {}

    def records(self, damage: Counter[str] | None = None) -> Iterator[Object]:
        """All records in the order of their making; `damage` counts what was passed over."""
        with ExitStack() as opened:
            paths = [path for name, path in self.files().items() if name != "media"]
            readers = [opened.enter_context(self._reader(path)) for path in paths]
            for _, record in heapq.merge(*readers, key=lambda line: line[0]):
                yield as_now(record)
            for reader in readers if damage is not None else ():
                assert damage is not None
                damage["damaged lines"] += reader.damage.lines
                damage["bytes of unfinished lines"] += reader.damage.torn

    def summary(self) -> Summary:
        header = self.header("estimates") if self.file("estimates").exists() else {}
        found = Summary(self.session, header.get("subject"), started=header.get("started", 0.0))
        active: dict[int, list[str]] = {}
        hop = 0.0
        for record in self.records():
            try:
                hop = _note(record, found, active, hop)
            except (KeyError, TypeError, AttributeError, ValueError, OverflowError):
                # whole, but not as this version writes
                continue
        found.states = len(active)
        counts = Counter(name for names in active.values() for name in names)
        found.active_s = {name: round(n * hop, 3) for name, n in counts.items()}
        return found

    def erase(self, *artefacts: Artefact) -> list[Erased]:
        """Erase these parts (none named: all). Raises ``RecordError`` while it is written."""
        if self.is_live():
            raise RecordError(
                f"session {self.session} is being recorded", hint="end the call first"
            )
        erased = []
        for name in self.files():
            if not artefacts or name in artefacts:
                there = [path for path in self._paths(name) if path.exists()]
                erased += [_erase(name, path) for path in there]
        if self.path.is_dir() and not any(self.path.iterdir()):
            self.path.rmdir()
        return erased

    def _paths(self, artefact: Artefact) -> list[Path]:
        """All files of an artefact; the one that says until when it may be kept goes last."""
        log = self.file(artefact)
        return [self.media, log] if artefact == "media" else [log]

    def _reader(self, path: Path) -> LogReader:
        try:
            return LogReader(path)
        except (OSError, ValueError) as error:
            raise RecordError(
                f"recorded session cannot be read: {error}",
                hint="check the folder, or use the version that wrote it",
            ) from error


def _erase(name: Artefact, path: Path) -> Erased:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        lines = 0
        if path.suffix == ".log":
            file.seek(0)
            lines = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
        size = file.seek(0, 2)
    path.unlink()
    return Erased(name, size, lines, digest)


def _note(record: Object, found: Summary, active: dict[int, list[str]], hop: float) -> float:
    """Enter one record into a summary; the hop of its windows."""
    match record.get("type"):
        case "hello":
            found.purpose, hop = str(record["purpose"]), float(record["hop_s"])
        case "state" if record["index"] >= 0:
            labels = record["labels"].items()
            names = [name for name, label in labels if label["status"] == "active"]
            active[int(record["index"])] = names
        case "end":
            found.reason = str(record["reason"])
    found.seconds = max(found.seconds, record.get("t", 0.0), record.get("t1", 0.0))
    return hop


def sessions(root: Path) -> list[SessionFolder]:
    """All recorded sessions below `root`, whatever else is there. Raises ``RecordError``."""
    try:
        folders = [path.name for path in (root / "sessions").iterdir() if path.is_dir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RecordError(
            f"folder of records {root} cannot be read: {error.strerror}", hint="check the path"
        ) from None
    return [SessionFolder(root, name) for name in sorted(folders) if NAME.fullmatch(name)]


def sweep(
    root: Path, now: float, days: dict[str, Any], failed: dict[str, str] | None = None
) -> dict[str, list[Erased]]:
    """Erase what may not be kept any longer; session -> what is gone.

    What a person was told holds (the time in the header); a shorter time in `days` holds too.
    A session that cannot be read or erased stays, and `failed` says why.
    """
    gone: dict[str, list[Erased]] = {}
    for session in sessions(root):
        try:
            if not session.is_live():
                _sweep(session, now, days, gone)
        except (RecordError, OSError) as error:
            if failed is not None:
                failed[session.session] = str(error)
    return gone


def _sweep(
    session: SessionFolder, now: float, days: dict[str, Any], gone: dict[str, list[Erased]]
) -> None:
    due = [name for name in session.files() if _is_due(session, name, now, days.get(name))]
    if due or not session.files():
        gone[session.session] = session.erase(*due) if due else []
        if not session.files() and session.path.exists():
            session.path.rmdir()


def _is_due(session: SessionFolder, artefact: Artefact, now: float, days: float | None) -> bool:
    header = session.header(artefact)
    if not header:  # nothing tells how long it may be kept
        return True
    until = cast("float", header["keep_until"])
    if days is not None:
        until = min(until, header["started"] + days * 86_400)
    return now >= until
