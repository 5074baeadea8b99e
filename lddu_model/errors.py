"""Errors that a user can act on: each says what is wrong, where, and what to do next."""

from __future__ import annotations

import sys
from collections.abc import Callable


class ModelError(Exception):
    """Base of all errors of this package. `hint` says what to do next."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class SpecError(ModelError):
    """Features or a specification do not fit what is expected."""


class CheckpointError(ModelError):
    """A checkpoint cannot be read or does not fit."""


class DataError(ModelError):
    """A data set cannot be read or does not fit."""


class ConfigError(ModelError):
    """A configuration file has an unknown key, a wrong type or a missing value."""


class DeviceError(ModelError):
    """The computing device that was asked for is not there."""


def run_command(main: Callable[[], int]) -> int:
    """Run a command line; print an error that a person can act on as two lines and return 2."""
    try:
        return main()
    except ModelError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"next: {error.hint}", file=sys.stderr)
        return 2
