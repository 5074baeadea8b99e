"""The configuration of the shipped checkpoint, and what that checkpoint says of real faces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest

import lddu_model
from lddu_model import Sample
from lddu_model.api import Model
from lddu_model.card import BEGIN, END, tables
from lddu_model.config import read_config
from lddu_model.data.facs import FaceGenerator
from lddu_model.data.shards import ShardWriter, read_shards
from lddu_model.evaluation import score
from lddu_model.train import main
from stream import config as configuration
from stream.config import AnalysisConfig, PrepareConfig, ReplayConfig, TextModel
from stream.engines import SHIPPED, SHIPPED_CHECKPOINT, checkpoint_of
from stream.faces import face_sample, write_faces
from stream.spec import LABELS, WORDS, live_spec
from workers.face import FEATURE_NAMES, MEASURED, FaceEngine
from workers.face_features import complete
from workers.neutral import NeutralFace

CONFIG = Path(__file__).parent.parent / "configs" / "train-live.toml"
LARGEST = 10_000_000
"""Bytes that may be shipped."""


@pytest.fixture(scope="module")
def shipped() -> Model:
    return lddu_model.load(SHIPPED_CHECKPOINT, live_spec(ReplayConfig()))


@pytest.mark.parametrize("text_model", list(WORDS))
def test_what_ships_fits_is_small_and_its_card_up_to_date(text_model: TextModel) -> None:
    config = ReplayConfig(analysis=AnalysisConfig(text_model=text_model))
    folder = checkpoint_of(config)
    lddu_model.load(folder, live_spec(config))
    assert sum(path.stat().st_size for path in folder.iterdir()) < LARGEST
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card.startswith(f"# Model card: {folder.name}\n")
    generated = card.partition(BEGIN)[2].partition(END)[0]
    assert generated.strip() == tables(folder).strip()


def test_all_that_ships_is_small() -> None:
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*")) < 25_000_000


def test_windows_are_short_for_the_model() -> None:
    """At most 80 steps in all, at most 12.5 a second: what one thread estimates in 10 ms."""
    modalities = live_spec(ReplayConfig()).modalities
    assert sum(each.steps for each in modalities) <= 80
    assert all(each.rate is None or each.rate <= 12.5 for each in modalities)


def generated(count: int) -> list[Sample]:
    generator = FaceGenerator(MEASURED, LABELS)
    return [face_sample(face) for face in generator.samples(count, seed=12345)]


def test_shipped_checkpoint_knows_generated_faces(shipped: Model) -> None:
    made = generated(400)
    scores = score(shipped, made)
    assert scores["map"] > 0.85
    assert scores["auroc_variance_wrong"] > 0.6


def test_shipped_checkpoint_knows_less_when_it_sees_less(shipped: Model) -> None:
    made = generated(200)
    # before calibration, whose units differ between what is there
    assert (
        shipped.outputs(made).spread < shipped.outputs([Sample({}, {})]).spread
    ).double().mean() > 0.95
    nothing, said = shipped.predict([Sample({}, {})]), shipped.predict(made)
    assert (said.variance.mean(axis=0) < nothing.variance[0]).all()


@pytest.fixture(scope="module")
def engine(models: Callable[[str], Path]) -> Iterator[FaceEngine]:
    with FaceEngine(models("face_landmarker")) as made:
        yield made


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("skimage_astronaut.png", "happy"),
        ("0-f15-hao-ph.jpg", "happy"),
        ("0-f1-su-ph.jpg", "surprise"),
    ],
)
@pytest.mark.parametrize("steps", [1, 30])
def test_shipped_checkpoint_on_photographs(
    shipped: Model, engine: FaceEngine, shared: Path, name: str, expected: str, steps: int
) -> None:
    with av.open(str(shared / "media" / "stills" / name)) as container:
        image = next(container.decode(video=0)).to_ndarray(format="rgb24")
    (face, *_) = engine.detect(image.astype(np.uint8))
    features = np.repeat(complete(face.features, *NeutralFace().shapes())[None], steps, axis=0)
    said = shipped.predict([Sample({"face": features}, {})])
    active = {
        label
        for label, p, threshold in zip(LABELS, said.probability[0], shipped.thresholds, strict=True)
        if p >= threshold
    }
    assert active == {expected}


def test_configuration_of_the_shipped_checkpoint_runs(tmp_path: Path) -> None:
    """On small sets of the right shape: the features of words and voice are noise here."""
    prepared = PrepareConfig()
    write_faces(tmp_path / "faces", prepared, 64, seed=1)
    write_faces(tmp_path / "faces-test", prepared, 16, seed=2)
    spec = live_spec(prepared)
    config = read_config(CONFIG)
    paths = {each.path for each in config.data} | {each.test for each in config.data if each.test}
    rng = np.random.default_rng(0)
    for name in sorted(path.name for path in paths if not path.name.startswith("faces")):
        modality = "voice" if name.startswith(("emodb", "plain")) else "words"
        with ShardWriter(tmp_path / name, spec, LABELS) as writer:
            for i in range(60):
                features = rng.normal(size=(5, spec[modality].dim)).astype(np.float32)
                labels = (rng.random(len(LABELS)) < 0.3).astype(np.float32)
                group = ("03", "08", "09", "10", "11", "12", "13", "14")[i % 8]
                if modality == "words":
                    group = f"text-{i}"
                writer.add(Sample({modality: features}, {}, labels, f"{name}-{i}", group))
    changes = [
        f'data.{k}.{key}="{tmp_path / path.name}"'
        for k, each in enumerate(config.data)
        for key, path in (("path", each.path), ("test", each.test))
        if path
    ]
    changes += ["optim.epochs=1", "optim.samples_per_epoch=128", "threads=1", "device=cpu"]
    words = [word for change in changes for word in ("--set", change)]
    out = tmp_path / "run"
    assert main([str(CONFIG), "--out", str(out), *words]) == 0
    model = lddu_model.load(out / "best", spec)
    assert set(model.record["metrics"]["test"]) >= {"goemotions", "faces"}


def test_sets_of_the_configurations_have_the_same_names() -> None:
    """What `make checkpoint` prepares is what it trains on."""
    prepared = configuration.load(PrepareConfig, CONFIG.parent / "prepare-live.toml")
    made = {each.name for each in prepared.sets} | {"faces", "faces-test"}
    config = read_config(CONFIG)
    used = {each.path for each in config.data} | {each.test for each in config.data if each.test}
    assert {path.name for path in used} == made
    assert {path.parent for path in used} == {Path("sets/live")}


def test_face_set_is_like_the_other_sets(tmp_path: Path) -> None:
    write_faces(tmp_path / "faces", PrepareConfig(), 24, seed=3)
    found = read_shards(tmp_path / "faces")
    assert (found.spec, found.labels, len(found)) == (live_spec(PrepareConfig()), LABELS, 24)
    assert found[0].features["face"].shape == (30, len(FEATURE_NAMES))
