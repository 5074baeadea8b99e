"""A recorded session again, from its estimates and its media: the same, or where it differs."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from stream import estimates, replay
from stream.config import ReplayConfig
from stream.engines import Engines
from stream.errors import ConfigError
from stream.record_files import RecordError, SessionFolder
from stream.session_replay import from_estimates
from tests.serving import Model, calling, serving
from tests.test_drain import engines_of
from tests.webrtc_peers import Beeps, Flashes, until
from workers.messages import EmotionEstimate, Evidence, Recent

pytestmark = pytest.mark.live

DAYS = {"estimates": 1, "words": 1, "media": 1}
NUMBERS = st.floats(width=32, allow_nan=False, allow_infinity=False)
RECENT = Recent(0.5, 2, 1, 0.25, 0.0, None, 0.5)
EVIDENCE = Evidence(0.5, 1.0, 3, 1, True, ("audio",), RECENT, 1, 0.25, ("voice",), True)


@given(arrays.arrays(np.float32, (3, 6), elements=NUMBERS), st.sampled_from([None, RECENT]))
def test_estimates_survive_to_the_last_bit(values: np.ndarray, recent: Recent | None) -> None:
    alone = values.copy()
    alone[1] = np.nan
    absent = np.abs(values)
    absent[1] = np.inf
    labels = tuple("abcdef")
    evidence = EVIDENCE if recent else Evidence(0.0, 0.0, 0, 0, False)
    estimate = EmotionEstimate(
        "p1", 7, 1, 1.75, 4.75, labels, values[0], absent[0], values[2], absent, evidence, True,
        alone, values[:, 0],
    )  # fmt: skip
    text = json.dumps(estimates.to_record(estimate), allow_nan=False)
    again = estimates.from_record(json.loads(text), labels)
    for name in ("logit", "variance", "probability", "modality_variance", "modality_logit"):
        np.testing.assert_array_equal(getattr(again, name), getattr(estimate, name))
    assert again.novelty is not None
    np.testing.assert_array_equal(again.novelty, values[:, 0])
    assert (again.evidence, again.index, again.t1) == (estimate.evidence, 7, 4.75)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> SessionFolder:
    """A call whose settings changed in the middle."""
    folder = tmp_path_factory.mktemp("records")

    async def run() -> str:
        async with serving(record={"folder": str(folder), "days": DAYS}) as url:
            begin = time.monotonic() + 0.2
            tracks = Beeps(begin, 0.0), Flashes(begin)
            async with calling(url, *tracks, record=True, media=True) as caller:

                def newest() -> int:
                    found = [r["index"] for r in caller.records if r["type"] == "state"]
                    return max(found, default=-1)

                await until(lambda: newest() >= 8, 30.0)
                path = f"/api/sessions/{caller.session}/settings"
                change = {"smoothing": "ema", "sensitivity": {"happy": 1.5}}
                async with caller.http.patch(path, json=change, headers=caller.bearer) as response:
                    assert response.status == 200, await response.text()
                await until(lambda: newest() >= 20, 30.0)
                return caller.session

    return SessionFolder(folder, asyncio.run(run()))


def cheaply(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model and engines of the server that recorded it."""
    monkeypatch.setattr("lddu_model.load", lambda *_, **__: Model(), raising=False)
    monkeypatch.setattr(Engines, "load", lambda _: engines_of("cheap"))


def told(capsys: pytest.CaptureFixture[str]) -> tuple[str, dict[str, Any]]:
    *text, last = capsys.readouterr().out.splitlines()
    return "\n".join(text), json.loads(last)


def test_from_its_estimates_it_is_the_same(
    recorded: SessionFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cheaply(monkeypatch)
    code = replay.main(["--session", str(recorded.path), "--estimates"])
    text, result = told(capsys)
    assert (code, result["same"]) == (0, True), text
    assert result["windows"] >= 20 and result["from"] == "estimates"


def test_other_settings_are_seen_and_where(
    recorded: SessionFolder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    cheaply(monkeypatch)
    root, out = str(recorded.path.parent.parent), tmp_path / "again.jsonl"
    base = ["--session", recorded.session, "--folder", root, "--estimates", "--out", str(out)]
    assert replay.main([*base, "--set", "smoothing.filter=raw"]) == 1
    text, result = told(capsys)
    assert result["first"] is not None and result["first"] < 5.5  # before its own settings
    assert set(result["agreement"]) == set(Model.labels) and "differs" in text
    kinds = {json.loads(line)["type"] for line in out.read_text().splitlines()}
    assert {"hello", "state", "transcript"} <= kinds
    with pytest.raises(RecordError, match="cannot be written"):
        replay.main(base)


def test_from_its_media_it_is_computed_again_on_the_time_of_the_call(
    recorded: SessionFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cheaply(monkeypatch)
    replay.main(["--session", str(recorded.path)])
    text, result = told(capsys)
    assert result["from"] == "media" and "again from its media" in text
    assert result["windows"] >= 16 and sum(result["alone"]) <= 6


def test_what_cannot_be_replayed_is_said(recorded: SessionFolder, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no folder of a session"):
        replay.main(["--session", "nobody"])
    with pytest.raises(RecordError, match="there is no record of session 'nobody'"):
        replay.main(["--session", "nobody", "--folder", str(tmp_path)])
    live = list(recorded.records())
    hello = next(record for record in live if record["type"] == "hello")
    with pytest.raises(ConfigError, match="other labels: calm"):
        list(from_estimates(live, {**hello, "labels": ["calm"]}, ReplayConfig()))
    older = [record for record in live if record["type"] != "estimate"]
    with pytest.raises(RecordError, match="holds no estimates"):
        list(from_estimates(older, hello, ReplayConfig()))
