"""CREMA-D: acted clips, and what the crowd heard and saw in them.

``tabulatedVotes.csv`` has for each clip three rows: votes on the voice alone, on the face alone and
on both; the first digit of the row's number says which. The folder of the recordings holds
``<clip>.flv``, ``.mp4``, ``.wav`` or ``.mp3``, also in folders of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lddu_model.data.recordings import Recording, Recordings, rows_of
from lddu_model.errors import DataError

EMOTIONS = ("anger", "disgust", "fear", "happy", "neutral", "sad")
LETTERS = "ADFHNS"
HEARD: Mapping[str, str] = {"1": "voice", "2": "face", "3": "both"}
"""First digit of a row's number -> what was shown."""
WITH_PICTURE = (".flv", ".mp4", ".webm", ".mkv")
SOUND_ALONE = (".wav", ".mp3", ".flac")
PRESENT = 1 / 3
"""Share of the votes from which an emotion counts as present."""


@dataclass(frozen=True, slots=True)
class Votes:
    """Of one clip; each (6,) number of votes, in the order of `EMOTIONS`."""

    voice: NDArray[np.float64]
    face: NDArray[np.float64]
    both: NDArray[np.float64]

    def shares(self, shown: str) -> NDArray[np.float64]:
        """(6,) distribution of the votes on ``voice``, ``face`` or ``both``."""
        votes: NDArray[np.float64] = getattr(self, shown)
        return votes / max(1.0, float(votes.sum()))


def read_votes(path: Path) -> dict[str, Votes]:
    """By name of the clip."""
    found: dict[str, dict[str, NDArray[np.float64]]] = {}
    for where, row in rows_of(path, ("fileName", *LETTERS)):
        number = row.get("", "")  # the column has no name
        shown = HEARD.get(number[:1])
        if shown is None:
            raise DataError(f"{where}: row number {number!r} begins with neither 1, 2 nor 3")
        try:
            votes = np.array([float(row[letter]) for letter in LETTERS])
        except ValueError as error:
            raise DataError(f"{where}: {error}") from error
        found.setdefault(row["fileName"], {})[shown] = votes
    lost = [name for name, votes in found.items() if len(votes) < 3]
    if lost:
        raise DataError(f"{path}: {lost[0]} has not all three kinds of votes")
    return {name: Votes(**votes) for name, votes in found.items()}


def read_cremad(votes: Path, media: Path) -> Recordings:
    """Recordings with the emotions that a third of the votes names, and all shares as columns.

    Labels are those of what the file shows: votes on the voice where it has sound alone, on both
    where it has a picture too. The group is the actor.
    """
    known = read_votes(votes)
    rows = [_recording(path, known[path.stem]) for path in _media(media) if path.stem in known]
    if not rows:
        raise DataError(f"{media} has no recording that {votes} names", "name CREMA-D's folder")
    missing = len(known) - len(rows)
    return Recordings(rows, [f"{missing} clips with votes have no recording"] if missing else [])


def _media(folder: Path) -> Iterator[Path]:
    """One file per clip: with a picture where there is one."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in WITH_PICTURE:
            found[path.stem] = path
        elif path.suffix.lower() in SOUND_ALONE:
            found.setdefault(path.stem, path)
    yield from (found[stem] for stem in sorted(found))


def _recording(path: Path, votes: Votes) -> Recording:
    shown = "both" if path.suffix.lower() in WITH_PICTURE else "voice"
    shares = votes.shares(shown)
    labels = [
        name
        for name, share in zip(EMOTIONS, shares, strict=True)
        if share >= PRESENT and name != "neutral"
    ]
    columns = {
        f"{kind}_{name}": float(share)
        for kind in HEARD.values()
        for name, share in zip(EMOTIONS, votes.shares(kind), strict=True)
    }
    return Recording(path, labels, path.stem, path.stem[:4], extra=columns)
