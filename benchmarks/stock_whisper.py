"""What Whisper hears in a whole file, used as its makers provide it: the reference for captions."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from faster_whisper import WhisperModel

from stream import models


@cache
def transcribe(sound: Path, model: str = "whisper-tiny.en") -> str:
    """The text of `sound` (any file that has sound), in one line."""
    whisper = WhisperModel(str(models.path(model)), device="cpu", compute_type="int8")
    segments, _ = whisper.transcribe(str(sound), language="en")
    return " ".join(segment.text.strip() for segment in segments)
