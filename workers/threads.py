"""How many threads numpy computes with.

A window, a chunk of sound and a face are small. Where OpenBLAS shares one of their products among
its threads, these wait for each other in a loop: a live call then costs three times the processor
time, and more than that where processes share a core.
"""

from __future__ import annotations

from collections.abc import MutableMapping

from threadpoolctl import threadpool_limits

VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def limit(environment: MutableMapping[str, str]) -> None:
    """Let a process that starts with `environment` use one thread, unless that says otherwise."""
    for name in VARIABLES:
        environment.setdefault(name, "1")


def limit_here() -> None:
    """Let this process use one thread from now on; to be called when numpy has been imported."""
    threadpool_limits(1, "blas")
