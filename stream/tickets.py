"""Tickets that let one person into one room, so many times, until a moment.

A ticket is ``PAYLOAD.SIGNATURE``, both base64url: JSON, and its HMAC-SHA-256 (RFC 2104) under the
configured key. Whoever has the key can issue tickets; nothing is stored until one is used.

``python -m stream.tickets key`` prints a new ``[access]`` section, ``issue`` a ticket.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets
import sqlite3
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from stream.config import ServeConfig, load
from stream.errors import ConfigError, StreamError, run_command

MAX_LENGTH = 1024
"""Characters of a ticket."""
DOMAIN = b"lddu-live ticket 1\n"
"""Stands before what is signed, so that no other signature under the key is a ticket."""


class AccessError(StreamError, PermissionError):
    """A token or ticket is missing, wrong or used up."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What its bearer may do."""

    id: str
    room: str
    person: str | None
    """Under this name the person's record is kept; best a pseudonym."""
    expires: float
    """Unix time."""
    uses: int
    """How many calls may be begun with it."""


def new_ticket(
    room: str, person: str | None = None, *, seconds: float = 600.0, uses: int = 1
) -> Ticket:
    """A ticket from now on. Raises ``ConfigError``."""
    for what, name in (("room", room), ("person", person)):
        if name is not None and not re.fullmatch(r"[\w.@-]{1,64}", name):
            raise ConfigError(
                f"{what} '{name}' is no name for a ticket",
                hint="use up to 64 letters, digits and . _ @ -",
            )
    if not 0 < seconds <= 366 * 86_400 or not 1 <= uses <= 1000:
        raise ConfigError(
            f"a ticket for {seconds} s and {uses} uses", hint="at most a year and 1000 uses"
        )
    return Ticket(secrets.token_urlsafe(12), room, person, time.time() + seconds, uses)


def sign(ticket: Ticket, key: str) -> str:
    """The ticket as text."""
    payload = json.dumps(asdict(ticket), separators=(",", ":")).encode()
    return f"{_encode(payload)}.{_encode(_signature(payload, key))}"


def verify(text: str, key: str, now: float) -> Ticket:
    """The ticket that `text` is. Raises ``AccessError``: not signed with `key`, or expired."""
    payload, _, signature = text.partition(".")
    try:
        signed, given = _decode(payload), _decode(signature)
    except (binascii.Error, ValueError):
        signed, given = b"", b""
    right = hmac.compare_digest(_signature(signed, key), given)
    if len(text) > MAX_LENGTH or not right:
        raise AccessError("the ticket is not one of this server", hint="ask for a new ticket")
    ticket = Ticket(**json.loads(signed))
    if now >= ticket.expires:
        raise AccessError("the ticket has expired", hint="ask for a new ticket")
    return ticket


class Ledger:
    """Counts how often tickets were used, in a SQLite file that outlives the server.

    Every method blocks, and may be called by any thread and process. Raises ``AccessError`` when
    the file cannot be used: nobody gets in on a ticket that cannot be counted.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def spend(self, ticket: Ticket) -> None:
        """Use it once. Raises ``AccessError`` when it is used up."""
        used = self._run(
            "INSERT INTO spent VALUES (:id, 1, :expires) "
            "ON CONFLICT (id) DO UPDATE SET uses = uses + 1 WHERE uses < :uses",
            ticket,
        )
        if not used:
            raise AccessError("the ticket was used already", hint="ask for a new ticket")

    def give_back(self, ticket: Ticket) -> None:
        """Undo one use: the call did not begin."""
        self._run("UPDATE spent SET uses = uses - 1 WHERE id = :id AND uses > 0", ticket)

    def _run(self, statement: str, ticket: Ticket) -> bool:
        try:
            db = sqlite3.connect(self._path, timeout=5.0, isolation_level=None)
            try:
                db.execute("BEGIN IMMEDIATE")
                db.execute(
                    "CREATE TABLE IF NOT EXISTS spent "
                    "(id TEXT PRIMARY KEY, uses INTEGER NOT NULL, expires REAL NOT NULL) STRICT"
                )
                db.execute("DELETE FROM spent WHERE expires < ?", (time.time(),))
                changed = db.execute(statement, asdict(ticket)).rowcount
                db.execute("COMMIT")
            finally:
                db.close()
        except sqlite3.Error as error:
            raise AccessError(
                f"tickets cannot be counted: {error}", hint="check access.ledger of the server"
            ) from error
        return changed > 0


def _signature(payload: bytes, key: str) -> bytes:
    return hmac.digest(key.encode(), DOMAIN + payload, hashlib.sha256)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    """Strictly: there is one spelling of a ticket only."""
    data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if _encode(data) != text:
        raise ValueError("not canonical")
    return data


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stream.tickets", description="Let people in.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("key", help="print a new section [access] for the configuration")
    issuing = commands.add_parser("issue", help="print a ticket; the page takes it as #ticket=...")
    issuing.add_argument("config", type=Path, help="configuration with [access]")
    issuing.add_argument("--room", default="main")
    issuing.add_argument("--person", help="name under which the person's record is kept")
    issuing.add_argument("--minutes", type=float, default=10.0)
    issuing.add_argument("--uses", type=int, default=1, help="how many calls it is good for")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    asked = parse(arguments)
    if asked.command == "key":
        print(f'[access]\nkey = "{secrets.token_urlsafe(32)}"\nledger = "tickets.sqlite"')
        return 0
    access = load(ServeConfig, asked.config).access
    if access is None or access.key is None:
        raise ConfigError(
            f"configuration {asked.config} has no access.key",
            hint="add what `python -m stream.tickets key` prints",
        )
    ticket = new_ticket(asked.room, asked.person, seconds=asked.minutes * 60, uses=asked.uses)
    print(sign(ticket, access.key))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
