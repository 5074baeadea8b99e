"""STUN and TURN servers, with credentials that expire.

A TURN server that shares a secret with this one (coturn: ``use-auth-secret``) accepts the expiry
time as user name, and its HMAC under the secret as password (draft-uberti-behave-turn-rest-00).
"""

from __future__ import annotations

import base64
import hmac
import secrets
import time
from dataclasses import dataclass

from stream.config import ServeConfig


@dataclass(frozen=True, slots=True)
class IceServer:
    urls: tuple[str, ...]
    username: str | None = None
    credential: str | None = None


def ice_servers(config: ServeConfig) -> list[IceServer]:
    """Those of the configuration; each call makes new credentials."""
    servers = [IceServer((url,)) for url in config.ice_servers]
    turn = config.turn
    if turn is not None:
        user = f"{int(time.time()) + turn.seconds}:{secrets.token_hex(8)}"
        digest = hmac.digest(turn.secret.encode(), user.encode(), "sha1")
        servers.append(IceServer(turn.urls, user, base64.b64encode(digest).decode()))
    return servers
