"""A shared tab in a real browser: the page shares itself, with two real people in it."""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest
from matplotlib.image import imsave
from playwright.sync_api import Page, expect, sync_playwright

from benchmarks.people_scenes import Picture, clips, still
from benchmarks.served import serve
from tests.browser import FLAGS, launch, open_page, stats, wait_until
from tests.page.steps import NEEDS_BROWSER
from workers.messages import SAMPLE_RATE, Float32

pytestmark = [*NEEDS_BROWSER, pytest.mark.long, pytest.mark.live]

RATE = 12.5
"""Pictures per second of the tab."""

PREFER_CURRENT = """
const ask = navigator.mediaDevices.getDisplayMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getDisplayMedia = (wish) => ask({ ...wish, preferCurrentTab: true });
"""
"""What a user does in the browser's own dialogue: choose this tab."""

SHOW = """
async ({ pictures, sound }) => {
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const decode = (text) => createImageBitmap(new Blob([bytes(text)]));
  const frames = await Promise.all(pictures.map(decode));
  const canvas = document.createElement("canvas");
  canvas.width = frames[0].width;
  canvas.height = frames[0].height;
  canvas.style = "position: fixed; inset: 0; width: 100%; z-index: 1000; pointer-events: none";
  document.body.append(canvas);
  const context = new AudioContext();
  const source = context.createBufferSource();
  source.buffer = await context.decodeAudioData(bytes(sound).buffer);
  source.loop = true;
  source.connect(context.destination);
  source.start();
  const start = context.currentTime;
  setInterval(() => {
    const t = (context.currentTime - start) % source.buffer.duration;
    const frame = frames[Math.min(frames.length - 1, Math.floor(t * RATE))];
    canvas.getContext("2d").drawImage(frame, 0, 0);
  }, 40);
}
"""


@pytest.fixture(scope="module")
def page(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    speaker, other = clips(shared / "media")[:2]
    scene = still([speaker, other], len(speaker.sound) / SAMPLE_RATE)
    pictures = [_jpeg(scene.picture(t)) for t in scene.times(RATE)]
    shown = {"pictures": pictures, "sound": _wav(speaker.sound)}
    flag = "--auto-accept-this-tab-capture"
    assert not any("fake" in each for each in FLAGS)
    with (
        serve(tmp_path_factory.mktemp("served")) as server,
        sync_playwright() as playwright,
        launch(playwright, [flag], audible=True) as browser,
        open_page(
            browser,
            server.url,
            script=PREFER_CURRENT,
            viewport={"width": 1280, "height": 720},
        ) as opened,
    ):
        agree_and_share(opened)
        opened.evaluate(SHOW.replace("RATE", str(RATE)), shown)
        yield opened


def agree_and_share(page: Page) -> None:
    for kind in ("Face points", "Voice", "Words"):
        page.get_by_role("checkbox", name=kind).check()
    page.get_by_role("button", name="share a tab").click()


def _jpeg(picture: Picture) -> str:
    data = io.BytesIO()
    imsave(data, picture, format="jpeg")
    return base64.b64encode(data.getvalue()).decode()


def _wav(sound: Float32) -> str:
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((sound * 32767).astype("<i2").tobytes())
    return base64.b64encode(data.getvalue()).decode()


def test_both_people_in_a_shared_tab_are_followed(page: Page) -> None:
    def two() -> bool:
        latest = stats(page)["faces"][-10:]
        return len([each for each in latest if each["faces"] >= 2]) >= 5

    wait_until(page, two, "two faces", seconds=60)
    expect(page.locator("#stage")).to_have_attribute("data-source", "tab")
    wait_until(page, lambda: stats(page)["counts"].get("state", 0) >= 8, "states", seconds=60)
    assert stats(page)["counts"]["person"] >= 2


def test_the_sound_of_the_tab_is_heard(page: Page) -> None:
    def heard() -> bool:
        return len(stats(page)["transcripts"]) >= 3

    wait_until(page, heard, "transcripts", seconds=60)
