"""Records of earlier versions, as this one writes them.

Within a version of the schema fields are only added (docs/records.md). What was written before
they were gets what was true then: one person, whose largest face is theirs, and a variance that was
taken at its word.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Plain = dict[str, Any]


def as_now(record: Plain) -> Plain:
    """`record`, or where it lacks fields a copy that has them. What is odd about it stays so."""
    complete = COMPLETED.get(str(record.get("type")))
    return record if complete is None else complete(record)


def _hello(record: Plain) -> Plain:
    if "many" in record and "modalities" in record:
        return record
    agreed = record.get("consent")
    consent: Plain = agreed if isinstance(agreed, dict) else {}
    return {
        "source": "camera" if consent.get("record") else "file",
        "many": False,
        "modalities": [name for name in ("words", "voice", "face") if consent.get(name)],
        **record,
    }


def _state(record: Plain) -> Plain:
    if "reasons" in record:
        return record
    reason = record.get("reason")
    return {"reasons": [] if reason is None else [reason], "variance_trusted": True, **record}


def _transcript(record: Plain) -> Plain:
    return record if "overlap" in record else {"overlap": False, **record}


def _face(record: Plain) -> Plain:
    faces = record.get("faces")
    if not isinstance(faces, list) or not any(map(_lacks_person, faces)):
        return record
    owners = [record.get("person"), *[None] * len(faces)]
    pairs = zip(owners, faces, strict=False)
    whole = [{"person": owner, **face} if _lacks_person(face) else face for owner, face in pairs]
    return {**record, "faces": whole}


def _lacks_person(face: object) -> bool:
    return isinstance(face, dict) and "person" not in face


COMPLETED: dict[str, Callable[[Plain], Plain]] = {
    "hello": _hello,
    "state": _state,
    "smoothed": _state,
    "transcript": _transcript,
    "face": _face,
}
