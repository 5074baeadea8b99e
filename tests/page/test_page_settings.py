"""Settings, pause and limits: what a person sets holds at once, and is kept only if wanted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser import wait_until
from tests.fake_server import FakeServer, event, state
from tests.page.steps import NEEDS_BROWSER, WATCH_MEDIA, OpenPage, begin, count, verdict

pytestmark = [*NEEDS_BROWSER, pytest.mark.live]

STORED = "localStorage.getItem('lddu-live.settings')"


def settings(page: Page) -> Locator:
    page.get_by_role("button", name="Settings").click()
    return page.get_by_role("dialog", name="Settings")


def slide(page: Page, name: str, value: float) -> None:
    page.get_by_role("slider", name=name).evaluate(
        "(e, v) => { e.value = v; e.dispatchEvent(new Event('input'));"
        " e.dispatchEvent(new Event('change')); }",
        value,
    )


def test_what_the_server_must_know_is_sent_to_it(page: Page, server: FakeServer) -> None:
    begin(page, server)
    assert server.offers[0]["settings"] == {"smoothing": None, "sensitivity": {}}
    dialog = settings(page)
    standard = "As the server has it: present or not (hidden Markov model)"
    options = dialog.get_by_role("combobox", name="Smoothing").locator("option")
    names = ["present or not (hidden Markov model)", "moving average", "none"]
    assert options.all_inner_texts() == [standard, *names]
    dialog.get_by_role("combobox", name="Smoothing").select_option("moving average")
    slide(page, "happy", 0.5)
    expect(dialog.get_by_text("more readily (+0.5)")).to_be_visible()
    wait_until(page, lambda: len(server.settings) == 2, "changes")
    assert server.settings[0] == {"smoothing": "ema", "sensitivity": {}}
    assert server.settings[1] == {"smoothing": "ema", "sensitivity": {"happy": 0.5}}
    dialog.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Stop").click()
    begin(page, server)
    assert server.offers[1]["settings"] == server.settings[1]


def test_settings_are_remembered_only_if_that_is_wanted(
    visit: OpenPage, server: FakeServer
) -> None:
    with visit() as page:
        begin(page, server)
        dialog = settings(page)
        dialog.get_by_role("checkbox", name="Timelines").uncheck()
        dialog.get_by_role("combobox", name="Colours").select_option("Dark")
        expect(page.locator("#part-timeline")).to_be_hidden()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(14, 17, 22)"
        assert page.evaluate("localStorage.length") == 0
        dialog.get_by_role("checkbox", name="Remember").check()
        kept: dict[str, Any] = json.loads(page.evaluate(STORED))
        assert kept["timeline"] is False and kept["theme"] == "dark"
        page.reload()
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
        begin(page, server)
        expect(page.locator("#part-timeline")).to_be_hidden()
        dialog = settings(page)
        dialog.get_by_role("button", name="Everything as in the beginning").click()
        expect(page.locator("#part-timeline")).to_be_visible()
        assert page.evaluate("localStorage.length") == 0
        assert page.evaluate("[document.cookie, sessionStorage.length]") == ["", 0]


@pytest.mark.parametrize("text", ["[{", '{"theme": "pink", "sensitivity": {"x": 9}}'])
def test_what_is_no_setting_is_ignored(visit: OpenPage, server: FakeServer, text: str) -> None:
    script = f"localStorage.setItem('lddu-live.settings', {json.dumps(text)})"
    with visit(script) as page:
        begin(page, server)
        assert page.evaluate("document.documentElement.dataset.theme") == "system"
        assert server.offers[-1]["settings"] == {"smoothing": None, "sensitivity": {}}


def test_every_part_can_be_left_out(page: Page, server: FakeServer) -> None:
    begin(page, server)
    server.send(state(0, happy="active"), event("onset", "happy", 3.0, 3.0))
    count(page, "event", 1)
    drawn = """() => { const c = document.getElementById("outline");
      return c.getContext("2d").getImageData(0, 0, c.width, c.height).data.some(v => v > 0); }"""
    assert page.evaluate(drawn)
    dialog = settings(page)
    for name, part in (
        ("Table of all estimates", "#part-table"),
        ("List of captions", "#part-captions"),
        ("Timelines", "#part-timeline"),
        ("What came and went", "#part-events"),
    ):
        dialog.get_by_role("checkbox", name=name).uncheck()
        expect(page.locator(part)).to_be_hidden()
    for name in ("Estimates on the picture", "Show the picture a little later"):
        dialog.get_by_role("checkbox", name=name).uncheck()
    page.wait_for_timeout(400)
    assert not page.evaluate(drawn)
    expect(page.locator("#notice")).to_have_text("Emotion estimates are running")


def test_pause(visit: OpenPage, server: FakeServer) -> None:
    with visit(WATCH_MEDIA) as page:
        begin(page, server)
        server.send(state(0, happy="active"))
        count(page, "state", 1)
        page.get_by_role("button", name="Pause").click()
        enabled = "window.given.getTracks().map(t => t.enabled)"
        assert page.evaluate(enabled) == [False, False]
        expect(page.locator("#notice")).to_have_text("Paused: nothing is analysed")
        wait_until(page, lambda: verdict(page) == "Not sure\nPaused: nothing is analysed.", "pause")
        assert server.settings == [{"paused": True}]
        page.get_by_role("button", name="Go on").click()
        assert page.evaluate(enabled) == [True, True]
        expect(page.locator("#notice")).to_have_text("Emotion estimates are running")
        wait_until(page, lambda: verdict(page) == "Looks like: happy", "estimates")
        assert server.settings == [{"paused": True}, {"paused": False}]


def test_a_pause_that_the_server_tells_is_shown(page: Page, server: FakeServer) -> None:
    begin(page, server)
    told = {"type": "settings", "person": "p1", "smoothing": "hmm", "sensitivity": {}}
    server.send(told | {"paused": True})
    expect(page.locator("#notice")).to_have_text("Paused: nothing is analysed")
    server.send(told | {"paused": False})
    expect(page.locator("#notice")).to_have_text("Emotion estimates are running")


def test_limits_are_one_click_away(page: Page, server: FakeServer) -> None:
    begin(page, server)
    page.get_by_role("button", name="Limits").click()
    dialog = page.get_by_role("dialog", name="What the model cannot do")
    first = dialog.get_by_role("heading", level=2).nth(1)
    expect(first).to_have_text("What it must not be used for")
    expect(dialog.get_by_role("heading", name="Seen to go wrong")).to_be_visible()
    with page.expect_popup() as opening:
        dialog.get_by_role("link", name="The whole card").click()
    expect(opening.value.get_by_role("heading", name="Thresholds")).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("button", name="Limits")).to_be_focused()


def test_the_group_view_says_how_many_never_who(visit: OpenPage, server: FakeServer) -> None:
    server.config["group"] = {"least": 5}
    with visit() as page:
        page.get_by_role("checkbox", name="Group view").check()
        begin(page, server)
        assert server.offers[0]["consent"]["group"] is True
        group = page.locator("#part-group")
        expect(group).to_be_hidden()
        dialog = settings(page)
        dialog.get_by_role("combobox", name="View").select_option("Group: how many of the room")
        dialog.get_by_role("button", name="Close").click()
        expect(group).to_contain_text("Nothing was told of a group yet")
        told = {"type": "group", "at": 1.0, "over_s": 10.0, "people": 6, "reason": None}
        server.send(told | {"labels": {"happy": "most", "sad": "few", "fear": None}})
        levels = group.locator("#group-levels div")
        expect(levels.nth(0)).to_have_text("happymost")
        expect(levels.nth(1)).to_have_text("sadfew")
        expect(levels.nth(5)).to_have_text("fearunclear")
        server.send(told | {"people": None, "labels": {}, "reason": "too_few"})
        expect(group).to_contain_text("Too few people")
        expect(levels.nth(0)).to_be_hidden()
