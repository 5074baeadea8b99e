"""Limits that child processes set themselves before they touch what others made."""

from __future__ import annotations

import resource

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
