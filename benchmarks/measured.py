"""Commands that a user runs, with their time and memory."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil

MB = 1 << 20


def measured(*command: str) -> dict[str, float]:
    """Run a module; seconds and the largest memory of it and its children together."""
    begin = time.perf_counter()
    process = psutil.Popen([sys.executable, "-m", *command])
    own = mapped = 0
    while process.poll() is None:
        held = [_memory(each) for each in (process, *_children(process))]
        own = max(own, sum(each[0] for each in held))
        mapped = max(mapped, sum(each[1] for each in held))
        time.sleep(0.1)
    seconds = time.perf_counter() - begin
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return {"seconds": round(seconds, 1), "memory_mb": own // MB, "file_pages_mb": mapped // MB}


def _children(process: psutil.Popen) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def _memory(process: psutil.Process) -> tuple[int, int]:
    """Own bytes and bytes of mapped files."""
    try:
        info = process.memory_info()
    except psutil.NoSuchProcess:
        return 0, 0
    return info.rss - info.shared, info.shared


def train(data: Path, run: Path, config: str) -> dict[str, dict[str, float]]:
    """One epoch of `config` on a converted set, and the evaluation of its checkpoint."""
    parts = {"path": "train", "validation": "validation", "test": "test"}
    changes = [
        word for key, part in parts.items() for word in ("--set", f"data.0.{key}={data / part}")
    ]
    changes += ["--set", "optim.epochs=1", "--set", "seeds=[]"]
    trained = measured("lddu_model.train", config, "--out", str(run), *changes)
    sets = ["--set", str(data / "test"), "--validation", str(data / "validation")]
    words = [str(run / "best"), *sets, "--out", str(run / "report")]
    return {"train_one_epoch": trained, "evaluate": measured("lddu_model.evaluate", *words)}
