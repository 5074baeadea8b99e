"""Emotion estimates for live calls and recordings."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream.analysis import analyze
    from stream.frames import frame

__all__ = ["analyze", "frame"]


def __getattr__(name: str) -> object:
    """``analyze`` and ``frame``, loaded when asked for: they need heavy libraries."""
    if name == "analyze":
        from stream.analysis import analyze

        return analyze
    if name == "frame":
        from stream.frames import frame

        return frame
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
