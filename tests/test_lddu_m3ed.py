"""M3ED and M3ED-INSIDE: two protocols, times, splits, features told apart by size."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from lddu_model.data import convert
from lddu_model.data.dialogues import CUT, EMOTIONS, Dialogue, Utterance, parts
from lddu_model.data.m3ed import read_annotation, read_m3ed, read_movies, seconds
from lddu_model.data.m3ed_inside import read_dialogues, read_m3ed_inside
from lddu_model.data.shards import read_shards
from lddu_model.errors import DataError
from tests.lddu_layouts import write_m3ed, write_pickle

SERIES = {"train": {"anjia": 3, "other": 2}, "val": {"third": 2}, "test": {"fourth": 2}}


def test_times_count_frames() -> None:
    assert seconds("01:02:03:24", "") == pytest.approx(3723.96)
    assert seconds("00:00:00:01", "") == pytest.approx(0.04)
    for wrong in ("00:00:00:25", "00:00:01", "00:00:01.5:00", ""):
        with pytest.raises(DataError, match="at 25 frames"):
            seconds(wrong, "somewhere")


def test_annotation(tmp_path: Path) -> None:
    write_m3ed(tmp_path, SERIES)
    found = read_annotation(tmp_path / "annotation.json", read_movies(tmp_path / "splitInfo"))
    assert [each.split for each in found] == ["train"] * 5 + ["validation"] * 2 + ["test"] * 2
    tree = json.loads((tmp_path / "annotation.json").read_text())
    first = found[0]
    assert (first.id, first.group) == ("anjia_1", "anjia")
    assert [each.id for each in first.utterances] == [
        f"anjia_1_{u}" for u in range(1, len(first.utterances) + 1)
    ]
    for utterance in first.utterances:
        emotion = tree["anjia"]["anjia_1"]["Dialog"][utterance.id]["EmoAnnotation"]
        assert utterance.emotions[0] == emotion["final_main_emo"].lower()
        assert set(utterance.emotions) == set(emotion["final_mul_emo"].lower().split(","))
    assert first.utterances[1].t0 == pytest.approx(62.2)
    labels = first.labels()
    assert labels[2].sum() == 2 and first.labels(main=True)[2].sum() == 1  # every third has two


def test_both_protocols(tmp_path: Path) -> None:
    made = write_m3ed(tmp_path, SERIES)
    base = ["m3ed", *(str(tmp_path / x) for x in ("annotation.json", "splitInfo", "features.pkl"))]
    for protocol in ("utterance", "dialogue"):
        arguments = [*base, "--protocol", protocol, "--out", str(tmp_path / protocol)]
        assert convert.main(arguments) == 0
    for theirs, ours in (("train", "train"), ("val", "validation"), ("test", "test")):
        per_utterance = read_shards(tmp_path / "utterance" / ours)
        assert per_utterance.spec.name == "m3ed-utterance"
        dims = {each.name: each.dim for each in per_utterance.spec.modalities}
        assert dims == {"words": 768, "voice": 1024, "face": 342}
        places = [(movie, name, u) for movie, name, n in made[theirs] for u in range(1, n + 1)]
        assert [each.id for each in per_utterance] == [f"{name}_{u}" for _, name, u in places]
        for sample, (movie, _, u) in zip(per_utterance, places, strict=True):
            assert sample.group == movie
            for x in sample.features.values():  # the dialogue so far, this utterance last
                assert x[:, 0].tolist() == list(range(1, u + 1))
        per_dialogue = read_shards(tmp_path / "dialogue" / ours)
        assert [each.id for each in per_dialogue] == [name for _, name, _ in made[theirs]]
        assert per_dialogue.spec.digest != per_utterance.spec.digest
    report = json.loads((tmp_path / "dialogue" / "conversion.json").read_text())
    assert "CARAT" in report["protocol"]


def test_context_is_limited(tmp_path: Path) -> None:
    write_m3ed(tmp_path, SERIES)
    paths = tmp_path / "annotation.json", tmp_path / "splitInfo", [tmp_path / "features.pkl"]
    found = read_m3ed(*paths, "utterance", context=3)
    assert {each.steps for each in found.spec.modalities} == {3}
    longest = [
        found.parts["train"].sequences(i)[0]["face"][:, 0] for i in range(len(found.parts["train"]))
    ]
    assert max(map(len, longest)) == 3
    assert any(x.tolist() == [2, 3, 4] for x in longest)


def test_rows_are_bound_by_name(tmp_path: Path) -> None:
    write_m3ed(tmp_path, SERIES)
    path = tmp_path / "features.pkl"
    fields = list(pickle.loads(path.read_bytes()))
    names, rows = fields[0]["anjia_1"], fields[3]["anjia_1"]
    fields[0]["anjia_1"], fields[3]["anjia_1"] = names[::-1], rows[::-1].copy()
    for place in (4, 5):
        fields[place]["anjia_1"] = fields[place]["anjia_1"][::-1].copy()
    fields[5]["anjia_2"][:] = 0  # nothing of this modality is known
    write_pickle(path, tuple(fields))
    found = read_m3ed(tmp_path / "annotation.json", tmp_path / "splitInfo", [path], "dialogue")
    part = found.parts["train"]
    words = part.sequences(0)[0]["words"]
    np.testing.assert_array_equal(words, rows)
    assert "voice" not in part.sequences(1)[0] and "face" in part.sequences(1)[0]


def test_wrong_m3ed_says_why(tmp_path: Path) -> None:
    write_m3ed(tmp_path, SERIES)
    annotation, lists, path = (
        tmp_path / x for x in ("annotation.json", "splitInfo", "features.pkl")
    )
    fields = list(pickle.loads(path.read_bytes()))

    def refused(reason: str) -> None:
        with pytest.raises(DataError, match=reason):
            read_m3ed(annotation, lists, [path], "utterance")

    write_pickle(path, tuple(fields[:6]))
    refused(r"features\.pkl is not a tuple of ten")
    short = {**fields[3], "anjia_1": fields[3]["anjia_1"][1:]}
    write_pickle(path, (*fields[:3], short, *fields[4:]))
    refused(r"anjia_1 has features \(\d+, 768\), not")
    write_pickle(path, (*fields[:3], {k: x[:, :99] for k, x in fields[3].items()}, *fields[4:]))
    refused("field 4 has 99 features, which belong to no modality")
    write_pickle(
        path, (*fields[:5], {k: x for k, x in fields[5].items() if k != "anjia_2"}, *fields[6:])
    )
    refused(r"features\.pkl has nothing of the dialogue anjia_2")
    write_pickle(path, (*fields[:3], fields[4], *fields[4:]))
    refused("two fields have 342 features")
    (lists / "movie_list_test.txt").write_text("anjia")
    refused("movie_list_test.txt has anjia, which is in train already")
    (lists / "movie_list_test.txt").write_text("nobody")
    refused("annotation.json has fourth, which is in no split")
    (lists / "movie_list_test.txt").unlink()
    refused("movie_list_test.txt cannot be read")


def test_the_dialogue_protocol_unites_main_emotions_and_cuts() -> None:
    emotions = [("sad",), ("anger", "fear"), *[("neutral",)] * 70]
    utterances = tuple(Utterance(f"d_{i}", "A", each) for i, each in enumerate(emotions))
    dialogue = Dialogue("d", "series", "train", utterances)
    x = np.ones((72, 4), dtype=np.float32)
    x[5] = 0.0  # no picture
    part = parts([dialogue], {"face": [x]}, "dialogue")["train"]
    assert part.labels is not None
    assert [EMOTIONS[i] for i in np.flatnonzero(part.labels[0])] == ["neutral", "sad", "anger"]
    features, mask = part.sequences(0)
    assert len(features["face"]) == CUT and not mask["face"][5] and mask["face"].sum() == CUT - 1


@pytest.fixture(scope="module")
def inside(shared: Path) -> Path:
    folder = shared / "data" / "m3ed_inside"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    return folder


def count_and_length(texts: object) -> list[np.ndarray[tuple[int], np.dtype[np.float32]]]:
    assert isinstance(texts, list)
    count_and_length.calls += len(texts)  # type: ignore[attr-defined]
    return [np.array([1.0, len(text)], dtype=np.float32) for text in texts]


def test_real_m3ed_inside(inside: Path, tmp_path: Path) -> None:
    count_and_length.calls = 0  # type: ignore[attr-defined]
    cache = tmp_path / "texts.npz"
    found = read_m3ed_inside(
        inside, "utterance", count_and_length, encoder_name="length", cache=cache
    )
    assert found.report["fingerprint"] == "M3ED-INSIDE, utterances"
    assert found.labels == EMOTIONS
    assert len({*found.parts["test"].groups}) == 11
    dialogues = {each.id: each for each in read_dialogues(inside / "utterances.csv")}
    part = found.parts["validation"]
    assert part.labels is not None and part.labels.sum() == 1_328
    for i in (0, 500, 1188):
        dialogue = next(
            each for each in dialogues.values() if part.ids[i] in {u.id for u in each.utterances}
        )
        place = [u.id for u in dialogue.utterances].index(part.ids[i])
        features, mask = part.sequences(i)
        assert len(features["words"]) == len(features["face"]) == place + 1
        assert features["words"][-1, 1] == len(dialogue.utterances[place].text)
        assert mask["face"].all() and features["face"].shape[1] == 512
    first = count_and_length.calls  # type: ignore[attr-defined]
    assert 0 < first <= 10_830  # each text once
    whole = read_m3ed_inside(
        inside, "dialogue", count_and_length, encoder_name="length", cache=cache
    )
    assert count_and_length.calls == first  # type: ignore[attr-defined]
    assert {name: len(part) for name, part in whole.parts.items()} == {
        "train": 656,
        "validation": 121,
        "test": 174,
    }


def test_a_part_of_m3ed_inside_is_not_the_whole(inside: Path, tmp_path: Path) -> None:
    lines = (inside / "utterances.csv").read_text(encoding="utf-8").splitlines()
    (tmp_path / "utterances.csv").write_text("\n".join(lines[:1000]), encoding="utf-8")
    (tmp_path / "visual_x.npz").symlink_to(next(inside.glob("visual_*.npz")))
    with pytest.raises(DataError, match="train has 822 samples, not 7,867"):
        read_m3ed_inside(tmp_path, "utterance")
    found = read_m3ed_inside(tmp_path, "utterance", part=True)
    assert found.spec.names == ("face",)
