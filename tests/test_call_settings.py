"""What a call may set for itself: the filter, how readily a label is said, and a pause."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.call_settings import CallSettings, SettingsError
from stream.pause import Pause
from stream.smoothing import FILTERS
from tests.serving import calling, offer_body, serving
from tests.test_smooth import config, estimate, events, state
from tests.webrtc_peers import Beeps, Flashes, until
from workers.baselines import Ema, Raw
from workers.markov import TwoState
from workers.messages import AudioChunk, Gap, Progress, VideoFrame
from workers.smooth import SmoothStage

pytestmark = pytest.mark.live

NONE = np.zeros(2)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(-4, 4), min_size=2, max_size=30), st.integers(0, 28))
def test_setting_what_already_holds_changes_nothing(logits: list[float], at: int) -> None:
    stages = [SmoothStage("p1", config(TwoState(), hysteresis=0.3, dwell=1.0)) for _ in range(2)]
    for index, logit in enumerate(logits):
        if index == at:
            stages[1].change(TwoState(), NONE, constant=False)
        one, two = ([*stage.push(estimate(index, logit))] for stage in stages)
        assert one == two


def test_another_filter_holds_from_the_next_window_on() -> None:
    slow, same = (SmoothStage("p1", config(Ema(tau=10.0))) for _ in range(2))
    for stage in (slow, same):
        for index in range(4):
            assert state(stage, estimate(index, 3.0)).labels["happy"].status == "active"
    slow.change(Raw(), NONE, constant=False)
    made = slow.push(estimate(4, -3.0))
    assert events(made) == [("offset", "happy", 4.0, False), ("onset", "sad", 4.0, False)]
    assert events(same.push(estimate(4, -3.0))) == []


def test_sensitivity_moves_the_threshold_of_one_label() -> None:
    def after(shift: float) -> dict[str, str]:
        stage = SmoothStage("p1", config())
        state(stage, estimate(0, -0.9, 0.1))
        stage.change(Raw(), np.array([shift, 0.0]), constant=False)
        labels = state(stage, estimate(1, -0.9, 0.1)).labels
        return {name: label.status for name, label in labels.items()}

    assert after(0.0) == {"happy": "inactive", "sad": "active"}
    assert after(2.0) == {"happy": "active", "sad": "active"}
    assert after(0.9) == {"happy": "unsure", "sad": "active"}


def test_what_was_told_before_stays_told() -> None:
    stage = SmoothStage("p1", config())
    assert events(stage.push(estimate(0, 2.0))) == [("onset", "happy", 3.0, False)]
    stage.change(Raw(), np.array([-2.0, 0.0]), constant=False)
    made = stage.push(estimate(1, 0.5, 0.1))
    assert events(made) == [("offset", "happy", 3.25, False)]


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b'{"smoothing": "median"}', "smoothing"),
        (b'{"sensitivity": {"happy": 3.0}}', "sensitivity.happy"),
        (b'{"sensitivity": {"happy": null}}', "sensitivity.happy"),
        (b'{"paused": "yes"}', "paused"),
        (b'{"pause": true}', "pause"),
        (b"[]", "body"),
        (b"{", "body"),
    ],
)
def test_what_is_no_setting_is_refused(body: bytes, what: str) -> None:
    with pytest.raises(SettingsError) as caught:
        CallSettings().changed(body)
    assert f"settings: {what}" in caught.value.message


def test_what_is_not_given_stays() -> None:
    first = CallSettings().changed(b'{"smoothing": "ema", "sensitivity": {"sad": 1}}')
    assert first.changed(b'{"paused": true}') == CallSettings(
        smoothing="ema", sensitivity={"sad": 1.0}, paused=True
    )
    with pytest.raises(SettingsError, match="joy"):
        first.changed(b'{"sensitivity": {"joy": 1}}').shifts(["happy", "sad"])


def test_a_pause_leaves_neither_picture_nor_sound() -> None:
    pause = Pause("p1")
    sound = np.full(320, 0.5, np.float32)

    def fed(t: float) -> list[Any]:
        picture = VideoFrame("p1", t, np.ones((2, 2, 3), np.uint8))
        return [*pause.filter(AudioChunk("p1", t, sound)), *pause.filter(picture)]

    before = fed(1.0)
    assert before[0].samples is sound and isinstance(before[1], VideoFrame)
    pause.on = True
    for t in (2.0, 3.0):
        silent, blank = fed(t)
        assert (silent.t0, len(silent.samples), silent.samples.any()) == (t, 320, False)
        assert blank == Progress("p1", "video", t)
    pause.on = False
    gap, heard, gap_video, seen = fed(4.0)
    assert gap == Gap("p1", "audio", 2.0, 4.0, "paused") and heard.samples is sound
    assert gap_video == Gap("p1", "video", 2.0, 4.0, "paused") and isinstance(seen, VideoFrame)
    assert len(fed(5.0)) == 2


def of(records: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [record for record in records if record["type"] == kind]


def test_settings_of_a_running_call() -> None:
    async def run() -> list[dict[str, Any]]:
        begin = time.monotonic() + 0.2
        async with serving() as url, calling(url, Beeps(begin, 0.0), Flashes(begin)) as call:
            path = f"/api/sessions/{call.session}/settings"

            async def change(body: dict[str, Any], key: str = call.key) -> tuple[int, Any]:
                headers = {"Authorization": f"Bearer {key}"}
                async with call.http.patch(path, json=body, headers=headers) as response:
                    return response.status, await response.json()

            def states(paused: bool) -> int:
                told = of(call.records, "state")
                return sum((record["reason"] == "paused") == paused for record in told)

            await until(lambda: states(paused=False) >= 3)
            assert (await change({"paused": True}, "wrong"))[0] == 401
            status, problem = await change({"sensitivity": {"joy": 1.0}})
            assert status == 400 and "joy" in problem["error"] and "happy" in problem["hint"]
            assert await change({"smoothing": "ema", "sensitivity": {"happy": 1}}) == (
                200,
                {"smoothing": "ema", "sensitivity": {"happy": 1.0}, "paused": False},
            )
            assert (await change({"paused": True}))[0] == 200
            await until(lambda: states(paused=True) >= 2)
            seen = len(of(call.records, "face"))
            await asyncio.sleep(0.6)
            assert len(of(call.records, "face")) <= seen + 1  # what was being looked at
            assert (await change({"paused": False}))[0] == 200
            await until(lambda: len(of(call.records, "gap")) >= 2)
            await until(lambda: len(of(call.records, "face")) > seen + 1)
            return call.records

    records = asyncio.run(run())
    assert [(r["smoothing"], r["sensitivity"], r["paused"]) for r in of(records, "settings")] == [
        ("ema", {"happy": 1.0}, False),
        ("ema", {"happy": 1.0}, True),
        ("ema", {"happy": 1.0}, False),
    ]
    assert {r["reason"] for r in of(records, "gap")} == {"paused"}
    assert all(not r["labels"] for r in of(records, "state") if r["reason"] == "paused")


def test_settings_come_with_the_offer() -> None:
    async def run() -> None:
        async with serving() as url, calling(url, Flashes(time.monotonic())) as call:
            for wish, status, what in (
                ({"smoothing": "median"}, 400, "settings.smoothing"),
                ({"sensitivity": {"joy": 1.0}}, 400, "joy"),
            ):
                body = {**await offer_body(call.sender), "settings": wish}
                async with call.http.post("/api/offer", json=body) as response:
                    assert response.status == status
                    assert what in (await response.json())["error"]
            async with call.http.get("/api/config") as response:
                told = await response.json()
            assert told["smoothing"] == {"default": "hmm", "choices": list(FILTERS)}
            assert told["max_sensitivity"] == 2.0

    asyncio.run(run())
