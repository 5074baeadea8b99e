"""Ctrl-C that waits for a safe moment: between two steps, never inside a write."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """Whether Ctrl-C was pressed."""

    def __init__(self) -> None:
        self.asked = False

    def check(self) -> None:
        """Raise ``KeyboardInterrupt`` when it was."""
        if self.asked:
            raise KeyboardInterrupt

    def _ask(self, _signal: int, _frame: FrameType | None) -> None:
        if self.asked:  # pressed again: now, wherever it is
            raise KeyboardInterrupt
        self.asked = True


@contextmanager
def deferred() -> Iterator[Interrupt]:
    """Collect Ctrl-C in the main thread; elsewhere Python never sends it."""
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = signal.signal(signal.SIGINT, interrupt._ask)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)
