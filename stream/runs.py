"""What was analysed, how and with what result: one JSON file beside the records of a recording.

It is written last. A recording is done where such a file names its content and the settings (with
the model) that are asked for.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from stream.card import CardError, read_card
from stream.config import ReplayConfig
from stream.engines import SHIPPED_CHECKPOINT, checkpoint_at, checkpoint_of
from stream.errors import ModelError
from stream.record_types import SCHEMA

SUFFIX = ".run.json"
FORMAT = 1
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Plan:
    """How recordings are analysed: what their records depend on beside their content."""

    settings: dict[str, Any]
    model: dict[str, str]
    """``name`` and ``sha256`` of the checkpoint."""
    paced: bool = False

    @classmethod
    def of(cls, config: ReplayConfig, *, paced: bool = False) -> Plan:
        """Raises ``ModelError`` where there is no checkpoint."""
        folder = checkpoint_of(config)
        try:
            digest = sha256(folder / "model.json")
        except OSError as error:
            raise ModelError(
                f"checkpoint {folder} cannot be read: {error.strerror}",
                hint="check model.checkpoint of the configuration",
            ) from None
        settings = config.model_dump(mode="json")
        return cls(settings, {"name": folder.resolve().name, "sha256": digest}, paced)

    @property
    def key(self) -> str:
        """SHA-256 of everything, and of our version, but where model and weights lie."""
        settings = {name: value for name, value in self.settings.items() if name != "model"}
        what = [
            FORMAT,
            SCHEMA,
            metadata.version("lddu-live"),
            settings,
            self.model["sha256"],
            self.paced,
        ]
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One recording that was analysed to its end."""

    recording: str
    """Its path when it was analysed."""
    content: str
    """SHA-256 of its bytes."""
    key: str
    """``Plan.key``."""
    settings: dict[str, Any]
    model: dict[str, str]
    paced: bool
    figures: dict[str, Any]
    """What ``stream.replay`` measured and counted."""
    warnings: list[str]
    records_bytes: int
    """Size of the records when they were complete."""
    outputs: list[str]
    """What else was written: report, plots, formats of exports."""
    versions: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT

    def holds(self, records: Path) -> bool:
        """Whether `records` are still those that this run wrote."""
        try:
            return records.stat().st_size == self.records_bytes
        except OSError:
            return False

    def write(self, path: Path) -> None:
        """Write `path` whole or not at all."""
        partial = path.with_name(f"{path.name}.partial")
        with partial.open("w", encoding="utf-8") as file:
            json.dump(asdict(self), file, indent=1, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)


def load(path: Path) -> RunRecord | None:
    """None where `path` is not (or not quite) such a file: then nothing is known to be done."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        found = RunRecord(**data)
    except (OSError, ValueError, TypeError):
        return None
    return found if found.format == FORMAT else None


def records_of(path: Path) -> Path:
    """Where the records are that the file `path` speaks of."""
    return path.with_name(f"{path.name.removesuffix(SUFFIX)}.jsonl")


def beside(records: Path) -> Path:
    """Where the file about `records` (``x.jsonl``) is."""
    return records.with_name(f"{records.name.removesuffix('.jsonl')}{SUFFIX}")


def versions() -> dict[str, str]:
    names = ("lddu-live", "torch", "faster-whisper", "mediapipe", "av")
    return {name: metadata.version(name) for name in names} | {"python": platform.python_version()}


def sha256(path: Path) -> str:
    """Of the bytes of a file. Raises ``OSError``."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


def card(run: RunRecord | None) -> str | None:
    """The model card of the checkpoint that was used; None where it cannot be found any more."""
    folder = SHIPPED_CHECKPOINT
    if run is not None:
        settings = run.settings
        text_model = settings.get("analysis", {}).get("text_model", "minilm")  # older: no choice
        folder = checkpoint_at(settings["model"]["checkpoint"], text_model)
    try:
        if run is not None and sha256(folder / "model.json") != run.model["sha256"]:
            return None
        return read_card(folder)
    except (OSError, CardError):
        return None
