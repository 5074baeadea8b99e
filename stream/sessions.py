"""Recorded sessions: ``python -m stream.sessions --folder DIR list|show|export|forget|sweep``.

Times are ISO 8601, local where no zone is given. Exit code 0: done; 1: nothing matched; 2: an
error, on standard error.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stream.audit import AuditLog, Head, now_iso
from stream.config import ServeConfig, load
from stream.errors import ConfigError, StreamError, run_command
from stream.record_files import RecordError, SessionFolder, Summary, sweep
from stream.session_index import Index, summary_of


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m stream.sessions", description="Look at, export and erase recorded sessions."
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--folder", type=Path, help="folder of records")
    where.add_argument("--config", type=Path, help="configuration that names it in [record]")
    commands = parser.add_subparsers(dest="command", required=True)

    listing = commands.add_parser("list", help="which sessions there are")
    listing.add_argument("--since", type=moment, help="that lasted until then or longer")
    listing.add_argument("--until", type=moment, help="that began by then")
    listing.add_argument("--person", help="made with a ticket of this person")
    listing.add_argument("--label", help="in which this label was shown as active")
    listing.add_argument("--json", action="store_true", help="one object per line")

    showing = commands.add_parser("show", help="what one session holds")
    showing.add_argument("session")

    exporting = commands.add_parser("export", help="one session as JSONL (docs/records.md)")
    exporting.add_argument("session")
    exporting.add_argument("--out", type=Path, help="file; default: standard output")

    forgetting = commands.add_parser("forget", help="erase sessions and print a receipt")
    whom = forgetting.add_mutually_exclusive_group(required=True)
    whom.add_argument("--session")
    whom.add_argument("--person", help="all sessions made with a ticket of this person")

    commands.add_parser("sweep", help="erase what may not be kept any longer")
    return parser.parse_args(arguments)


def moment(text: str) -> float:
    """Unix time of an ISO 8601 date or time."""
    return datetime.fromisoformat(text).timestamp()


def iso(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="seconds")


class Commands:
    """One method per command; each returns the exit code."""

    def __init__(self, root: Path, days: dict[str, float], audit: AuditLog | None) -> None:
        self._root = root
        self._audit = audit
        self._days = days
        self._index = Index(root)
        self._index.refresh()

    def close(self) -> None:
        self._index.close()

    def list(self, asked: argparse.Namespace) -> int:
        found = self._index.find(
            since=asked.since, until=asked.until, subject=asked.person, label=asked.label
        )
        for session in found:
            print(json.dumps(asdict(session)) if asked.json else _row(session))
        return 0 if found else 1

    def show(self, asked: argparse.Namespace) -> int:
        folder = self._existing(asked.session)
        counts: Counter[str] = Counter()
        damage: Counter[str] = Counter()
        consent: dict[str, Any] = {}
        for record in folder.records(damage):
            counts[str(record.get("type"))] += 1
            if record.get("type") == "hello":
                consent = record["consent"]
        kept = {name: iso(folder.header(name).get("keep_until", 0.0)) for name in folder.files()}
        summary = summary_of(folder)
        self._note("read", folder.session, what="show")
        print(
            json.dumps(
                {
                    **asdict(summary),
                    "started": iso(summary.started),
                    "live": folder.is_live(),
                    "consent": consent,
                    "records": dict(counts),
                    "kept_until": kept,
                    "damage": {name: n for name, n in damage.items() if n},
                },
                indent=2,
            )
        )
        return 0

    def export(self, asked: argparse.Namespace) -> int:
        folder = self._existing(asked.session)
        self._note("read", folder.session, what="export")
        lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in folder.records())
        if asked.out is None:
            sys.stdout.writelines(lines)
            return 0
        try:
            with asked.out.open("x", encoding="utf-8") as file:
                file.writelines(lines)
        except OSError as error:
            raise RecordError(
                f"--out {asked.out} cannot be written: {error.strerror}",
                hint="name a new file in a folder that you may write to",
            ) from None
        return 0

    def forget(self, asked: argparse.Namespace) -> int:
        if asked.session is not None:
            names = [self._existing(asked.session).session]
        else:
            names = [found.session for found in self._index.find(subject=asked.person)]
        for name in names:
            erased = SessionFolder(self._root, name).erase()
            self._index.remove(name)
            parts = list(map(asdict, erased))
            receipt: dict[str, Any] = {"session": name, "at": now_iso(), "erased": parts}
            head = self._note("erased", name, by="operator", erased=parts)
            if head is not None:
                receipt["audit"] = {"n": head.number, "hash": head.hash}
            print(json.dumps(receipt))
        return 0 if names else 1

    def sweep(self, _: argparse.Namespace) -> int:
        failed: dict[str, str] = {}
        for name, erased in sweep(self._root, time.time(), self._days, failed).items():
            parts = list(map(asdict, erased))
            self._note("erased", name, by="retention", erased=parts)
            print(json.dumps({"session": name, "erased": parts}))
        for name, why in failed.items():
            print(f"error: session {name} was not swept: {why}", file=sys.stderr)
        self._index.refresh()
        return 1 if failed else 0

    def _note(self, event: str, session: str, **data: Any) -> Head | None:
        return None if self._audit is None else self._audit.append(event, session, **data)

    def _existing(self, name: str) -> SessionFolder:
        folder = SessionFolder(self._root, name)
        if not folder.files():
            raise RecordError(
                f"there is no record of session '{name}'", hint="see the command list"
            )
        return folder


def _row(session: Summary) -> str:
    labels = sorted(session.active_s.items(), key=lambda item: -item[1])
    active = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in labels) or "nothing active"
    about = session.subject or "-"
    ended = session.reason or "running"
    return (
        f"{session.session}  {iso(session.started)}  {session.seconds:7.1f} s  {about}  "
        f"{session.purpose}  {ended}  {active}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    asked = parse(arguments)
    root, days = asked.folder, {}
    log = None if root is None else root / "audit.log"
    if asked.config is not None:
        config = load(ServeConfig, asked.config)
        if config.record is None:
            raise ConfigError(
                f"configuration {asked.config} records nothing",
                hint="add [record], or use --folder",
            )
        root, days = Path(config.record.folder), config.record.days.model_dump()
        log = config.audit_file
    if not root.is_dir():
        raise ConfigError(f"there is no folder of records {root}", hint="check --folder")
    audit = None if log is None or not log.exists() else AuditLog(log)
    commands = Commands(root, days, audit)
    try:
        code: int = getattr(commands, asked.command)(asked)
    except OSError as error:
        if isinstance(error, StreamError):
            raise
        raise RecordError(
            f"records in {root} cannot be read or erased: {error.strerror}",
            hint="check who owns the folder",
        ) from error
    finally:
        commands.close()
    return code


if __name__ == "__main__":
    sys.exit(run_command(main))
