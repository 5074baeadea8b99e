"""What recordings gave: counts over one or many."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any

from stream.record_types import Record


@dataclass(slots=True)
class Tally:
    """Counts over all recordings of a run."""

    seconds: float = 0.0
    windows: int = 0
    newest: int = -1
    """Index of the newest window of the recording at hand."""
    states: int = 0
    events: int = 0
    words: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    results: list[str] = field(default_factory=list)
    errors: list[dict[str, str | None]] = field(default_factory=list)

    def record(self, record: Record) -> None:
        if record["type"] == "hello":
            self.newest = -1
        elif record["type"] == "state" and record["index"] >= 0:
            self.states += 1
            self.windows += record["index"] > self.newest
            self.newest = max(self.newest, record["index"])
            self.reasons.update(record["reasons"])
        elif record["type"] == "event" and not record["smoothed"]:
            self.events += -1 if record["withdrawn"] else 1
        elif record["type"] == "transcript":
            self.words += len(record["words"])

    def add(self, other: Tally) -> None:
        """Count `other` in."""
        for each in fields(self):
            if each.name != "newest":
                setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    def summary(self, files: int, wall_s: float, load_s: float) -> dict[str, Any]:
        return {
            "files": files,
            "load_s": round(load_s, 3),
            **self.figures(wall_s),
            "results": self.results,
            "errors": self.errors,
        }

    def figures(self, wall_s: float) -> dict[str, Any]:
        """Plain JSON types, for `wall_s` seconds of work."""
        return {
            "media_s": round(self.seconds, 3),
            "wall_s": round(wall_s, 3),
            "real_time_factor": round(self.seconds / wall_s, 2) if wall_s else 0.0,
            "windows": self.windows,
            "words": self.words,
            "events": self.events,
            "abstained": {
                reason: round(count / self.states, 4)
                for reason, count in sorted(self.reasons.items())
            },
            "failed": {name: count for name, count in self.failed.items() if count},
            "dropped": {name: count for name, count in self.dropped.items() if count},
        }
