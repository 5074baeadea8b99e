"""CMU-MultimodalSDK files (``.csd``): reading, and aligning several of them to words.

A file is HDF5: ``/<root>/data/<video>/features`` (T, D) and ``/intervals`` (T, 2) in seconds, with
``/<root>/metadata``, whose values are JSON or plain text. Rows come in any order, and times may
begin below 0 s.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from lddu_model.data.conversion import WHOLE, Conversion, Part, Sequences
from lddu_model.data.mosei import EMOTIONS, LabelTable, read_label_table
from lddu_model.data.sequences import cleaned
from lddu_model.errors import DataError
from lddu_model.spec import Bool, FeatureSpec, Float32, ModalitySpec

Float64 = NDArray[np.float64]
LAYOUT = "it must be a computational sequence of the CMU-MultimodalSDK; see lddu_model/data/csd.py"
PAUSES = frozenset({"sp", ""})
"""What stands in a file of words where nothing is said."""
MODALITIES: Mapping[str, str] = {
    "glove_vectors": "words",
    "COVAREP": "voice",
    "FACET 4.2": "face",
    "FACET_4.2": "face",
}
"""Root of a file -> modality; other roots can be named."""
LABELS = "All Labels"
STEPS = 50
"""Words of a segment that are kept, as in the aligned files that are in use."""


@dataclass(frozen=True, slots=True)
class Track:
    """What one file says of one video, in order of time."""

    features: NDArray[Any]
    """(T, D) numbers, or (T, 1) byte strings."""
    intervals: Float64
    """(T, 2) start and end in seconds."""
    rows: NDArray[np.intp]
    """(T,) place in the file."""


class Csd:
    """An open file; videos are read when they are asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = h5py.File(path, "r")
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error}", LAYOUT) from error
        roots = list(self._file)
        if len(roots) != 1 or not isinstance(self._own(f"{roots[0]}/data"), h5py.Group):
            raise DataError(f"{path} has no single root with data", LAYOUT)
        self.root: str = roots[0]
        self.videos = list(self._file[f"{self.root}/data"])

    def __enter__(self) -> Csd:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    @property
    def holds_text(self) -> bool:
        """Whether its features are words."""
        track = self._first()
        return track.features.dtype.kind in "SO"

    @property
    def dim(self) -> int:
        """Features per row."""
        return int(self._first().features.shape[1])

    def _first(self) -> Track:
        for video in self.videos:
            track = self.track(video)
            if track is not None:
                return track
        raise DataError(f"{self.path} has no video", LAYOUT)

    def metadata(self) -> dict[str, Any]:
        """Every value as what its JSON says, or as the text that it is."""
        group = self._own(f"{self.root}/metadata")
        return {key: _value(group[key][()]) for key in group} if group is not None else {}

    def track(self, video: str) -> Track | None:
        """One video; None where the file has nothing of it. Rows without times are left out."""
        features = self._own(f"{self.root}/data/{video}/features")
        intervals = self._own(f"{self.root}/data/{video}/intervals")
        if features is None or intervals is None:
            return None
        times = np.asarray(intervals, dtype=np.float64)
        values = np.asarray(features)
        if times.shape != (len(values), 2) or values.ndim != 2:
            raise DataError(
                f"{self.path}: {video} has features {values.shape} at times {times.shape}", LAYOUT
            )
        order = np.lexsort((times[:, 1], times[:, 0]))
        order = order[np.isfinite(times[order]).all(axis=1)]
        return Track(values[order], times[order], order)

    def _own(self, name: str) -> Any:
        """An object of this very file: a link could lead to any other."""
        group = self._file
        for part in name.split("/"):
            link = group.get(part, getlink=True) if isinstance(group, h5py.Group) else None
            if link is None:
                return None
            if not isinstance(link, h5py.HardLink):
                raise DataError(f"{self.path}: {name} leads to another file", LAYOUT)
            group = group[part]
        return group


def _value(raw: Any) -> Any:
    first = np.ravel(raw)[0] if np.size(raw) else ""
    text = first.decode("utf-8", "replace") if isinstance(first, bytes) else str(first)
    try:
        return json.loads(text)
    except ValueError:
        return text


def means(track: Track, grid: Float64) -> tuple[Float32, Bool]:
    """Mean of the rows of `track` that overlap each interval of `grid` (S, 2): (S, D) and (S,).

    An interval that no row overlaps, or only rows of zeros, is 0 and False.
    """
    features = cleaned(track.features)
    starts = track.intervals[:, 0]
    ends = np.maximum.accumulate(track.intervals[:, 1])
    first = np.searchsorted(ends, grid[:, 0], side="right")
    last = np.searchsorted(starts, grid[:, 1], side="left")
    found = np.zeros((len(grid), features.shape[1]), dtype=np.float32)
    for i, (begin, end) in enumerate(zip(first, last, strict=True)):
        if end > begin:
            found[i] = features[begin:end].mean(axis=0)
    return found, np.asarray(found.any(axis=1))


def word_grid(track: Track, start: float, end: float, steps: int = STEPS) -> Float64:
    """(S, 2) intervals of the words whose middle lies in the segment, without pauses."""
    middle = track.intervals.mean(axis=1)
    inside = (middle >= start) & (middle < end)
    if track.features.dtype.kind in "SO":
        words = [bytes(x).decode("utf-8", "replace").strip() for x in track.features[:, 0]]
        inside &= np.array([word not in PAUSES for word in words], dtype=bool)
    grid: Float64 = track.intervals[inside][:steps]
    return grid


def read_csd(
    paths: Sequence[Path],
    table: Path | None = None,
    *,
    modalities: Mapping[str, str] | None = None,
) -> Conversion:
    """A conversion of several files: one with labels, one with words or word vectors, features.

    One sample is a row of ``All Labels``, aligned to its words. `table`: a CSV whose column split
    (or sdk_split) says where a video belongs; without it there is one split, ``all``. `modalities`
    adds to `MODALITIES`.
    """
    files = {file.root: file for file in map(Csd, paths)}
    labels = files.pop(LABELS, None)
    words = next((file for file in files.values() if file.holds_text), None)
    names = {**MODALITIES, **(modalities or {})}
    features = {root: file for root, file in files.items() if file is not words}
    unknown = [root for root in features if root not in names]
    if labels is None or not features or unknown:
        raise DataError(
            f"these files have the roots {[*files, *([LABELS] if labels else [])]}; needed are "
            f"{LABELS!r} and features of {sorted(set(names))}",
            f"say what {unknown[0]!r} is: --root '{unknown[0]}=face'" if unknown else LAYOUT,
        )
    found = {names[root]: file for root, file in features.items()}
    words = words or found.get("words")
    if words is None:
        raise DataError("none of these files has words to align to", "add the file of the words")
    sources = dict(sorted(found.items(), key=lambda pair: pair[0], reverse=True))
    splits = None if table is None else read_label_table(table)
    spec = FeatureSpec(
        "csd-word-aligned",
        tuple(
            ModalitySpec(name, file.dim, STEPS, None, f"{file.root}, mean per word")
            for name, file in sources.items()
        ),
    )
    parts, skipped = _parts(labels, words, sources, splits)
    notes = [f"{skipped} segments of videos that are in no split were left out"] if skipped else []
    report = {"source": [path.name for path in paths], "layout": "csd", "notes": notes}
    return Conversion(spec, EMOTIONS, parts, report)


@dataclass(frozen=True, slots=True)
class _Segment:
    video: str
    row: int
    start: float
    end: float
    present: Float32


def _segments(labels: Csd, video: str) -> list[_Segment]:
    """Labelled stretches of one video, in order of time."""
    track = labels.track(video)
    if track is None:
        return []
    if track.features.shape[1] != 1 + len(EMOTIONS):
        raise DataError(
            f"{labels.path}: {video} has {track.features.shape[1]} labels, not sentiment and six",
            LAYOUT,
        )
    present = (cleaned(track.features[:, 1:]) > 0).astype(np.float32)
    return [
        _Segment(video, int(row), float(start), float(end), values)
        for row, (start, end), values in zip(track.rows, track.intervals, present, strict=True)
    ]


def _parts(
    labels: Csd, words: Csd, sources: Mapping[str, Csd], splits: LabelTable | None
) -> tuple[dict[str, Part], int]:
    """Parts by split, and how many segments belong to none."""
    chosen: dict[str, list[_Segment]] = {}
    for video in labels.videos:
        split = WHOLE if splits is None else splits.split_of(video)
        chosen.setdefault(split, []).extend(_segments(labels, video))
    skipped = len(chosen.pop("", []))
    return {name: _part(found, words, sources) for name, found in chosen.items()}, skipped


def _part(segments: list[_Segment], words: Csd, sources: Mapping[str, Csd]) -> Part:
    cache: dict[str, tuple[Track | None, dict[str, Track | None]]] = {}

    def tracks(video: str) -> tuple[Track | None, dict[str, Track | None]]:
        if video not in cache:
            cache.clear()  # segments of one video follow each other
            cache[video] = words.track(video), {n: f.track(video) for n, f in sources.items()}
        return cache[video]

    def sequences(i: int) -> Sequences:
        segment = segments[i]
        spoken, found = tracks(segment.video)
        if spoken is None:
            return {}, {}
        grid = word_grid(spoken, segment.start, segment.end)
        aligned = {n: means(x, grid) for n, x in found.items() if x is not None and len(grid)}
        present = {name: pair for name, pair in aligned.items() if pair[1].any()}
        return {n: x for n, (x, _) in present.items()}, {n: m for n, (_, m) in present.items()}

    return Part(
        [f"{each.video}[{each.row}]" for each in segments],
        [each.video for each in segments],
        np.stack([each.present for each in segments]),
        sequences,
    )
