"""Errors that a person gets to see.

::

    StreamError                 what went wrong and where; ``hint`` says what to do next
    ├── ConfigError             (also ValueError) a configuration file or value
    ├── ModelError              (also OSError) weights that are missing or not what they should be
    ├── MediaError              (also OSError) a recording that cannot be read
    └── ConsentError            (also PermissionError) purpose or consent does not allow it

Engines raise ``workers.errors.WorkerError``, the model ``lddu_model.errors.ModelError``; both have
a message and a hint too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from lddu_model.errors import ModelError as LdduError
from workers.errors import WorkerError


class StreamError(Exception):
    """`message` names what failed and where, `hint` the next step."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if hint:
            self.add_note(f"next: {hint}")  # tracebacks show it, for who calls from Python


class ConfigError(StreamError, ValueError):
    """A configuration file or value cannot be used."""


class ModelError(StreamError, OSError):
    """Weights are missing or not what they should be."""


class MediaError(StreamError, OSError):
    """A recording cannot be read."""


class ConsentError(StreamError, PermissionError):
    """Purpose or consent does not allow what was asked for."""


def run_command(main: Callable[[], int]) -> int:
    """Run a command line; print an error that a person can act on as two lines and return 2."""
    try:
        return main()
    except (StreamError, WorkerError, LdduError) as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"next: {error.hint}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
