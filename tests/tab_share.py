"""A tab that shows several people, shared by the page itself in a real browser."""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import Iterator
from contextlib import contextmanager

from matplotlib.image import imsave
from playwright.sync_api import Page, sync_playwright

from benchmarks.people_scenes import Clip, Picture, still
from tests.browser import launch, open_page
from workers.messages import SAMPLE_RATE, Float32

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


@contextmanager
def shared_tab(url: str, people: list[Clip]) -> Iterator[Page]:
    """The page at `url` shares itself, with a grid of `people` over it; the first is heard."""
    speaker = people[0]
    scene = still(people, len(speaker.sound) / SAMPLE_RATE)
    pictures = [_jpeg(scene.picture(t)) for t in scene.times(RATE)]
    shown = {"pictures": pictures, "sound": _wav(speaker.sound)}
    viewport = {"width": 1280, "height": 720}
    with (
        sync_playwright() as playwright,
        launch(playwright, ["--auto-accept-this-tab-capture"], audible=True) as browser,
        open_page(browser, url, script=PREFER_CURRENT, viewport=viewport) as opened,
    ):
        _agree_and_share(opened)
        opened.evaluate(SHOW.replace("RATE", str(RATE)), shown)
        yield opened


def _agree_and_share(page: Page) -> None:
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
