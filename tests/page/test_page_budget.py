"""What the page may weigh and take, and what axe-core (Deque) finds wrong with it."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser import open_page
from tests.fake_server import HELLO, WEB, FakeServer, event, state, transcript
from tests.page.steps import NEEDS_BROWSER, PHONE, OpenPage, begin, count
from tests.page.test_page_people import MANY, ONE, TWO, faces

pytestmark = [*NEEDS_BROWSER, pytest.mark.live]

SERIOUS = {"serious", "critical"}


def found(page: Page) -> list[tuple[str, str, list[str]]]:
    """Serious violations: rule, what it demands, and where."""
    response: dict[str, Any] = Axe().run(page).response
    return [
        (each["id"], each["help"], [str(node["target"]) for node in each["nodes"]])
        for each in response["violations"]
        if each["impact"] in SERIOUS
    ]


@pytest.mark.parametrize(
    "look",
    [{}, pytest.param({"color_scheme": "dark", "viewport": PHONE}, marks=pytest.mark.long)],
    ids=["desktop", "phone"],
)
def test_axe_finds_nothing_serious(
    visit: OpenPage, server: FakeServer, look: dict[str, Any]
) -> None:
    server.config |= {"group": {"least": 5}, "record": {"estimates": 3, "words": 0, "faces": 0}}
    with visit(**look) as page:
        expect(page.get_by_role("heading", name="Before anything starts")).to_be_visible()
        assert found(page) == []
        begin(page, server)
        server.send(state(0, happy="active", fear="unsure"), transcript(1.0, "Good morning"))
        server.send(event("onset", "happy", 3.0, 3.0), event("onset", "sad", 3.0, 3.0))
        count(page, "event", 2)
        assert found(page) == []
        server.send(MANY, state(0, happy="active") | ONE, state(0, sad="unsure") | TWO)
        server.send(faces(3.0, "p1.1", "p1.2"))
        count(page, "face", 1)
        assert found(page) == []
        for button in ("Settings", "Limits"):
            page.get_by_role("button", name=button).click()
            page.wait_for_timeout(300)
            assert found(page) == []
            page.keyboard.press("Escape")
        server.send({"type": "end", "reason": "left"})
        expect(page.get_by_role("heading", name="The session has ended")).to_be_visible()
        assert found(page) == []


def test_axe_finds_nothing_serious_elsewhere(visit: OpenPage, server: FakeServer) -> None:
    with visit() as page:
        browser = page.context.browser
        assert browser is not None
        for path in ("/obs", "/room", "/card"):
            with open_page(browser, server.url + path) as other:
                other.wait_for_load_state()
                assert found(other) == []
        begin(page, server)
        server.send(HELLO, state(0, happy="active"))
        with page.expect_popup() as opening:
            page.get_by_role("button", name="Float").click()
        expect(opening.value.locator(".notice")).not_to_be_empty()
        assert found(opening.value) == []


def test_the_page_is_small_and_soon_there(visit: OpenPage, server: FakeServer) -> None:
    with visit() as page:
        sizes: dict[str, int] = {}
        page.on("response", lambda answer: sizes.update({answer.url: len(answer.body())}))
        page.reload()
        expect(page.get_by_role("button", name="Agree and start")).to_be_enabled()
        ready: float = page.evaluate("performance.getEntriesByName('ready')[0].startTime")
        page.wait_for_timeout(100)
        assert len(sizes) > 20
        assert sum(sizes.values()) < 300_000
        assert ready < 1000.0


def test_all_files_together_are_small() -> None:
    assert sum(path.stat().st_size for path in WEB.rglob("*") if path.is_file()) < 300_000
