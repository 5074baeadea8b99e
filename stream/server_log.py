"""The log of a server: its errors by kind and place, and nothing of what others sent or said.

Libraries log errors with their texts, and those of an HTTP parser quote the request: a key that a
client misspelt would stand in the log. What only a client did wrong is not logged at all.
"""

from __future__ import annotations

import copy
import logging
import traceback
from types import TracebackType
from typing import TextIO

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

FORMAT = "%(levelname)s %(name)s: %(message)s"

Raised = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class ByKind(logging.Formatter):
    """Errors with the place where they arose, without their text."""

    def format(self, record: logging.LogRecord) -> str:
        """As a line, and more where there is an error."""
        own = copy.copy(record)
        own.exc_text = None  # what another handler made of it
        return super().format(own)

    def formatException(self, ei: Raised) -> str:  # noqa: N802  the name in logging
        """Lines of code, and the kind of the error."""
        kind, _, where = ei
        name = "unknown" if kind is None else kind.__name__
        return "".join(traceback.format_tb(where)) + name


def handler(to: TextIO | None = None) -> logging.Handler:
    """Writes the log to `to` (None: standard error)."""
    writing = logging.StreamHandler(to)
    writing.setLevel(logging.WARNING)
    writing.setFormatter(ByKind(FORMAT))
    writing.addFilter(_is_the_servers)
    return writing


def _is_the_servers(record: logging.LogRecord) -> bool:
    """False for what aiohttp says of requests that are none."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError | web.RequestPayloadError)
