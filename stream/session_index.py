"""Which sessions are recorded: a SQLite file that is made from the records and only searched."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from stream.record_files import RecordError, SessionFolder, Summary, sessions

log = logging.getLogger(__name__)

MIGRATIONS = (
    """
    CREATE TABLE sessions (
        id TEXT PRIMARY KEY, subject TEXT, purpose TEXT NOT NULL, started REAL NOT NULL,
        seconds REAL NOT NULL, reason TEXT, states INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX sessions_by_time ON sessions (started);
    CREATE INDEX sessions_by_subject ON sessions (subject);
    CREATE TABLE labels (
        session TEXT NOT NULL REFERENCES sessions ON DELETE CASCADE,
        label TEXT NOT NULL, active_s REAL NOT NULL, PRIMARY KEY (session, label)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX labels_by_name ON labels (label);
    """,
)
"""Scripts that bring the file from version i to i + 1."""


class Index:
    """The index of one folder of records; a context manager, for one thread.

    Raises ``RecordError`` when the file cannot be used.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = root / "index.sqlite"
        try:
            self._db = sqlite3.connect(self._path, timeout=5.0, isolation_level=None)
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        try:
            # what is erased leaves nothing behind, neither in the file nor beside it
            self._db.executescript(
                "PRAGMA journal_mode = DELETE; PRAGMA secure_delete = ON; PRAGMA foreign_keys = ON;"
            )
            self._migrate()
            self._path.chmod(0o600)
        except (sqlite3.Error, OSError, RecordError) as error:
            self._db.close()
            raise self._unusable(error) from error

    def __enter__(self) -> Index:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    def put(self, found: Summary) -> None:
        """Add a session or replace what is known of it."""
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("DELETE FROM sessions WHERE id = ?", (found.session,))
            self._db.execute(
                "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    found.session,
                    found.subject,
                    found.purpose,
                    found.started,
                    found.seconds,
                    found.reason,
                    found.states,
                ),
            )
            self._db.executemany(
                "INSERT INTO labels VALUES (?, ?, ?)",
                [(found.session, label, active) for label, active in found.active_s.items()],
            )

    def remove(self, session: str) -> None:
        self._db.execute("DELETE FROM sessions WHERE id = ?", (session,))

    def find(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        subject: str | None = None,
        label: str | None = None,
    ) -> list[Summary]:
        """Sessions that overlap [since, until] (Unix time), oldest first.

        `label`: only those in which it was shown as active.
        """
        shown = "SELECT 1 FROM labels WHERE session = id AND label = ? AND active_s > 0"
        conditions = {
            "started + seconds >= ?": since,
            "started <= ?": until,
            "subject = ?": subject,
            f"EXISTS ({shown})": label,
        }
        asked = {text: value for text, value in conditions.items() if value is not None}
        where = " AND ".join(asked) or "TRUE"
        rows = self._db.execute(
            f"SELECT * FROM sessions WHERE {where} ORDER BY started, id",  # noqa: S608  # constants
            tuple(asked.values()),
        ).fetchall()
        return [self._summary(row) for row in rows]

    def refresh(self) -> None:
        """Agree with the records: add sessions that are missing, finish those that were cut off.

        One that cannot be read is left out.
        """
        known = {row[0]: row[1] for row in self._db.execute("SELECT id, reason FROM sessions")}
        there = {session.session: session for session in sessions(self._root)}
        for name in set(known) - set(there):
            self.remove(name)
        for name, session in there.items():
            try:
                if name not in known or (known[name] is None and not session.is_live()):
                    self.put(summary_of(session))
            except (RecordError, OSError) as error:
                log.warning("session %s is not in the index: %s", name, error)

    def _summary(self, row: Sequence[Any]) -> Summary:
        labels = self._db.execute(
            "SELECT label, active_s FROM labels WHERE session = ?", (row[0],)
        ).fetchall()
        session, subject, purpose, started, seconds, reason, states = row
        return Summary(
            session, subject, purpose, started, seconds, reason, states, active_s=dict(labels)
        )

    def _unusable(self, error: Exception) -> RecordError:
        if isinstance(error, RecordError):
            return error
        return RecordError(
            f"index of records {self._path} cannot be used: {error}",
            hint="check that the folder is there and yours; the index may be deleted: it is made "
            "anew from the records",
        )

    def _migrate(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            raise RecordError(
                f"index of records {self._path} has version {version}, this program knows "
                f"{len(MIGRATIONS)}",
                hint="use the version that wrote it, or delete the index: it is made anew",
            )
        for number, script in enumerate(MIGRATIONS[version:], version + 1):
            self._db.executescript(
                f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;"
            )


def summary_of(session: SessionFolder) -> Summary:
    """The summary of a session; where it was cut off, that is how it ended."""
    found = session.summary()
    if found.reason is None and not session.is_live():
        found.reason = "cut off"
    return found
