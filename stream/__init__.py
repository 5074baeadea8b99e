"""Emotion estimates for live calls and recordings."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream.analysis import analyze

__all__ = ["analyze"]


def __getattr__(name: str) -> object:
    """``stream.analyze``, loaded when it is asked for: it needs all the heavy libraries."""
    if name == "analyze":
        from stream.analysis import analyze

        return analyze
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
