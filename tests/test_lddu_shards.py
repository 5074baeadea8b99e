"""Feature sets on disk: what was written comes back; every fault names the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from lddu_model import FeatureSpec, ModalitySpec, Sample
from lddu_model.data.shards import Dtype, ShardWriter, read_shards
from lddu_model.errors import DataError

SPEC = FeatureSpec(
    "tiny", (ModalitySpec("words", 4, 5, None, "none"), ModalitySpec("face", 3, 6, 10.0, "none"))
)
LABELS = ("happy", "sad")


def samples(count: int) -> list[Sample]:
    rng = np.random.default_rng(0)
    made = []
    for i in range(count):
        features = {
            m.name: rng.normal(size=(int(rng.integers(1, m.steps + 1)), m.dim)).astype(np.float32)
            for m in SPEC.modalities
        }
        mask = {name: rng.random(len(x)) < 0.7 for name, x in features.items()}
        if i % 3 == 0:
            del features["words"], mask["words"]
        labels = np.array([i % 2, 1 - i % 2], dtype=np.float32) if i % 4 else None
        made.append(Sample(features, mask, labels, f"s{i}", f"g{i % 2}"))
    return made


@pytest.mark.parametrize("dtype", get_args(Dtype))
def test_round_trip_over_several_shards(tmp_path: Path, dtype: Dtype) -> None:
    written = samples(11)
    with ShardWriter(tmp_path, SPEC, LABELS, samples_per_shard=4, dtype=dtype) as writer:
        for sample in written:
            writer.add(sample)
    found = read_shards(tmp_path)
    assert len(list(tmp_path.glob("shard-*"))) == 3
    assert (found.spec, found.labels, len(found)) == (SPEC, LABELS, 11)
    for before, after in zip(written, found, strict=True):
        assert (before.id, before.group) == (after.id, after.group)
        assert set(before.features) == set(after.features)
        for name in before.features:
            close = 0 if dtype == "float32" else 2e-3
            np.testing.assert_allclose(before.features[name], after.features[name], atol=close)
            np.testing.assert_array_equal(before.mask[name], after.mask[name])
        if before.labels is None:
            assert after.labels is None
        else:
            np.testing.assert_array_equal(before.labels, after.labels)


def test_fingerprint_follows_content(tmp_path: Path) -> None:
    prints: list[str] = []
    for count in (3, 3, 4):
        folder = tmp_path / str(len(prints))
        with ShardWriter(folder, SPEC, LABELS) as writer:
            for sample in samples(count):
                writer.add(sample)
        prints.append(read_shards(folder).fingerprint)
    assert prints[0] == prints[1] != prints[2]


def test_unfinished_set_is_no_set(tmp_path: Path) -> None:
    def interrupted() -> None:
        with ShardWriter(tmp_path, SPEC, LABELS) as writer:
            writer.add(samples(1)[0])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    with pytest.raises(DataError, match=r"index\.json is missing"):
        read_shards(tmp_path)


def test_damaged_shard_is_named(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, SPEC, LABELS) as writer:
        writer.add(samples(2)[1])
    shard = tmp_path / "shard-00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:-3])
    with pytest.raises(DataError, match=r"shard-00000\.safetensors is damaged"):
        read_shards(tmp_path)


def test_index_of_another_kind_is_named(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(json.dumps({"format": 1, "labels": []}))
    with pytest.raises(DataError, match=r"index\.json is not an index.*'spec'"):
        read_shards(tmp_path)


@pytest.mark.parametrize(
    ("sample", "what"),
    [
        (Sample({}, {}, None, ""), "id of its own"),
        (Sample({}, {}, np.zeros(3, np.float32), "a"), "labels"),
        (Sample({"face": np.zeros((2, 5), np.float32)}, {}, None, "a"), "face"),
        (
            Sample({"face": np.zeros((2, 3), np.float32)}, {"face": np.ones(3, bool)}, None, "a"),
            "mask of face",
        ),
    ],
)
def test_misfits_are_refused(tmp_path: Path, sample: Sample, what: str) -> None:
    with pytest.raises(DataError, match=what):
        ShardWriter(tmp_path, SPEC, LABELS).add(sample)
