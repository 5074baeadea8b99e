"""What can go wrong in a call, as the page tells it: what happened and what to do."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, Playwright, expect

from tests.browser import GRANT, agree, launch, open_page, wait_until
from tests.fake_media import FAKE_DEVICE
from tests.fake_server import HELLO, FakeServer, state
from tests.page.steps import (
    ALL,
    CAMERA_AS_TAB,
    NEEDS_BROWSER,
    WATCH_MEDIA,
    OpenPage,
    begin,
    count,
    share,
)

pytestmark = [*NEEDS_BROWSER, pytest.mark.live]

BUSY_CAMERA = """
navigator.mediaDevices.getUserMedia = () =>
  Promise.reject(new DOMException("Could not start video source", "NotReadableError"));
"""
"""Two programs on one camera cannot be had here; the error is the one that browsers give."""

QUESTION_CLOSED = """
navigator.mediaDevices.getDisplayMedia = () =>
  Promise.reject(new DOMException("Permission denied by user", "NotAllowedError"));
"""
"""Nobody is there to close the browser's question; the error is the one that Chromium gives."""


def expect_problem(page: Page, title: str, what: str, hint: str) -> None:
    expect(page.get_by_role("heading", level=2, name=title)).to_be_focused(timeout=8000)
    card = page.locator("#problem")
    expect(card).to_contain_text(what)
    expect(card).to_contain_text(hint)
    expect(page.get_by_text("Emotion estimates are running", exact=True)).to_be_hidden()


@pytest.mark.parametrize(
    ("status", "title"),
    [(403, "The server refused to start"), (503, "The server is full or not ready")],
)
def test_refused_offer_shows_error_and_hint_and_can_be_repeated(
    visit: OpenPage, server: FakeServer, status: int, title: str
) -> None:
    server.refusal = (status, {"error": "Eight sessions run.", "hint": "Wait until one ends."})
    with visit(WATCH_MEDIA) as page:
        agree(page, *ALL)
        expect_problem(page, title, "Eight sessions run.", "Wait until one ends.")
        assert page.evaluate("window.given.getTracks().map(t => t.readyState)") == ["ended"] * 2
        server.refusal = None
        page.get_by_role("button", name="Try again").click()
        expect(page.get_by_role("heading", name="Before anything starts")).to_be_focused()
        begin(page, server, ())
        server.send(state(0, happy="active"))
        count(page, "state", 1)


def test_a_server_that_vanishes_is_noticed(page: Page, server: FakeServer) -> None:
    begin(page, server)
    server.send(state(0))
    server.stop_serving()
    expect_problem(page, "The server does not answer", "It was stopped", "Start it again")


@pytest.mark.long
def test_a_connection_that_is_cut_is_made_anew(visit: OpenPage, server: FakeServer) -> None:
    server.config["reconnect_within"] = 60.0
    with visit() as page:
        begin(page, server)
        server.send(state(0))
        count(page, "state", 1)
        server.resume_refusal = 503
        server.cut()
        interrupted = page.get_by_text("The connection is interrupted")
        expect(interrupted).to_be_visible(timeout=30_000)
        wait_until(page, lambda: len(server.resumed) >= 2, "two tries", seconds=40)
        server.resume_refusal = None
        wait_until(page, lambda: server.connected, "another connection", seconds=20)
        server.send(HELLO, state(1), state(2, happy="active"))
        count(page, "state", 3)
        expect(interrupted).to_be_hidden()
        expect(page.locator("#verdict-text")).to_have_text("Looks like: happy")
        assert set(server.resumed) == {"Bearer k1"}
        assert not server.deleted
        server.resume_refusal = 404  # the server has given it up
        server.cut()
        expect(page.get_by_role("heading", level=2, name="The session has ended")).to_be_focused(
            timeout=40_000
        )


def test_the_end_of_the_session_is_told(page: Page, server: FakeServer) -> None:
    begin(page, server)
    server.send({"type": "end", "reason": "server_stops"})
    expect_problem(page, "The session has ended", "server stops", "You can start again")


@pytest.mark.parametrize(
    ("reason", "what"),
    [
        ("server stopped", "Der Server wurde beendet."),
        ("memory", "Der Server hatte zu wenig Speicher."),
        ("something new", "Der Server hat sie beendet: something new."),
    ],
)
def test_the_end_of_the_session_is_told_in_the_language_of_the_page(
    visit: OpenPage, server: FakeServer, reason: str, what: str
) -> None:
    with visit(locale="de") as page:
        page.locator("input[name=face]").check()
        page.locator("#begin").click()
        wait_until(page, lambda: server.connected, "data channel")
        server.send(HELLO, {"type": "end", "reason": reason})
        expect_problem(page, "Die Sitzung ist zu Ende", what, "neu beginnen")


def test_another_schema_is_refused(visit: OpenPage, server: FakeServer) -> None:
    with visit() as page:
        agree(page, *ALL)
        wait_until(page, lambda: server.connected, "data channel")
        server.send(HELLO | {"schema": 2})
        expect_problem(page, "This page does not fit the server", "schema 2", "Reload")
    server.config["schema"] = 2
    with visit() as page:
        expect_problem(page, "This page does not fit the server", "schema 2", "Reload")


def test_busy_camera(visit: OpenPage) -> None:
    with visit(BUSY_CAMERA) as page:
        agree(page, *ALL)
        expect_problem(page, "The camera or microphone is busy", "Another program", "Close other")


def test_refused_permission(playwright: Playwright, server: FakeServer) -> None:
    with launch(playwright, [FAKE_DEVICE]) as strict, open_page(strict, server.url) as page:
        agree(page, "Face")
        expect_problem(page, "The camera was refused", "did not give permission", "Allow it")
        assert server.offers == []


def test_no_camera(playwright: Playwright, server: FakeServer) -> None:
    with launch(playwright, [GRANT]) as bare, open_page(bare, server.url) as page:
        agree(page, *ALL)
        expect_problem(page, "No camera or microphone found", "no such device", "Plug it in")
        assert server.offers == []


def test_a_closed_question_for_a_tab_speaks_of_no_camera(
    visit: OpenPage, server: FakeServer
) -> None:
    with visit(QUESTION_CLOSED) as page:
        share(page)
        expect_problem(page, "Nothing was shared", "question was closed", "Try again")
        expect(page.locator("#problem")).not_to_contain_text("camera")
        assert server.offers == []


def test_sharing_that_is_stopped_in_the_browser_speaks_of_no_camera(
    visit: OpenPage, server: FakeServer
) -> None:
    with visit(CAMERA_AS_TAB) as page:
        share(page)
        wait_until(page, lambda: server.connected, "data channel")
        server.send(HELLO | {"source": "tab"})
        page.evaluate("document.getElementById('video').srcObject.getTracks()[0].onended()")
        expect_problem(page, "The sharing has ended", "was stopped", "share it again")
        expect(page.locator("#problem")).not_to_contain_text("camera")
