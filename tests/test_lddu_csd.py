"""Files of the CMU-MultimodalSDK: reading, order of time, alignment to words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from lddu_model.data import convert
from lddu_model.data.csd import Csd, Track, means, read_csd, word_grid
from lddu_model.data.mosei import EMOTIONS
from lddu_model.data.shards import read_shards
from lddu_model.errors import ConfigError, DataError
from tests.lddu_layouts import made_clips, write_table

Videos = Mapping[str, tuple[Any, Any]]
"""Video -> features and intervals."""


def write_csd(path: Path, root: str, videos: Videos, metadata: Mapping[str, bytes] = {}) -> Path:
    with h5py.File(path, "w") as file:
        for video, (features, intervals) in videos.items():
            group = file.create_group(f"{root}/data/{video}")
            group["features"], group["intervals"] = features, intervals
        for key, value in metadata.items():
            file[f"{root}/metadata/{key}"] = [value]
    return path


def track(features: Any, intervals: Any) -> Track:
    x = np.array(features)
    return Track(x, np.array(intervals, dtype=np.float64), np.arange(len(x)))


def test_a_real_file(shared: Path) -> None:
    path = shared / "data" / "csd_sample" / "CMU_MOSI_ModifiedTimestampedWords.csd"
    with Csd(path) as file:
        assert file.root == "CMU_MOSI_ModifiedTimestampedWords" and file.holds_text
        assert len(file.videos) == 93
        assert file.metadata()["root name"] == file.root
        words = file.track("03bSnISJMiM")
        assert words is not None and words.features[0, 0] == b"oh"
        assert words.intervals.shape == (480, 2)
        assert (np.diff(words.intervals[:, 0]) >= 0).all()
        grid = word_grid(words, 5.0, 10.0)
        assert np.isclose(
            grid[0], [5.79931973, 6.8968254]
        ).all()  # "this"; the pause before is none
        assert (grid.mean(axis=1) >= 5.0).all() and (grid.mean(axis=1) < 10.0).all()
        assert file.track("nobody") is None


def test_a_real_file_as_the_words_of_a_set(shared: Path, tmp_path: Path) -> None:
    words = shared / "data" / "csd_sample" / "CMU_MOSI_ModifiedTimestampedWords.csd"
    times = np.arange(0, 60, 0.1)[:, None] + np.array([[0.0, 0.1]])
    voice = np.repeat(np.arange(600.0)[:, None], 74, axis=1)
    labels = {"03bSnISJMiM": ([[0, 1, 0, 0, 0, 0, 0.3]], [[2.0, 9.0]])}
    paths = [
        words,
        write_csd(tmp_path / "v.csd", "COVAREP", {"03bSnISJMiM": (voice, times)}),
        write_csd(tmp_path / "l.csd", "All Labels", labels),
    ]
    arguments = ["csd", *map(str, paths), "--out", str(tmp_path / "out")]
    assert convert.main(arguments) == 0
    (sample,) = read_shards(tmp_path / "out" / "all")
    assert sample.id == "03bSnISJMiM[0]" and sample.group == "03bSnISJMiM"
    with Csd(words) as file:
        spoken = file.track("03bSnISJMiM")
    assert spoken is not None
    grid = word_grid(spoken, 2.0, 9.0)
    assert len(sample.features["voice"]) == len(grid) > 3
    # Row k is the mean over frames of 0.1 s, whose number is their time times ten.
    middle = grid.mean(axis=1) * 10 - 0.5
    np.testing.assert_allclose(sample.features["voice"][:, 0], middle, atol=0.6)


def test_rows_come_in_order_of_time(tmp_path: Path) -> None:
    intervals = [[3.0, 4.0], [-1.5, 0.5], [np.nan, 2.0], [0.5, 3.0]]
    path = write_csd(
        tmp_path / "x.csd", "FACET 4.2", {"v": ([[3.0], [1.0], [9.0], [2.0]], intervals)}
    )
    with Csd(path) as file:
        found = file.track("v")
    assert found is not None
    assert found.features[:, 0].tolist() == [1.0, 2.0, 3.0]
    assert found.intervals.tolist() == [[-1.5, 0.5], [0.5, 3.0], [3.0, 4.0]]
    assert found.rows.tolist() == [1, 3, 0]


def test_metadata_is_json_or_text(tmp_path: Path) -> None:
    metadata = {"a": b'{"x": [1]}', "b": b"plain {text", "c": b'"quoted"', "d": b"7"}
    path = write_csd(tmp_path / "x.csd", "words", {"v": ([[b"a"]], [[0, 1]])}, metadata)
    with Csd(path) as file:
        assert file.metadata() == {"a": {"x": [1]}, "b": "plain {text", "c": "quoted", "d": 7}


def test_means_over_intervals() -> None:
    frames = track(
        [[1.0, -np.inf], [3.0, 2.0], [5.0, 4.0], [0.0, 0.0]], [[-1, 0], [0, 1], [1, 2], [5, 6]]
    )
    grid = np.array([[-0.5, 0.5], [0.0, 1.0], [0.5, 2.5], [3.0, 4.0], [5.0, 6.0]])
    found, mask = means(frames, grid)
    # touching is not overlapping; where nothing is, or only zeros are, nothing is valid
    assert found.tolist() == [[2.0, 1.0], [3.0, 2.0], [4.0, 3.0], [0.0, 0.0], [0.0, 0.0]]
    assert mask.tolist() == [True, True, True, False, False]


def test_words_of_a_segment() -> None:
    words = track(
        [[b"a"], [b"sp"], [b"b"], [b"c"]], [[0.0, 1.0], [1.0, 2.0], [2.0, 3.0], [3.0, 5.0]]
    )
    assert word_grid(words, 0.6, 4.0).tolist() == [[2.0, 3.0]]
    assert word_grid(words, 0.0, 9.0).tolist() == [[0.0, 1.0], [2.0, 3.0], [3.0, 5.0]]
    assert word_grid(words, 0.0, 9.0, steps=2).tolist() == [[0.0, 1.0], [2.0, 3.0]]


def made_set(folder: Path) -> list[Path]:
    """Three videos; face is missing in one, and one is not in the table."""
    rng = np.random.default_rng(0)
    files: dict[str, dict[str, tuple[Any, Any]]] = {
        "words": {},
        "glove_vectors": {},
        "COVAREP": {},
        "FACET 4.2": {},
        "All Labels": {},
    }
    for video in ("train_-v0", "test_-v0", "elsewhere"):
        order = rng.permutation(40)
        times = order[:, None] * 0.5 + np.array([0.0, 0.5])
        files["words"][video] = (np.array([[f"w{i}".encode()] for i in order]), times)
        files["glove_vectors"][video] = (order[:, None] + np.ones((1, 300)), times)
        frames = np.arange(2000)[:, None] * 0.01 + np.array([0.0, 0.01])
        files["COVAREP"][video] = (np.ones((2000, 74)), frames)
        if video != "test_-v0":
            files["FACET 4.2"][video] = (np.ones((60, 35)), frames[:60] * 33)
        levels = [[1, 0.3, 0, 0, 0, 0, 0], [-1, 0, 1.0, 0, 0, 0, 2.0]]
        files["All Labels"][video] = (levels, [[10.0, 20.0], [-0.2, 5.0]])
    return [write_csd(folder / f"{root}.csd", root, videos) for root, videos in files.items()]


def test_a_set_of_files(tmp_path: Path) -> None:
    table = write_table(tmp_path / "labels.csv", made_clips())
    found = read_csd(made_set(tmp_path), table)
    assert found.spec.names == ("words", "voice", "face")
    assert [each.dim for each in found.spec.modalities] == [300, 74, 35]
    assert {name: len(part) for name, part in found.parts.items()} == {"train": 2, "test": 2}
    assert found.report["notes"] == ["2 segments of videos that are in no split were left out"]
    part = found.parts["train"]
    assert part.ids == ["train_-v0[1]", "train_-v0[0]"]  # names count rows, order is time
    assert part.labels is not None
    assert part.labels.tolist() == [[0, 1, 0, 0, 0, 1], [1, 0, 0, 0, 0, 0]]
    features, mask = part.sequences(0)
    np.testing.assert_allclose(features["words"][:, 0], np.arange(1, 11))  # words 0 to 9
    assert mask["voice"].all() and len(mask["voice"]) == 10
    assert set(found.parts["test"].sequences(0)[0]) == {"words", "voice"}


def test_other_roots_need_a_name(tmp_path: Path) -> None:
    paths = made_set(tmp_path)[:2]
    paths.append(
        write_csd(tmp_path / "o.csd", "OpenFace", {"train_-v0": (np.ones((9, 4)), np.ones((9, 2)))})
    )
    labels = made_set(tmp_path)[-1]
    with pytest.raises(DataError, match=r"OpenFace.*needed are") as raised:
        read_csd([*paths, labels])
    assert "--root 'OpenFace=face'" in raised.value.hint
    out = tmp_path / "out"
    arguments = ["csd", *map(str, [*paths, labels]), "--out", str(out)]
    assert convert.main([*arguments, "--root", "OpenFace=face"]) == 0
    assert read_shards(out / "all").labels == EMOTIONS
    with pytest.raises(ConfigError, match="--root OpenFace: expected KEY=VALUE"):
        convert.main([*arguments, "--root", "OpenFace"])


def test_what_is_no_csd(tmp_path: Path) -> None:
    path = tmp_path / "x.csd"
    path.write_bytes(b"something else")
    with pytest.raises(DataError, match=r"x\.csd cannot be read"):
        Csd(path)
    with h5py.File(path, "w") as file:
        file["a"] = 1
    with pytest.raises(DataError, match="no single root"):
        Csd(path)
    write_csd(path, "COVAREP", {"v": (np.ones((3, 74)), np.ones((2, 2)))})
    with Csd(path) as file, pytest.raises(DataError, match="v has features"):
        file.track("v")


def test_links_out_of_the_file_are_not_followed(tmp_path: Path) -> None:
    secret = write_csd(tmp_path / "secret.csd", "s", {"v": (np.ones((1, 1)), np.ones((1, 2)))})
    path = tmp_path / "x.csd"
    with h5py.File(path, "w") as file:
        file["COVAREP/data/v"] = h5py.ExternalLink(str(secret), "/s/data/v")
    with Csd(path) as found, pytest.raises(DataError, match="leads to another file"):
        found.track("v")
