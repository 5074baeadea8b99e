"""Who may do what: the operator by a token, others by tickets, everybody where nothing is set.

Headers come in as text, so that every endpoint shares one set of rules.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stream.sections import AccessConfig
from stream.tickets import AccessError, Ledger, Ticket, verify


def bearer(authorization: str | None) -> str:
    """The token of a header ``Authorization: Bearer TOKEN``; empty if there is none."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def same(given: str, secret: str) -> bool:
    """Compare in a time that does not tell how much was right."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), secret.encode())


@dataclass(frozen=True, slots=True)
class Grant:
    """Leave to begin one call."""

    room: str = "main"
    subject: str | None = None
    ticket: Ticket | None = None
    published: bool = False
    """By WHIP: readers need its token."""


ANYBODY = Grant()


class Gate:
    """Checks tokens and tickets; `config` None: a server on loopback that is open to its user."""

    def __init__(self, config: AccessConfig | None) -> None:
        self._config = config
        self._ledger = None
        if config is not None and config.ledger is not None:
            self._ledger = Ledger(Path(config.ledger))

    def is_operator(self, authorization: str | None) -> bool:
        """Whether everything about the server itself may be known."""
        config = self._config
        if config is None:
            return True
        return config.token is not None and same(bearer(authorization), config.token)

    def check_operator(self, authorization: str | None) -> None:
        """Raise ``AccessError`` unless this is the operator."""
        if not self.is_operator(authorization):
            raise AccessError(
                "the bearer token is missing or wrong",
                hint="send the header Authorization: Bearer with access.token of the configuration",
            )

    def check_metrics(self, authorization: str | None) -> None:
        """Raise ``AccessError`` unless the metrics may be read."""
        if self._config is None or not self._config.open_metrics:
            self.check_operator(authorization)

    def admit(self, authorization: str | None) -> Grant:
        """What this token or ticket is good for; it is not used yet. Raises ``AccessError``."""
        if self.is_operator(authorization):
            return ANYBODY
        assert self._config is not None
        text = bearer(authorization)
        if not text or self._config.key is None:
            raise AccessError(
                "this server needs a ticket" if self._config.key else "this server needs a token",
                hint="open the page by the link that you were given",
            )
        ticket = verify(text, self._config.key, time.time())
        return Grant(ticket.room, ticket.person, ticket)

    def check_room(self, offered: Sequence[str], room: str) -> None:
        """Raise ``AccessError`` unless one of `offered` is good for `room`; nothing is used."""
        for text in offered:
            try:
                grant = self.admit(f"Bearer {text}")
            except AccessError:
                continue
            if grant.ticket is None or grant.room == room:
                return
        raise AccessError(
            "this room is not open to you",
            hint="send a ticket for it, or the operator's token: Authorization: Bearer",
        )

    async def spend(self, grant: Grant) -> None:
        """Use the ticket once. Raises ``AccessError`` when it is used up."""
        if grant.ticket is not None and self._ledger is not None:
            await asyncio.to_thread(self._ledger.spend, grant.ticket)

    async def give_back(self, grant: Grant) -> None:
        """The call did not begin."""
        if grant.ticket is not None and self._ledger is not None:
            await asyncio.to_thread(self._ledger.give_back, grant.ticket)
