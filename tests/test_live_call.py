"""The whole of it: a real server, a real browser with a talking face, read from the page itself.

One call is made for all tests here. Without the shared recordings a drawn face moves in silence;
the test of the captions is then skipped.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright

from benchmarks import live_figures as figures
from benchmarks.served import serve
from benchmarks.stock_whisper import transcribe
from tests.browser import GRANT, agree, find_browser, launch, open_page, stats, wait_until
from tests.conftest import PROJECT
from tests.drawn_face import scene
from tests.fake_media import HEIGHT, WIDTH, FakeMedia, fake_media, fake_pictures

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(find_browser() is None, reason="needs Chromium: apt-get install chromium"),
    pytest.mark.live,
]

CLIP = "media/talking/videoretalking_face_4.mp4"
LEAD_S = 2.5
"""Silence in which the call is connected."""


@dataclass(frozen=True)
class Call:
    stats: dict[str, Any]
    outline: int
    """Pixels of the outline seen on the canvas, at most."""
    sound: Path | None
    """What was said into the microphone; None: nothing."""


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Call:
    folder = tmp_path_factory.mktemp("call")
    clip = Path(os.environ.get("LDDU_SHARED") or PROJECT.parent / "shared", CLIP)
    media = fake_media(clip, folder, lead=LEAD_S) if clip.exists() else drawn(folder)
    with (
        serve(folder) as server,
        sync_playwright() as playwright,
        launch(playwright, [GRANT, *media.flags]) as browser,
        open_page(browser, server.url, viewport={"width": 1280, "height": 800}) as page,
    ):
        agree(page, "Face", "Voice", "Words")
        outline = follow(page, media.seconds + 1.5)
        found = stats(page)
    return Call(found, outline, media.audio if clip.exists() else None)


def drawn(folder: Path) -> FakeMedia:
    pictures = [scene(WIDTH, HEIGHT, [(100 + i, 40, 260)]) for i in (*range(90), *range(90, 0, -1))]
    return fake_pictures("drawn", folder, pictures)


def follow(page: Page, seconds: float) -> int:
    """Watch the call for so many seconds of stream time; the largest outline that was seen."""
    painted = """e => {
      const { data } = e.getContext("2d").getImageData(0, 0, e.width, e.height);
      return data.reduce((n, value, i) => n + (i % 4 === 3 && value > 0), 0);
    }"""
    largest = 0

    def over() -> bool:
        nonlocal largest
        largest = max(largest, page.locator("#outline").evaluate(painted))
        page.wait_for_timeout(700)
        return max((state["t"] for state in stats(page)["states"]), default=0.0) >= seconds

    wait_until(page, over, f"{seconds} s of estimates", seconds=60)
    return largest


def test_the_outline_of_the_face_is_drawn(call: Call) -> None:
    assert call.outline > 500
    faces = call.stats["faces"]
    assert sum(1 for face in faces if face["faces"]) > 0.9 * len(faces)
    seconds = faces[-1]["t"] - faces[0]["t"]
    assert len(faces) / seconds > 8


def test_there_are_four_estimates_per_second(call: Call) -> None:
    first = [s for s in call.stats["states"] if s["revision"] == 0 and s["index"] >= 0]
    assert [state["index"] for state in first] == list(range(len(first)))
    assert len(first) > 15
    assert figures.estimates_per_second(call.stats) > 3.9  # 4, less jitter at both ends


def test_latencies_are_measured(call: Call) -> None:
    # How large they are is for benchmarks.live; here: that the clock of the call is the real one.
    latencies = [face["latency"] for face in call.stats["faces"] if face["latency"] is not None]
    assert latencies
    assert all(0 < latency < 5 for latency in latencies)


def test_captions_hold_what_was_said(call: Call) -> None:
    if call.sound is None:
        pytest.skip("needs a recording of somebody talking; see the fixture `shared`")
    recall = figures.caption_recall(transcribe(call.sound), call.stats)
    assert recall >= 0.8
