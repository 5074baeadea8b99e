"""The command line for every other kind: small sets, comments, recordings, and vectors of texts."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from lddu_model import FeatureSpec, ModalitySpec
from lddu_model.data import convert
from lddu_model.data.conversion import Conversion, Part, write_conversion
from lddu_model.data.cremad import read_votes
from lddu_model.data.shards import read_shards
from lddu_model.data.text_vectors import glove, load_encoder, vectors_of
from lddu_model.errors import ConfigError, DataError
from lddu_model.spec import Float32
from stream.config import SetConfig
from stream.datasets import read_clips
from tests.conftest import PROJECT
from tests.lddu_layouts import made_clips, present, write_table


def run(*arguments: object) -> None:
    assert convert.main([str(each) for each in arguments]) == 0


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "recordings.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def data(shared: Path) -> Path:
    return shared / "data"


def test_the_command_line_tells_errors_in_two_lines(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lddu_model.data.convert", "emodb", str(tmp_path)]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    error, hint = done.stderr.splitlines()
    assert error.startswith(f"error: no file of {tmp_path} is named like") and hint.startswith(
        "next:"
    )


def test_sources_are_counted(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cremad does not take 1 sources"):
        run("cremad", tmp_path, "--out", tmp_path / "out")
    with pytest.raises(ConfigError, match="raw-mosei needs a table of labels"):
        run("raw-mosei", tmp_path, "--out", tmp_path / "out")
    with pytest.raises(ConfigError, match="needs a text encoder"):
        run("goemotions", tmp_path, "--out", tmp_path / "out")


def test_mosi_vectors(data: Path, tmp_path: Path) -> None:
    run("mosi-csv", data / "mosi_bclstm", "--out", tmp_path)
    train, test = read_shards(tmp_path / "train"), read_shards(tmp_path / "test")
    assert (len(train), len(test), train.labels) == (1_447, 752, ("positive",))
    assert {each.name: each.dim for each in train.spec.modalities} == {
        "words": 100,
        "voice": 73,
        "face": 100,
    }
    assert not {x.group for x in train} & {x.group for x in test}  # no video in both
    line = (data / "mosi_bclstm" / "audio_test0.csv").read_text().splitlines()[1]
    numbers = [float(x.strip('"')) for x in line.split(",")]
    np.testing.assert_allclose(test[1].features["voice"][0], numbers[:-1], rtol=1e-6)
    assert test[1].labels is not None and test[1].labels[0] == numbers[-1]


def test_emotions_of_music(data: Path, tmp_path: Path) -> None:
    run("emotions-arff", data / "emotions_arff", "--out", tmp_path)
    train, test = read_shards(tmp_path / "train"), read_shards(tmp_path / "test")
    assert (len(train), len(test), len(train.labels)) == (391, 202, 6)
    assert train.labels[1] == "happy-pleased"
    assert [each.dim for each in train.spec.modalities] == [64, 8]
    last = (data / "emotions_arff" / "emotions-train.arff").read_text().split()[-1].split(",")
    assert train[-1].labels is not None
    assert train[-1].labels.tolist() == [float(x) for x in last[-6:]]
    assert train[-1].features["rhythm"][0, -1] == np.float32(last[-7])


def test_goemotions(data: Path, tmp_path: Path) -> None:
    words = data / "glove_subset" / "glove300_subset.npz"
    folder = tmp_path / "some"
    folder.mkdir()
    for name in ("ekman_train.tsv", "ekman_dev.tsv", "train.tsv", "dev.tsv"):
        lines = (data / "goemotions" / name).read_text(encoding="utf-8").split("\n")
        (folder / name).write_text("\n".join(lines[:300]), encoding="utf-8")
    for name in ("labels.txt", "ekman_labels.txt"):
        (folder / name).write_text((data / "goemotions" / name).read_text())
    run("goemotions", folder, "--text", f"glove:{words}", "--out", tmp_path / "ekman")
    found = read_shards(tmp_path / "ekman" / "train")
    assert found.labels == ("anger", "disgust", "fear", "happy", "neutral", "sad", "surprise")
    assert found[2].id == "eezlygj" and found[2].labels is not None
    assert found[2].labels.tolist() == [1, 0, 0, 0, 0, 0, 0]
    with np.load(words) as file:
        food = file["vectors"][file["words"].tolist().index("food")].astype(np.float32)
    assert (found[0].features["words"] == food).all(axis=1).sum() == 1
    run("goemotions", folder, "--text", f"glove:{words}", "--all-labels", "--out", tmp_path / "all")
    many = read_shards(tmp_path / "all" / "validation")
    assert len(many.labels) == 28 and many[1].labels is not None
    assert np.flatnonzero(many[1].labels).tolist() == [4, 27]
    (folder / "ekman_dev.tsv").write_text("hello\t7\tx\n")
    with pytest.raises(DataError, match=r"ekman_dev\.tsv, line 1 is not text, labels below 7"):
        run("goemotions", folder, "--text", f"glove:{words}", "--out", tmp_path / "x")


def test_emodb(shared: Path, tmp_path: Path) -> None:
    folder = shared / "media" / "emodb"
    run("emodb", folder, "--out", tmp_path)
    found = {row["id"]: row for row in rows(tmp_path)}
    assert len(found) == len(list(folder.rglob("*.flac")))
    assert (found["03a01Fa"]["labels"], found["03a01Fa"]["group"]) == ("happy", "03")
    assert found["03a01Nc"]["labels"] == ""
    # The table is what the preparation of features reads.
    config = SetConfig(name="emodb", kind="table", path="recordings.csv")
    read = {clip.path.stem: clip for clip in read_clips(config, tmp_path)}
    assert len(read) == len(found) and read["03a01Fa"].path.is_file()
    assert read["03a01Fa"].group == "03"
    assert read["03a01Fa"].utterances[0].labels == {"happy"}
    assert read["03a01Nc"].utterances[0].labels == frozenset()


def test_cremad(shared: Path, tmp_path: Path) -> None:
    votes = shared / "data" / "cremad" / "tabulatedVotes.csv"
    run("cremad", votes, shared / "media" / "cremad", "--out", tmp_path)
    found = {row["id"]: row for row in rows(tmp_path)}
    assert len(found) == 6
    picture, sound = found["1001_DFA_DIS_XX"], found["1002_DFA_FEA_XX"]
    assert (picture["labels"], picture["group"], picture["path"][-4:]) == (
        "disgust",
        "1001",
        ".flv",
    )
    assert float(picture["both_disgust"]) == pytest.approx(0.6)
    assert float(picture["face_anger"]) == pytest.approx(0.6)  # the face alone looks angry
    assert sound["path"].endswith(".mp3")
    expected = {
        name
        for name in ("anger", "disgust", "fear", "happy", "sad")
        if float(sound[f"voice_{name}"]) >= 1 / 3
    }
    assert set(filter(None, sound["labels"].split("|"))) == expected


def test_votes_of_every_clip(shared: Path) -> None:
    found = read_votes(shared / "data" / "cremad" / "tabulatedVotes.csv")
    assert len(found) == 7_442
    for clip in list(found.values())[::500]:
        for shown in ("voice", "face", "both"):
            assert clip.shares(shown).sum() == pytest.approx(1.0)


def test_raw_mosei(tmp_path: Path) -> None:
    clips = made_clips()
    table = write_table(tmp_path / "labels.csv", clips)
    raw = tmp_path / "mosei" / "Raw"
    transcripts = raw / "Transcript" / "Segmented" / "Combined"
    segmented = raw / "Videos" / "Segmented" / "Combined"
    full = raw / "Videos" / "Full" / "Combined"
    for folder in (transcripts, segmented, full):
        folder.mkdir(parents=True)
    by_key = {row["key"]: row for part in clips.values() for row in part}
    for row in by_key.values():
        line = f"{row['video_id']}___{row['clip_id']}___{row['start']}___{row['end']}___a ___ b\n"
        with (transcripts / f"{row['video_id']}.txt").open("a") as file:
            file.write(line)
    (segmented / "train_-v0_0.mp4").touch()
    (full / "train_-v0.mp4").touch()
    (segmented / "test_-v1_8.mp4").touch()
    with (transcripts / "test_-v1.txt").open("a") as file:
        file.write("test_-v1___77___900___910___not in the table\n")
    run("raw-mosei", tmp_path / "mosei", "--labels", table, "--out", tmp_path / "out")
    found = {row["id"]: row for row in rows(tmp_path / "out")}
    assert list(found) == ["test_-v1_8", "train_-v0_0", "train_-v0_4", "train_-v0_8"]
    names = ("happy", "sad", "anger", "surprise", "disgust", "fear")
    for key, row in found.items():
        expected = [n for n, x in zip(names, present(by_key[key]), strict=True) if x]
        assert row["labels"].split("|") == (expected or [""])
        assert (tmp_path / "out" / row["path"]).is_file()
    assert (found["train_-v0_0"]["t0"], found["train_-v0_0"]["t1"]) == ("", "")
    config = SetConfig(name="mosei", kind="table", path="recordings.csv", split="train")
    read_back = read_clips(config, tmp_path / "out")
    times = [(each.t0, each.t1) for clip in read_back for each in clip.utterances]
    assert times == [(0.0, None), (7.373, 12.873), (14.623, 20.123)]
    assert (found["train_-v0_4"]["t0"], found["train_-v0_4"]["t1"]) == ("7.373", "12.873")
    assert found["test_-v1_8"]["split"] == "test" and found["test_-v1_8"]["group"] == "test_-v1"


def test_a_video_whose_name_holds_the_separator(tmp_path: Path) -> None:
    row = {**made_clips({"train": 1})["train"][0], "video_id": "a___b", "key": "a___b_0"}
    table = write_table(tmp_path / "labels.csv", {"train": [row]})
    transcripts = tmp_path / "Transcript" / "Segmented" / "Combined"
    full = tmp_path / "Videos" / "Full" / "Combined"
    transcripts.mkdir(parents=True)
    full.mkdir(parents=True)
    (full / "a___b.mp4").touch()
    (transcripts / "a___b.txt").write_text("a___b___0___0.123___5.623___x\n\n")
    run("raw-mosei", tmp_path, "--labels", table, "--out", tmp_path / "out")
    assert [each["id"] for each in rows(tmp_path / "out")] == ["a___b_0"]
    (transcripts / "a___b.txt").write_text("a___b___0___start___5.6___x\n")
    with pytest.raises(DataError, match=r"a___b\.txt, line 1 is not <video>"):
        run("raw-mosei", tmp_path, "--labels", table, "--out", tmp_path / "out")


def test_raw_mmsa(tmp_path: Path) -> None:
    clips = made_clips()
    table = write_table(tmp_path / "labels.csv", clips)
    folder = tmp_path / "mmsa"
    lines = ["video_id,clip_id,text,label,annotation,mode"]
    for part in clips.values():
        for row in part:
            lines.append(f"{row['video_id']},{row['clip_id']},x,0.0,Neutral,{row['split']}")
            path = folder / "Raw" / row["video_id"] / f"{row['clip_id']}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    (folder / "label.csv").write_text("\n".join(lines))
    path.unlink()
    run("raw-mmsa", folder, "--labels", table, "--out", tmp_path / "out")
    found = rows(tmp_path / "out")
    assert len(found) == 43
    assert {row["split"] for row in found} == {"train", "validation", "test"}
    (folder / "label.csv").write_text("\n".join(lines).replace("Neutral,test", "Neutral,train"))
    with pytest.raises(DataError, match="is in train here, in test there"):
        run("raw-mmsa", folder, "--labels", table, "--out", tmp_path / "out")


def count(texts: Sequence[str]) -> list[Float32]:
    return [np.array([len(text), 1.0], dtype=np.float32) for text in texts]


def test_texts_are_encoded_once(tmp_path: Path) -> None:
    cache = tmp_path / "cache.npz"
    asked: list[str] = []

    def encoder(texts: Sequence[str]) -> list[Float32]:
        asked.extend(texts)
        return count(texts)

    first = vectors_of(["a", "bb", "a"], encoder, "count", cache)
    assert [x.tolist() for x in first] == [[[1, 1]], [[2, 1]], [[1, 1]]]
    again = vectors_of(["ccc", "bb"], encoder, "count", cache)
    assert [x.tolist() for x in again] == [[[3, 1]], [[2, 1]]]
    assert asked == ["a", "bb", "ccc"]
    with pytest.raises(DataError, match=r"'count' gives vectors of \[2, 3\] features"):
        vectors_of(["a", "new"], lambda texts: [np.ones(3) for _ in texts], "count", cache)
    with pytest.raises(DataError, match=r"cache\.npz is of the encoder 'count', not 'other'"):
        vectors_of(["a"], encoder, "other", cache)


def test_encoders_by_name(tmp_path: Path) -> None:
    path = tmp_path / "words.npz"
    np.savez(path, words=np.array(["good", "it's"]), vectors=np.eye(2, dtype=np.float16))
    encode = load_encoder(f"glove:{path}")
    found = encode(["It's GOOD, good!", "unknown"])
    assert [x.tolist() for x in found] == [[[0, 1], [1, 0], [1, 0]], []]
    assert load_encoder("tests.test_lddu_convert:count")(["xyz"])[0][0] == 3
    with pytest.raises(DataError, match="text encoder 'no_such:thing' cannot be loaded"):
        load_encoder("no_such:thing")
    with pytest.raises(DataError, match=r"words\.txt holds no word vectors"):
        glove(tmp_path / "words.txt")


def test_a_later_conversion_replaces_an_earlier_one(tmp_path: Path) -> None:
    spec = FeatureSpec("x", (ModalitySpec("words", 2, 1, None, "none"),))
    x = {"words": np.ones((1, 2), dtype=np.float32)}
    part = Part(["a"], ["g"], np.ones((1, 1), dtype=np.float32), lambda _: (x, {}))
    both = Conversion(spec, ("happy",), {"train": part, "test": part})
    write_conversion(both, tmp_path)
    (tmp_path / "notes").mkdir()
    write_conversion(Conversion(spec, ("happy",), {"train": part}), tmp_path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["conversion.json", "notes", "train"]
    report = json.loads((tmp_path / "conversion.json").read_text())
    assert report["splits"]["train"]["per_label"] == {"happy": 1}
