"""MMSA, MulT and TAILOR files: sequences, masks, labels by name, counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lddu_model import labels
from lddu_model.data import convert
from lddu_model.data.conversion import Count
from lddu_model.data.fingerprints import MOSEI, identify
from lddu_model.data.mmsa import read_mmsa
from lddu_model.data.mosei import EMOTIONS, read_label_table
from lddu_model.data.mult import read_mult
from lddu_model.data.sequences import cleaned, unpadded
from lddu_model.data.shards import ShardSet, read_shards
from lddu_model.data.tailor import emotions, read_tailor
from lddu_model.errors import DataError
from tests.lddu_layouts import (
    Clips,
    made_clips,
    mmsa_tree,
    present,
    read_clips,
    write_pickle,
    write_table,
)

SMALL = {"text": 12, "audio": 7, "vision": 8}
SPLITS = {"train": "train", "valid": "validation", "test": "test"}


@pytest.fixture(scope="module")
def clips() -> Clips:
    return made_clips()


@pytest.fixture(scope="module")
def table(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(tmp_path_factory.mktemp("table") / "labels.csv", clips)


def by_name(folder: Path) -> dict[str, ShardSet]:
    return {ours: read_shards(folder / ours) for ours in SPLITS.values()}


@pytest.mark.parametrize("steps", [None, {"text": 50, "audio": 60, "vision": 55}])
def test_mmsa_to_sets(
    tmp_path: Path, clips: Clips, table: Path, steps: dict[str, int] | None
) -> None:
    tree = mmsa_tree(clips, steps=steps)
    path = write_pickle(tmp_path / "mmsa.pkl", tree)
    arguments = [
        "mmsa",
        str(path),
        "--labels",
        str(table),
        "--part",
        "--out",
        str(tmp_path / "out"),
    ]
    assert convert.main(arguments) == 0
    found = by_name(tmp_path / "out")
    for theirs, ours in SPLITS.items():
        fields, rows = tree[theirs], {row["key"]: row for row in clips[theirs]}
        assert len(found[ours]) == len(rows)
        assert found[ours].labels == EMOTIONS
        for i, sample in enumerate(found[ours]):
            assert sample.id == fields["id"][i].replace("$_$", "_")
            assert sample.group == rows[sample.id]["video_id"]
            assert sample.labels is not None
            np.testing.assert_array_equal(sample.labels, present(rows[sample.id]))
            for name, field in (("words", "text"), ("voice", "audio"), ("face", "vision")):
                x = fields[field][i]
                real = x.any(axis=1)
                assert sample.mask[name].all() and len(sample.features[name]) == real.sum()
                np.testing.assert_array_equal(sample.features[name], x[real])
    report = json.loads((tmp_path / "out" / "conversion.json").read_text())
    assert report["aligned"] is (steps is None)
    assert sum(report["splits"]["test"]["per_label"].values()) == sum(
        int(present(row).sum()) for row in clips["test"]
    )


def test_masks_are_real() -> None:
    x = {name: np.ones((6, 2), dtype=np.float32) for name in ("words", "voice", "face")}
    x["words"][:2] = x["voice"][:2] = x["face"][:3] = 0.0  # padded in front, face later still
    x["words"][5] = x["voice"][5] = x["face"][5] = 0.0  # and behind
    x["face"][4] = 0.0  # lost once
    features, mask = unpadded(x, aligned=True)
    assert {name: each.tolist() for name, each in mask.items()} == {
        "words": [True, True, True],
        "voice": [True, True, True],
        "face": [False, True, False],
    }
    assert features["face"].tolist() == [[0, 0], [1, 1], [0, 0]]
    features, mask = unpadded(x, aligned=False)
    assert mask["face"].tolist() == [True] and mask["words"].tolist() == [True] * 3


def test_lengths_and_tokens_limit_the_masks() -> None:
    x = {"words": np.ones((5, 2)), "voice": np.ones((4, 2))}
    tokens = np.array([True, True, False, True, False])
    features, mask = unpadded(x, {"voice": 3}, {"words": tokens}, aligned=False)
    assert mask["words"].tolist() == [True, True, False, True]
    assert features["words"][2].tolist() == [0, 0]  # what is not valid says nothing
    assert len(features["voice"]) == 3


def test_a_modality_without_rows_is_missing() -> None:
    features, mask = unpadded({"words": np.ones((3, 2)), "face": np.zeros((3, 2))}, aligned=True)
    assert list(features) == list(mask) == ["words"]
    assert unpadded({"words": np.zeros((3, 2))}, aligned=True) == ({}, {})


def test_infinities_go_and_the_array_stays() -> None:
    x = np.array([[1.0, -np.inf], [np.nan, 2.0]], dtype=np.float32)
    before = x.copy()
    assert cleaned(x).tolist() == [[1.0, 0.0], [0.0, 2.0]]
    features, mask = unpadded({"voice": x}, aligned=False)
    assert features["voice"].tolist() == [[1.0, 0.0], [0.0, 2.0]] and mask["voice"].all()
    np.testing.assert_array_equal(x, before)


def test_bert_tokens_come_from_the_file(tmp_path: Path, clips: Clips) -> None:
    tree = mmsa_tree(clips, dims=SMALL)
    bert = tree["train"]["text_bert"]
    tree["train"]["text"][:, :, 0] += 0.5  # states of padding are not zero
    path = write_pickle(tmp_path / "mmsa.pkl", tree)
    part = read_mmsa(path).parts["train"]
    for i in range(len(part)):
        assert part.sequences(i)[1]["words"].sum() == bert[i, 1].sum()


@pytest.mark.parametrize("protocol", [2, 5])
def test_other_protocols(tmp_path: Path, clips: Clips, table: Path, protocol: int) -> None:
    tree = mmsa_tree(clips, dims=SMALL)
    path = write_pickle(tmp_path / "mmsa.pkl", tree, protocol)
    part = read_mmsa(path, table, part=True, scratch=tmp_path).parts["test"]
    x = tree["test"]["vision"][3]
    np.testing.assert_array_equal(part.sequences(3)[0]["face"], x[x.any(axis=1)])


def test_float16_sets_refuse_what_does_not_fit(tmp_path: Path, clips: Clips) -> None:
    tree = mmsa_tree(clips, dims=SMALL)
    tree["test"]["audio"][2, 0, 0] = 1e6
    path = write_pickle(tmp_path / "mmsa.pkl", tree)
    arguments = ["mmsa", str(path), "--out", str(tmp_path / "out"), "--dtype", "float16"]
    with pytest.raises(DataError, match="voice has values that are"):
        convert.main(arguments)
    assert convert.main(arguments[:-2]) == 0


def without(tree: dict[str, Any], field: str) -> None:
    del tree["valid"][field]


BROKEN = {
    "no field": (lambda tree: without(tree, "audio"), "validation has no audio"),
    "rows": (lambda tree: tree["test"].update(audio=tree["test"]["audio"][1:]), "for 12 samples"),
    "flat": (lambda tree: tree["test"].update(text=np.ones((12, 3))), r"text \(12, 3\)"),
    "name": (lambda tree: tree["train"]["id"].__setitem__(3, "abc_1"), "'abc_1' is not <video>"),
    "split": (lambda tree: tree.update(extra=tree["test"]), "unknown split 'extra'"),
    "unknown clip": (
        lambda tree: tree["train"]["id"].__setitem__(3, "abc$_$1"),
        r"1 of 24 samples have no row in .*labels.csv, for example abc\$_\$1",
    ),
    "moved": (
        lambda tree: tree["train"]["id"].__setitem__(3, tree["test"]["id"][0]),
        "1 samples of train are in another split",
    ),
}


@pytest.mark.parametrize(("change", "reason"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_files_say_what_is_wrong(
    tmp_path: Path, clips: Clips, table: Path, change: Any, reason: str
) -> None:
    tree = mmsa_tree(clips, dims=SMALL)
    change(tree)
    path = write_pickle(tmp_path / "mmsa.pkl", tree)
    with pytest.raises(DataError, match=rf"mmsa\.pkl.*{reason}"):
        read_mmsa(path, table, part=True)


def test_tables_say_what_is_wrong(tmp_path: Path, table: Path) -> None:
    lines = table.read_text().splitlines()
    path = tmp_path / "labels.csv"
    path.write_text("\n".join([lines[0].replace("disgust", "digust"), *lines[1:]]))
    with pytest.raises(DataError, match=r"labels\.csv has no column disgust"):
        read_label_table(path)
    before, _, last = lines[3].rsplit(",", 2)  # fear
    path.write_text("\n".join([*lines[:3], f"{before},none,{last}"]))
    with pytest.raises(DataError, match=r"labels\.csv, line 4: .*'none'"):
        read_label_table(path)
    with pytest.raises(DataError, match=r"no\.csv cannot be read"):
        read_label_table(tmp_path / "no.csv")


def test_labels_into_a_converted_set(tmp_path: Path, clips: Clips, table: Path) -> None:
    path = write_pickle(tmp_path / "mmsa.pkl", mmsa_tree(clips, dims=SMALL))
    plain, direct = tmp_path / "plain", tmp_path / "direct"
    convert.main(["mmsa", str(path), "--out", str(plain)])
    assert all(sample.labels is None for sample in read_shards(plain / "train"))
    convert.main(["mmsa", str(path), "--labels", str(table), "--part", "--out", str(direct)])
    copy = tmp_path / "copy"
    assert labels.main([str(plain), str(table), "--part", "--out", str(copy)]) == 0
    assert all(sample.labels is None for sample in read_shards(plain / "train"))
    assert labels.main([str(plain), str(table), "--part"]) == 0
    for found in (plain, copy):
        for ours in SPLITS.values():
            # Fingerprints cover every byte: what is labelled later is what is labelled at once.
            assert read_shards(found / ours).fingerprint == read_shards(direct / ours).fingerprint
        report = json.loads((found / "conversion.json").read_text())
        expected = json.loads((direct / "conversion.json").read_text())
        assert report["splits"] == expected["splits"]
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "copy",
        "direct",
        "mmsa.pkl",
        "plain",
    ]


def test_a_failed_labelling_changes_nothing(tmp_path: Path, clips: Clips) -> None:
    path = write_pickle(tmp_path / "mmsa.pkl", mmsa_tree(clips, dims=SMALL))
    convert.main(["mmsa", str(path), "--out", str(tmp_path / "set")])
    before = read_shards(tmp_path / "set" / "train").fingerprint
    other = write_table(tmp_path / "other.csv", {**clips, "test": made_clips({"test": 2})["test"]})
    with pytest.raises(DataError, match="10 of 12 samples have no row"):
        labels.label_set(tmp_path / "set", other, part=True)
    assert read_shards(tmp_path / "set" / "train").fingerprint == before
    with pytest.raises(DataError, match="the counts are those of no known release"):
        labels.label_set(tmp_path / "set", write_table(tmp_path / "t.csv", clips))
    assert read_shards(tmp_path / "set" / "train").fingerprint == before


def test_labels_of_a_pickle(tmp_path: Path, clips: Clips, table: Path) -> None:
    tree = mmsa_tree(clips, dims=SMALL)
    path = write_pickle(tmp_path / "mmsa.pkl", tree)
    out = tmp_path / "labels.npz"
    assert labels.main([str(path), str(table), "--part", "--out", str(out)]) == 0
    with np.load(out, allow_pickle=False) as found:
        assert found["labels"].tolist() == list(EMOTIONS)
        for theirs, ours in SPLITS.items():
            rows = {f"{row['video_id']}$_${row['clip_id']}": row for row in clips[theirs]}
            assert found[f"{ours}.id"].tolist() == tree[theirs]["id"]
            for name, levels, felt in zip(
                found[f"{ours}.id"],
                found[f"{ours}.intensity"],
                found[f"{ours}.present"],
                strict=True,
            ):
                np.testing.assert_allclose(levels, [rows[name][x] for x in EMOTIONS], atol=1e-6)
                np.testing.assert_array_equal(felt, present(rows[name]))
    with pytest.raises(DataError, match="go to a file of their own"):
        labels.main([str(path), str(table), "--part"])


def test_mult(tmp_path: Path, clips: Clips, table: Path) -> None:
    tree = mmsa_tree(clips, dims=SMALL)
    for split, rows in clips.items():
        known = {f"{row['video_id']}$_${row['clip_id']}": row for row in rows}
        mine = [known[name] for name in tree[split]["id"]]
        tree[split] = {name: tree[split][name] for name in ("text", "audio", "vision")} | {
            "labels": np.zeros((len(mine), 1, 1), dtype=np.float32),
            "id": np.array([[r["video_id"], str(r["start"]), str(r["end"])] for r in mine], "S"),
        }
    path = write_pickle(tmp_path / "mosei_senti_data.pkl", tree)
    found = read_mult(path, table, part=True)
    for split, ours in SPLITS.items():
        part = found.parts[ours]
        starts = {(row["video_id"], row["start"]): row for row in clips[split]}
        assert part.labels is not None
        for i, name in enumerate(part.ids):
            video, _, times = name.partition("@")
            row = starts[video, float(times.partition("..")[0])]
            np.testing.assert_array_equal(part.labels[i], present(row))
    out = tmp_path / "set"
    convert.main(["mult", str(path), "--out", str(out)])
    assert labels.main([str(out), str(table), "--part"]) == 0
    expected = found.parts["test"].labels
    assert expected is not None
    for sample, row in zip(read_shards(out / "test"), expected, strict=True):
        assert sample.labels is not None
        np.testing.assert_array_equal(sample.labels, row)


def tailor_tree(clips: Clips, *, tensors: bool) -> dict[str, Any]:
    tree: dict[str, Any] = {"settings": {"max_len": 60}, "dict": {"src": {"a": 1}}}
    for split, fields in mmsa_tree(clips, dims={**SMALL, "text": 300}, shuffle=False).items():
        arrays = {
            "src-text": fields["text"],
            "src-audio": fields["audio"],
            "src-visual": fields["vision"],
        }
        tree[split] = {
            name: torch.from_numpy(x) if tensors else x for name, x in arrays.items()
        } | {"tgt": [[2, *(4 + np.flatnonzero(present(row))).tolist(), 3] for row in clips[split]]}
    return tree


@pytest.mark.parametrize("tensors", [True, False])
@pytest.mark.parametrize("zipped", [True, False])
def test_tailor(tmp_path: Path, clips: Clips, tensors: bool, zipped: bool) -> None:
    path = tmp_path / "train_valid_test.pt"
    tree = tailor_tree(clips, tensors=tensors)
    torch.save(tree, path, _use_new_zipfile_serialization=zipped)
    found = read_tailor(path, part=True, scratch=tmp_path)
    assert [each.dim for each in found.spec.modalities] == [300, 7, 8]
    for theirs, ours in SPLITS.items():
        part = found.parts[ours]
        assert part.labels is not None
        np.testing.assert_array_equal(part.labels, [present(row) for row in clips[theirs]])
        x = np.asarray(tree[theirs]["src-visual"][1])
        np.testing.assert_array_equal(part.sequences(1)[0]["face"], x[x.any(axis=1)])


def test_lists_of_emotions() -> None:
    assert emotions([2, 3], "").tolist() == [0, 0, 0, 0, 0, 0]
    assert emotions([2, 9, 4, 3], "").tolist() == [1, 0, 0, 0, 0, 1]
    # Four emotions make a list as long as there are labels; it is still a list.
    assert emotions([2, 4, 5, 6, 8, 3], "").tolist() == [1, 1, 1, 0, 1, 0]
    for wrong in ([0, 1, 1, 0, 0, 0], [2, 4], [2, 10, 3], [2, 4, 4, 3], [2], []):
        with pytest.raises(DataError, match=r"row 7: tgt .* is not \[2, e, \.\.\., 3\]"):
            emotions(wrong, "row 7")


def test_counts_of_known_releases() -> None:
    samples = {"train": 16_326, "validation": 1_871, "test": 4_659}
    positives = {"train": 22_453, "validation": 2_523, "test": 6_333}
    found = {split: Count(n, positives[split]) for split, n in samples.items()}
    assert "label table" in identify(MOSEI, found, "x")
    released = {**found, "test": Count(4_659, 6_300)}
    assert "tgt" in identify(MOSEI, released, "x")
    with pytest.raises(DataError, match="test has 6,301 positive labels, not 6,333") as raised:
        identify(MOSEI, {**found, "test": Count(4_659, 6_301)}, "some.pkl")
    assert "some.pkl" in str(raised.value) and "not 6,300" in str(raised.value)
    with pytest.raises(DataError, match="validation has 1,870 samples, not 1,871"):
        identify(MOSEI, {**found, "validation": Count(1_870, 2_523)}, "x")


def test_every_real_label_arrives(shared: Path, tmp_path: Path) -> None:
    """All 22,856 names of the real table, with tiny features, through both command lines."""
    table = shared / "data" / "mosei_labels" / "mosei_emotion_labels_mmsa_split.csv"
    clips = read_clips(table)
    rng = np.random.default_rng(0)
    tree = {}
    for split, rows in clips.items():
        order = rng.permutation(len(rows))
        tree[split] = {
            "id": [f"{rows[i]['video_id']}$_${rows[i]['clip_id']}" for i in order],
            **{name: np.ones((len(rows), 2, 1), np.float32) for name in SMALL},
        }
    path = write_pickle(tmp_path / "aligned_50.pkl", tree)
    out = tmp_path / "out"
    assert labels.main([str(path), str(table), "--out", str(tmp_path / "labels.npz")]) == 0
    assert convert.main(["mmsa", str(path), "--labels", str(table), "--out", str(out)]) == 0
    report = json.loads((out / "conversion.json").read_text())
    assert report["fingerprint"] == MOSEI[0].name
    assert report["splits"]["test"] == {
        "samples": 4_659,
        "groups": 676,
        "positives": 6_333,
        "per_label": {
            name: sum(float(row[name]) > 0 for row in clips["test"]) for name in EMOTIONS
        },
    }
    rows = [{**row} for row in clips["valid"]]
    changed = next(row for row in rows if float(row["fear"]) == 0)
    changed["fear"] = "0.333"
    wrong = write_table(tmp_path / "wrong.csv", {**clips, "valid": rows})
    with pytest.raises(DataError, match="validation has 2,524 positive labels, not 2,523"):
        read_mmsa(path, wrong)
