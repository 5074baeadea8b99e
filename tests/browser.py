"""A real Chromium, driven by playwright.

Playwright's synchronous interface keeps an event loop running in its thread: close it before
anything else there calls ``asyncio.run`` (fixtures: at most of module scope).
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page, Playwright

from tests.conftest import PROJECT

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)
GRANT = "--use-fake-ui-for-media-stream"
"""Camera and microphone are granted without a question."""


def find_browser() -> str | None:
    """Path of the Chromium or Chrome that set-up found or installed (scripts/setup.sh)."""
    noted = PROJECT / ".setup/browser"
    names = [os.environ.get("LDDU_BROWSER", ""), *NAMES]
    if noted.is_file():
        names.append(noted.read_text().strip())
    return next((path for name in names if name and (path := shutil.which(name))), None)


@contextmanager
def launch(
    playwright: Playwright, flags: Sequence[str], *, audible: bool = False
) -> Iterator[Browser]:
    """A headless browser with a profile of its own that is thrown away afterwards.

    `audible`: pages play their sound, so that a shared tab has it.
    """
    path = find_browser()
    if path is None:
        raise FileNotFoundError(
            f"none of {', '.join(NAMES)} is installed: apt-get install chromium"
        )
    browser = playwright.chromium.launch(
        executable_path=path,
        args=[*FLAGS, *flags],
        ignore_default_args=["--mute-audio"] if audible else None,
    )
    try:
        yield browser
    finally:
        browser.close()


@contextmanager
def open_page(browser: Browser, url: str, *, script: str = "", **options: Any) -> Iterator[Page]:
    """A fresh context and page; an error in the page's own script fails the caller.

    `script` runs before those of the page; `options` are those of a browser context.
    """
    context = browser.new_context(**options)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "console", lambda message: errors.append(message.text) if _refused(message.text) else None
    )
    if script:
        page.add_init_script(script)
    try:
        page.goto(url)
        yield page
    finally:
        context.close()
    assert not errors, errors


def _refused(text: str) -> bool:
    return "Content Security Policy" in text


def agree(page: Page, *kinds: str) -> None:
    """Tick what is agreed to and start."""
    for kind in kinds:
        page.get_by_role("checkbox", name=kind).check()
    page.get_by_role("button", name="Agree and start").click()


def stats(page: Page) -> dict[str, Any]:
    """``window.ldduStats``; see stream/web/stats.js."""
    found: dict[str, Any] = page.evaluate("window.ldduStats")
    return found


def wait_until(page: Page, met: Callable[[], bool], what: str, *, seconds: float = 10.0) -> None:
    """Wait for a condition outside the page, while the page goes on."""
    end = time.monotonic() + seconds
    while not met():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds} s")
        page.wait_for_timeout(50)
