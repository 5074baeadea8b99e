"""A child process that answers requests: started, asked, watched, restarted.

Native code crashes and hangs. What runs in a child takes nobody with it: the request at hand is
lost (or asked once more), the next one finds a new process.
"""

from __future__ import annotations

import logging
import re
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, Any

from workers import wire
from workers.errors import WorkerError

log = logging.getLogger(__name__)

START_TIMEOUT = 120.0
"""Seconds for importing libraries and loading a model; about 2 on an idle machine."""

_CHATTER = re.compile(r"[IW]\d{4} |INFO:|WARNING:|$")
"""How lines start that mediapipe, TensorFlow Lite and absl write below the level of an error."""


class ChildDied(WorkerError):
    """The process ended while it was asked. The next request starts a new one."""

    restarts = True


class ChildTimeout(ChildDied):
    """The process did not answer in time and was ended. The next request starts a new one."""


class Child:
    """One life of a child. Every way out of it leaves no process, socket or thread behind."""

    def __init__(
        self,
        what: str,
        program: str,
        arguments: Sequence[str],
        timeout: float,
        environment: Mapping[str, str],
    ) -> None:
        """Run `program` with a socket's descriptor in front of `arguments`; `what` is its name."""
        self._what = what
        self._timeout = timeout
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(timeout)
        command = [sys.executable, "-P", "-c", program, str(theirs.fileno())]
        with theirs:
            self._popen = subprocess.Popen(
                [*command, *arguments],
                stdin=subprocess.PIPE,  # its end tells the child that we are gone
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                env=environment,
            )
        self.pid = self._popen.pid
        self._errors: deque[str] = deque(maxlen=5)
        assert self._popen.stderr is not None
        self._reader = threading.Thread(
            target=_read_errors, args=(what, self._popen.stderr, self._errors), daemon=True
        )
        self._reader.start()

    def settle(self, timeout: float) -> None:
        """From now on wait at most `timeout` seconds for an answer."""
        self._timeout = timeout
        self._socket.settimeout(timeout)

    def ask(self, request: object) -> Any:
        """Send `request` and wait for the answer. Raises ``ChildDied``, ``ChildTimeout``."""
        try:
            wire.send(self._socket, request)
        except TimeoutError:
            raise self._hangs() from None
        except OSError:
            raise self._died() from None
        return self.read()

    def read(self) -> Any:
        """Wait for the next answer. Raises as ``ask``."""
        try:
            return wire.receive(self._socket)
        except TimeoutError:
            raise self._hangs() from None
        except (EOFError, OSError):
            raise self._died() from None

    def close(self) -> None:
        """End it in order (mediapipe closes its model), by force if it does not obey."""
        self._socket.close()
        self._end(patience=5.0)

    def _died(self) -> ChildDied:
        self._socket.close()
        status = self._end(patience=1.0)
        how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
        errors = f": {' | '.join(self._errors)}" if self._errors else ""
        return ChildDied(
            f"the {self._what} {self.pid} died ({how}){errors}",
            hint="it is started again; if it keeps dying, check memory",
        )

    def _hangs(self) -> ChildTimeout:
        self._socket.close()
        self._end(patience=0.0)
        return ChildTimeout(
            f"the {self._what} {self.pid} gave no answer within {self._timeout:g} s and was ended",
            hint="it is started again; if it keeps hanging, check the load",
        )

    def _end(self, patience: float) -> int:
        """Wait `patience` seconds for the child to end, then kill it; return its status."""
        try:
            status = self._popen.wait(patience)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            status = self._popen.wait()
        assert self._popen.stdin is not None
        assert self._popen.stderr is not None
        self._popen.stdin.close()
        self._reader.join()
        self._popen.stderr.close()
        return status


class Line:
    """The line in which callers wait for a child, which is started again when it has died.

    For one caller at a time. `start` gives a child that is ready; it raises ``WorkerError``. With
    `spare` another one waits to take the place of one that dies.
    """

    def __init__(
        self, start: Callable[[], Child], max_backoff: float, *, spare: bool = False
    ) -> None:
        self.restarts = 0
        """How often the process was started again."""
        self._start = start
        self._max_backoff = max_backoff
        self._deaths = 0  # in a row
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._child: Child | None = start()
        self._spares = ThreadPoolExecutor(1, thread_name_prefix="spare") if spare else None
        self._spare: Future[Child] | None = self._prepare()

    @property
    def pid(self) -> int | None:
        """Of the process; None while there is none."""
        child = self._child
        return child.pid if child else None

    @property
    def closing(self) -> bool:
        return self._closing.is_set()

    def ask(self, request: object) -> Any:
        """The answer. Raises ``ChildDied``, ``Closed`` and what `start` raises."""
        if self.closing:
            raise Closed("the engine is closed", hint="make a new one")
        child = self._child or self._restart()
        try:
            reply = child.ask(request)
        except ChildDied as error:
            self._child = None
            self._deaths += 1
            log.error("%s", error.message)
            raise
        self._deaths = 0
        return reply

    def stop(self) -> None:
        """Answer nobody any more; a wait for a restart ends."""
        self._closing.set()

    def close(self) -> None:
        """End the process; nobody may be asking. May be called again."""
        self.stop()
        if self._spares is not None:
            self._spares.shutdown()
        with self._lock:
            if self._spare is not None and self._spare.exception() is None:
                self._spare.result().close()
            self._spare = None
            if self._child is not None:
                self._child.close()
                self._child = None

    def _restart(self) -> Child:
        delay = 0.0 if self._deaths < 2 else min(0.25 * 2.0**self._deaths, self._max_backoff)
        if self._closing.wait(delay):
            raise Closed("the engine is closed", hint="make a new one")
        self.restarts += 1
        try:
            self._child = self._start() if self._spare is None else self._spare.result()
        except WorkerError:
            self._deaths += 1
            raise
        finally:
            self._spare = self._prepare()
        return self._child

    def _prepare(self) -> Future[Child] | None:
        """Start a spare, which may take its time."""
        if self._spares is None or self.closing:
            return None
        return self._spares.submit(self._start)


class Closed(WorkerError):
    """The engine was closed before this request could be answered."""


def _read_errors(what: str, stream: IO[bytes], errors: deque[str]) -> None:
    """Keep and log what the child says in trouble; leave out the chatter of its libraries."""
    for data in stream:
        line = data.decode(errors="replace").rstrip()
        if not _CHATTER.match(line):
            errors.append(line)
            log.warning("%s: %s", what, line)
