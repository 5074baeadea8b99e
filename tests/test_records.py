"""Records of several people in one picture, as docs/records.md describes them."""

from __future__ import annotations

import numpy as np

from stream import records
from stream.config import Consent
from workers.messages import Face, FaceFrame, FaceQuality, Presence, TranscriptSegment, Word


def said(**changes: bool) -> TranscriptSegment:
    words = (Word(1.0, 1.5, "Hello.", 0.9),)
    return TranscriptSegment("p1", 0, 0.9, 1.7, words, "en", **changes)


def test_a_transcript_names_nobody_where_nobody_knows_who_spoke() -> None:
    assert records.transcript(said(), 0.0)["person"] == "p1"
    unknown = records.transcript(said(known=False, overlap=True), 0.0)
    assert unknown["person"] is None
    assert unknown["overlap"] is True


def test_each_face_says_whose_it_is() -> None:
    points = np.zeros((478, 3), np.float32)
    quality = FaceQuality(0.2, 0.5, 100.0)
    faces = (
        Face(0, points, np.zeros(1, np.float32), quality, "p1.2"),
        Face(1, points, np.zeros(1, np.float32), quality),
    )
    told = records.face(FaceFrame("p1", 1.0, faces), [[], []], 0.0)
    assert [face["person"] for face in told["faces"]] == ["p1.2", None]


def test_who_is_in_the_picture_is_told() -> None:
    assert records.person(Presence("p1.1", 12.40004, False)) == {
        "type": "person",
        "person": "p1.1",
        "t": 12.4,
        "present": False,
    }


def test_hello_says_where_the_picture_comes_from() -> None:
    told = records.hello(
        "s", "p1", ["happy"], "self_view", Consent(), 3.0, 0.25, "tab",
        many=True, modalities={"face", "words"},
    )  # fmt: skip
    assert told["modalities"] == ["words", "face"]
    assert (told["source"], told["many"]) == ("tab", True)
