"""What child processes do first: limits before they touch what others made, and whom they obey."""

from __future__ import annotations

import os
import resource
import signal
import threading

NO_CORE = (0, 0)


def keep_no_core() -> None:
    """Never write this process's memory to disk when it crashes: it holds faces and voices."""
    resource.setrlimit(resource.RLIMIT_CORE, NO_CORE)


def limit_child(*, memory: int, files: int) -> None:
    """At most `memory` bytes of address space and `files` open ones; no file is written, and no
    core. What the system allows less of stays at that.
    """
    keep_no_core()
    wanted = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_NOFILE: files,
        resource.RLIMIT_FSIZE: 0,
    }
    for kind, most in wanted.items():
        _, hard = resource.getrlimit(kind)
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (least, least))


def obey_parent() -> None:
    """End with the parent, whose end closes our standard input, and leave Ctrl-C to it."""
    keep_no_core()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Leave at once, also in the middle of work, when the parent is gone."""
    os.read(0, 1)
    os._exit(0)
