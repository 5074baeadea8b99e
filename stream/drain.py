"""Ending in order: the first signal lets what runs finish, the second ends the process at once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator

log = logging.getLogger(__name__)

DEADLINE_S = 20.0
"""From the first signal on. Calls take 9 s at most to finish windows, send and record them."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def stop_on_signals(stop: asyncio.Event) -> Iterator[None]:
    """SIGINT and SIGTERM set `stop`; a second one, or the deadline, ends the process.

    Must be entered on the event loop. What is not over at the deadline (a thread that hangs in
    native code cannot be ended otherwise) ends with exit code 1.
    """
    loop = asyncio.get_running_loop()
    timer = threading.Timer(DEADLINE_S, _give_up)
    timer.daemon = True

    def on_signal() -> None:
        stop.set()
        timer.start()
        for number in SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        timer.cancel()
        for number in SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])


def _give_up() -> None:
    log.error("not everything was over within %g s of the signal; it is left", DEADLINE_S)
    os._exit(1)
