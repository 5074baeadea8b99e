"""The base of what can go wrong in an engine, for a person to read."""

from __future__ import annotations


class WorkerError(Exception):
    """`message` names what failed and where, `hint` the next step."""

    restarts = False
    """True: the engine ended, and is started again with the next request."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
