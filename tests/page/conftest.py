"""A browser per module, a scripted server and a page per test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from tests.browser import GRANT, launch, open_page
from tests.fake_media import FAKE_DEVICE
from tests.fake_server import FakeServer, fake_server
from tests.page.steps import DESKTOP, OpenPage


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """With a camera (a moving test picture) and a microphone (beeps), both granted."""
    with launch(playwright, [GRANT, FAKE_DEVICE]) as running:
        yield running


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with fake_server() as running:
        yield running


@pytest.fixture
def visit(browser: Browser, server: FakeServer) -> OpenPage:
    def open_it(script: str = "", **options: Any) -> AbstractContextManager[Page]:
        return open_page(browser, server.url, script=script, **{"viewport": DESKTOP, **options})

    return open_it


@pytest.fixture
def page(visit: OpenPage) -> Iterator[Page]:
    with visit() as opened:
        yield opened
