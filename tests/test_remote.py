"""Engines in processes of their own: the same answers, and what a death of one costs."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import psutil
import pytest

import lddu_model
from lddu_model import FeatureSpec, Sample
from stream.config import ServeConfig
from stream.engines import SHIPPED_CHECKPOINT, Engines
from stream.errors import ModelError
from stream.spec import live_spec
from tests import synthetic
from workers.child import ChildDied, ChildTimeout, Closed
from workers.heard import Before
from workers.remote import (
    Remote,
    RemoteError,
    RemoteModel,
    RemoteText,
    RemoteTranscriber,
    RemoteVoice,
)
from workers.text import TextEncoder
from workers.whisper import Transcriber, VoiceEncoder

pytestmark = pytest.mark.live

SOUND = synthetic.sound(2.4)


@pytest.fixture(scope="module")
def whisper(models: Callable[[str], Path]) -> Path:
    return models("whisper-tiny.en")


@pytest.fixture(scope="module")
def voice(whisper: Path) -> Iterator[RemoteVoice]:
    with closing(RemoteVoice(whisper, device="cpu", threads=1)) as engine:
        yield engine


@pytest.fixture(scope="module")
def model() -> Iterator[RemoteModel]:
    spec = live_spec(ServeConfig())
    with closing(RemoteModel(SHIPPED_CHECKPOINT, spec=spec, device="cpu", threads=1)) as engine:
        yield engine


def test_answers_are_those_of_an_engine_here(
    models: Callable[[str], Path], whisper: Path, voice: RemoteVoice, model: RemoteModel
) -> None:
    here = VoiceEncoder(whisper, device="cpu")
    np.testing.assert_array_equal(voice.encode(SOUND), here.encode(SOUND))
    words, before = ["fine", "thank", "you"], ["how", "are", "you"]
    with closing(RemoteText(models("minilm"), threads=1)) as text:
        expected = TextEncoder(models("minilm")).encode(words, before)
        np.testing.assert_array_equal(text.encode(words, before), expected)
        assert text.languages == {"en"}
    with closing(RemoteTranscriber(whisper, device="cpu", language="en", threads=1)) as hears:
        after = Before(SOUND[:8000], ("well",), "en")
        expected_words = Transcriber(whisper, device="cpu").transcribe(SOUND, after)
        assert hears.transcribe(SOUND, after) == expected_words
    local = lddu_model.load(SHIPPED_CHECKPOINT, spec=model.spec)
    assert (model.labels, model.thresholds) == (local.labels, local.thresholds)
    samples = [random_sample(local.spec, 1), Sample({}, {}), random_sample(local.spec, 2)]
    told, expected_told = model.predict(samples), local.predict(samples)
    np.testing.assert_allclose(told.logit, expected_told.logit, atol=1e-6)
    np.testing.assert_array_equal(np.isnan(told.modality_logit[1]), True)


def random_sample(spec: FeatureSpec, seed: int) -> Sample:
    rng = np.random.default_rng(seed)
    shapes = {each.name: (min(10, each.steps), each.dim) for each in spec.modalities}
    return Sample({k: rng.normal(size=v).astype(np.float32) for k, v in shapes.items()}, {})


def killed_while_asked(engine: Remote, ask: Callable[[], object]) -> tuple[list[object], float]:
    """What came of a call in which the process was killed, and how long it took from then."""
    assert engine.pid is not None
    child = psutil.Process(engine.pid)
    child.suspend()  # so that the call is certainly in flight
    came: list[object] = []

    def call() -> None:
        try:
            came.append(ask())
        except ChildDied as error:
            came.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    time.sleep(0.2)
    begin = time.monotonic()
    child.kill()
    caller.join(30)
    return came, time.monotonic() - begin


def test_a_death_costs_the_window_at_hand(model: RemoteModel) -> None:
    sample = Sample({}, {})
    before, restarts = model.predict([sample]), model.restarts
    [error], _ = killed_while_asked(model, lambda: model.predict([sample]))
    assert isinstance(error, ChildDied) and error.restarts
    assert "model process" in error.message and "killed by signal 9" in error.message
    np.testing.assert_array_equal(model.predict([sample]).logit, before.logit)
    assert model.restarts == restarts + 1


def test_words_are_asked_for_again(whisper: Path) -> None:
    with closing(RemoteTranscriber(whisper, device="cpu", language="en", threads=1)) as hears:
        expected = hears.transcribe(SOUND)
        [heard], _ = killed_while_asked(hears, lambda: hears.transcribe(SOUND))
        assert heard == expected and hears.restarts == 1
        assert hears.pid is not None
        os.kill(hears.pid, signal.SIGKILL)  # while nobody asks
        assert hears.transcribe(SOUND) == expected and hears.restarts == 2


def test_a_hanging_process_is_ended(whisper: Path) -> None:
    settings = {"path": whisper, "device": "cpu", "threads": 1}
    with closing(Remote("voice", settings, timeout=1.0, again=True)) as engine:
        pid = engine.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(ChildTimeout, match=r"voice process .* no answer within 1 s"):
            engine._ask(SOUND)
        assert not psutil.pid_exists(pid)


def test_what_the_engine_refuses_is_told(voice: RemoteVoice) -> None:
    restarts = voice.restarts
    with pytest.raises(RemoteError, match=r"0\.00 s of sound at once") as caught:
        voice.encode(SOUND[:0])
    assert caught.value.hint == "give between 1 sample and 30 s" and not caught.value.restarts
    assert len(voice.encode(SOUND)) and voice.restarts == restarts


def test_an_engine_that_cannot_be_built_leaves_no_process(tmp_path: Path) -> None:
    children = psutil.Process().children()
    with pytest.raises(RemoteError, match="holds no model") as caught:
        RemoteVoice(tmp_path, device="cpu", threads=1)
    assert "python -m stream.models fetch" in caught.value.hint
    assert psutil.Process().children() == children


def test_where_one_engine_is_missing_all_are_ended(
    whisper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("whisper-tiny.en", "minilm"):
        (tmp_path / name).symlink_to(whisper.parent / name)
    (tmp_path / "face_landmarker").mkdir()
    children = psutil.Process().children()
    with pytest.raises(ModelError, match="face_landmarker"):
        Engines.load(ServeConfig.model_validate({"model": {"weights": str(tmp_path)}}))
    assert psutil.Process().children() == children


def test_a_closed_engine_refuses(whisper: Path) -> None:
    engine = RemoteVoice(whisper, device="cpu", threads=1)
    pid = engine.pid
    engine.close()
    engine.close()
    assert pid is not None and not psutil.pid_exists(pid)
    with pytest.raises(Closed, match="closed"):
        engine.encode(SOUND)
