"""What the tests of the page have in common."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from typing import Any, Protocol

import pytest
from playwright.sync_api import Page

from tests.browser import agree, find_browser, stats, wait_until
from tests.fake_server import HELLO, FakeServer

NEEDS_BROWSER = [
    pytest.mark.browser,
    pytest.mark.skipif(find_browser() is None, reason="needs Chromium: apt-get install chromium"),
]
ALL = ("Face", "Voice", "Words")
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 360, "height": 740}

WATCH_MEDIA = """
window.asked = [];
const devices = navigator.mediaDevices, real = devices.getUserMedia.bind(devices);
devices.getUserMedia = async (wanted) => {
  window.asked.push(wanted);
  return (window.given = await real(wanted));
};
"""
CAMERA_AS_TAB = """
const devices = navigator.mediaDevices;
devices.getDisplayMedia = () => devices.getUserMedia({ audio: true, video: true });
"""
"""The camera for what is shared: nobody is there to answer the browser's question."""

FACE = {
    "type": "face",
    "t": 3.0,
    "person": "p1",
    "faces": [
        {
            "track": 1,
            "box": [0.1, 0.2, 0.3, 0.8],
            "outlines": [[[0.1, 0.2], [0.3, 0.2], [0.3, 0.8], [0.1, 0.8]]],
        }
    ],
    "lag_s": 0.05,
}


class OpenPage(Protocol):
    def __call__(self, script: str = "", **options: Any) -> AbstractContextManager[Page]: ...


def begin(page: Page, server: FakeServer, kinds: tuple[str, ...] = ALL) -> None:
    agree(page, *kinds)
    wait_until(page, lambda: server.connected, "data channel or WebSocket")
    server.send(HELLO)


def share(page: Page) -> None:
    """Agree to everything and share, without waiting for the server."""
    for kind in ALL:
        page.get_by_role("checkbox", name=kind).check()
    page.get_by_role("button", name="Agree and share a tab").click()


def verdict(page: Page) -> str:
    return page.locator("#verdict").inner_text().replace("\n\n", "\n")


def row(page: Page, name: str) -> str:
    found = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=name))
    return re.sub(r"\s+", " ", found.inner_text()).strip()


def count(page: Page, kind: str, number: int) -> None:
    """Wait until so many records of a kind have arrived and been drawn."""

    def come() -> bool:  # a page has no statistics before its connection is open
        return bool(((stats(page) or {}).get("counts") or {}).get(kind, 0) >= number)

    wait_until(page, come, f"{number} x {kind}")
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
