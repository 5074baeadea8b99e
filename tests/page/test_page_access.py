"""The page for everybody: keyboard, screen reader, small screens, no surprises."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import open_page, stats, wait_until
from tests.fake_server import HELLO, LABELS, FakeServer, state, transcript
from tests.page.steps import (
    ALL,
    DESKTOP,
    FACE,
    NEEDS_BROWSER,
    PHONE,
    OpenPage,
    begin,
    count,
    verdict,
)

pytestmark = [*NEEDS_BROWSER, pytest.mark.live]


def test_everything_can_be_done_by_keyboard(page: Page, server: FakeServer) -> None:
    expect(page.get_by_role("heading", name="Before anything starts")).to_be_focused()
    for kind in ALL:
        page.keyboard.press("Tab")
        expect(page.get_by_role("checkbox", name=kind)).to_be_focused()
        page.keyboard.press("Space")
    page.keyboard.press("Tab")
    button = page.get_by_role("button", name="Agree and start")
    expect(button).to_be_focused()
    assert button.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Your picture")).to_be_focused()
    wait_until(page, lambda: server.connected, "data channel")
    server.send(HELLO, state(0))
    parts = page.locator("#less button")
    for i in range(3):
        page.keyboard.press("Tab")
        expect(parts.nth(i)).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("log", name="Captions")).to_be_focused()
    for _ in range(4):
        page.keyboard.press("Shift+Tab")
    controls = ("Stop", "Withdraw and erase", "Settings", "Limits", "Float", "Pause")
    for name in controls:
        expect(page.get_by_role("button", name=name)).to_be_focused()
        page.keyboard.press("Shift+Tab")
    page.get_by_role("button", name="Stop").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Before anything starts")).to_be_focused()
    wait_until(page, lambda: server.deleted == ["s1"], "DELETE of the session")


def accessible(page: Page) -> list[tuple[str, str, dict[str, Any]]]:
    """(role, name, properties) of all that Chromium shows to screen readers."""
    client = page.context.new_cdp_session(page)
    nodes = client.send("Accessibility.getFullAXTree")["nodes"]
    return [
        (
            node["role"]["value"],
            node.get("name", {}).get("value", ""),
            {p["name"]: p["value"].get("value") for p in node.get("properties", [])},
        )
        for node in nodes
        if not node["ignored"]
    ]


def test_screen_readers_find_names_headings_and_landmarks(page: Page, server: FakeServer) -> None:
    def check(headings: list[tuple[int, str]]) -> list[tuple[str, str, dict[str, Any]]]:
        nodes = accessible(page)
        assert [(p["level"], name) for role, name, p in nodes if role == "heading"] == headings
        roles = [role for role, _, _ in nodes]
        assert roles.count("main") == 1
        assert roles.count("banner") == 1
        for role, name, properties in nodes:
            if properties.get("focusable") and role != "RootWebArea":
                assert name, f"a {role} without a name"
        return nodes

    expect(page.get_by_role("heading", name="Before anything starts")).to_be_visible()
    check([(1, "Live emotion estimates"), (2, "Before anything starts")])
    begin(page, server)
    server.send(state(0, happy="active"))
    count(page, "state", 1)
    nodes = check(
        [
            (1, "Live emotion estimates"),
            (2, "Your picture"),
            (2, "What it looks like"),
            (2, "Captions"),
            (2, "The last two minutes"),
            (3, "Lately"),
        ]
    )
    regions = [name for role, name, _ in nodes if role == "region"]
    assert regions == ["Your picture", "What it looks like", "Captions", "The last two minutes"]
    live = {p["live"] for _, _, p in nodes if p.get("live")}
    assert live == {"polite"}
    assert [name for role, name, _ in nodes if role == "rowheader"] == list(LABELS)
    cells = [name for role, name, _ in nodes if role in {"cell", "gridcell"}]
    assert any("active" in name for name in cells)


def test_screen_readers_are_not_flooded(page: Page, server: FakeServer) -> None:
    begin(page, server)
    page.evaluate("""() => {
      window.said = [];
      const line = document.getElementById("announce");
      new MutationObserver(() => window.said.push(line.textContent))
        .observe(line, { childList: true, characterData: true, subtree: true });
    }""")
    for index in range(42):
        server.send(state(index, **{("happy", "sad")[index % 2]: "active"}))
        page.wait_for_timeout(100)
    said = page.evaluate("window.said")
    assert len(said) == 1, said
    assert said[0] in {"Looks like: happy", "Looks like: sad"}


SIZES = pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])


@SIZES
def test_nothing_jumps_and_nothing_is_cut_off(
    visit: OpenPage, server: FakeServer, viewport: dict[str, int]
) -> None:
    places = """() => [...document.querySelectorAll(
      "#live section, tr, #verdict, #captions, #people, #notice-long, .latency"
    )].map((e) => { const r = e.getBoundingClientRect(); return [r.x, r.y, r.width, r.height]; })"""
    with visit(viewport=viewport) as page:
        fits = "document.documentElement.scrollWidth <= innerWidth"
        assert page.evaluate(fits)
        begin(page, server)
        before = page.evaluate(places)
        long = state(0, "no_speech", **dict.fromkeys(LABELS, "unsure"))
        server.send(long, FACE, *(transcript(i, "many words " * 12) for i in range(3)))
        count(page, "transcript", 3)
        assert page.evaluate(places) == before
        shown = ("happy", "sad", "anger")
        everything = dict.fromkeys(LABELS, "unsure") | dict.fromkeys(shown, "active")
        for index, statuses in enumerate([everything, dict.fromkeys(LABELS, "active"), {}]):
            server.send(state(index + 1, "variance_high", **statuses))
            count(page, "state", index + 2)
            assert page.evaluate(places) == before
            box = page.locator("#verdict")
            assert box.evaluate("e => e.scrollHeight <= e.clientHeight"), verdict(page)
        doubted = page.get_by_text("The model's own doubt does not hold")
        expect(doubted).to_be_hidden()
        server.send(state(4) | {"variance_trusted": False})
        expect(doubted).to_be_visible()
        server.send({"type": "load", "person": "p1", "t": 4.0, "load": "no_words"})
        expect(page.locator("#notice")).to_contain_text("and no words")
        assert page.evaluate(places) == before
        assert page.evaluate(fits)


WATCH_CHIPS = """
window.painted = new Set();
const { fillText } = CanvasRenderingContext2D.prototype;
CanvasRenderingContext2D.prototype.fillText = function (text, ...more) {
  window.painted.add(text);
  return fillText.call(this, text, ...more);
};
"""


@SIZES
def test_long_words_of_a_language_fit(
    visit: OpenPage, server: FakeServer, viewport: dict[str, int]
) -> None:
    with visit(WATCH_CHIPS, viewport=viewport, locale="de") as page:
        for name in ("face", "voice", "words"):
            page.locator(f"input[name={name}]").check()
        page.locator("#begin").click()
        wait_until(page, lambda: server.connected, "data channel")
        server.send(HELLO, FACE, state(0), state(1, surprise="active"))
        count(page, "state", 2)
        wide = "all => all.filter(e => e.scrollWidth > e.clientWidth).map(e => e.textContent)"
        assert page.locator("#part-table :is(th, td)").evaluate_all(wide) == []
        painted = page.evaluate("[...window.painted]")
        assert "● Überraschung" in painted
        assert not [text for text in painted if text.endswith("…")], painted


def test_nothing_moves_but_the_estimates(page: Page, server: FakeServer) -> None:
    # Without animations there is nothing to reduce for those who ask for less motion.
    begin(page, server)
    server.send(state(0, happy="active"))
    count(page, "state", 1)
    server.send(state(1, sad="active"))
    wait_until(page, lambda: stats(page)["counts"]["state"] == 2, "second state")
    assert page.evaluate("document.getAnimations().length") == 0
    declared = "e => [getComputedStyle(e).transitionDuration, getComputedStyle(e).animationName]"
    assert page.locator(".mark").first.evaluate(declared) == ["0s", "none"]


def test_the_page_asks_nobody_else(visit: OpenPage, server: FakeServer) -> None:
    with visit() as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.reload()
        begin(page, server)
        server.send(state(0))
        count(page, "state", 1)
    assert len(asked) > 8
    assert all(url.startswith(server.url) for url in asked), asked


def test_a_ticket_in_the_address_is_presented_and_gone_once_used(
    browser: Browser, server: FakeServer
) -> None:
    with open_page(browser, f"{server.url}/#ticket=a.b") as page:
        expect(page.get_by_role("heading", name="Before anything starts")).to_be_visible()
        page.reload()  # it is still there
        begin(page, server)
        assert page.url == f"{server.url}/"
    assert server.presented == ["Bearer a.b"] * 3
