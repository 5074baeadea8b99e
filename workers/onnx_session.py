"""onnxruntime: a network that was loaded, and nothing told to its maker."""

from __future__ import annotations

import os
from typing import Any


def silent_onnxruntime() -> Any:
    """The library, which must not tell its maker about this machine.

    It writes a device id and events into the user's cache folder and sends them, unless it finds
    this variable when it is imported; its function ``disable_telemetry_events`` comes too late.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime  # only where it is used: the stage of words runs beside it

    return onnxruntime


def session(model: str | bytes, threads: int) -> Any:
    """`model` (a path, or its bytes) on the CPU. Raises what onnxruntime raises: many kinds."""
    onnxruntime = silent_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
