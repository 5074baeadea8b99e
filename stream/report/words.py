"""The sentences of the report. It speaks of what people look like, never of what they feel."""

from __future__ import annotations

from collections.abc import Mapping

REASONS: Mapping[str, tuple[str, str]] = {
    "failed": ("analysis failed", "A part of the analysis failed for a moment."),
    "overload": ("overload", "The server had too much to do and left something out."),
    "warming_up": ("warming up", "The first window was not full yet."),
    "stale": ("too old", "No new picture or sound for a while."),
    "no_face": ("no face", "Hardly any face was found."),
    "several_faces": (
        "several faces",
        "More than one face: the largest was used, the voice may be another's.",
    ),
    "small_or_dark_face": ("small or dark", "The face was too small or too dark."),
    "no_speech": ("no speech", "Nobody spoke: the estimate rests on the face."),
    "overlap": ("overlap", "Several people spoke at once."),
    "out_of_domain": ("unusual input", "Unlike nearly everything that the model learnt from."),
    "modality_conflict": ("conflict", "Face, voice and words contradicted each other."),
    "language": ("language", "Most words were of a language that is not understood here."),
    "asr_lag": ("words missing", "Words were late or lost."),
    "clock_provisional": ("clock", "Picture and sound might be shifted against each other."),
    "variance_high": ("too little to go by", "Face, voice and words said too little to be sure."),
    "paused": ("paused", "The analysis was paused."),
    "no_consent": ("no consent", "Face, voice or words were not agreed to and not looked at."),
}
"""Reason -> (short name, sentence)."""

UNCLEAR = ("unclear", "No expression stood out clearly enough.")

UNKNOWN_SPEAKER = "unknown speaker"

NOBODY = (
    "Nobody was estimated. Either no face was found, and whose voice it is, is not guessed without"
    " one; or the records end before the first window does."
)
"""Where a report has no states of anybody."""

READOUT = "Point at a timeline to read it; click or drag to go there."

NOTICE = (
    "A machine estimated what expressions look like. Its estimates are guesses about expression,"
    " not facts about people."
)


def reason(name: str) -> tuple[str, str]:
    """(short name, sentence) of a reason; one that is not known here speaks for itself."""
    return REASONS.get(name) or (name.replace("_", " "), f"Reason given: {name}.")


def clock(seconds: float) -> str:
    """``1:02:03`` or ``2:03``."""
    whole = max(0, int(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"
