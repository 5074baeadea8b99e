"""The page in a real browser, against a server that sends scripted records."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from tests.browser import GRANT, agree, find_browser, launch, open_page, stats, wait_until
from tests.fake_media import FAKE_DEVICE
from tests.fake_server import HELLO, LABELS, FakeServer, fake_server, state, transcript

pytestmark = [
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
BUSY_CAMERA = """
navigator.mediaDevices.getUserMedia = () =>
  Promise.reject(new DOMException("Could not start video source", "NotReadableError"));
"""
"""Two programs on one camera cannot be had here; the error is the one that browsers give."""

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


def begin(page: Page, server: FakeServer, kinds: tuple[str, ...] = ALL) -> None:
    agree(page, *kinds)
    wait_until(page, lambda: server.connected, "data channel or WebSocket")
    server.send(HELLO)


def verdict(page: Page) -> str:
    return page.locator("#verdict").inner_text().replace("\n\n", "\n")


def row(page: Page, name: str) -> str:
    found = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=name))
    return re.sub(r"\s+", " ", found.inner_text()).strip()


def count(page: Page, kind: str, number: int) -> None:
    """Wait until so many records of a kind have arrived and been drawn."""
    wait_until(page, lambda: stats(page)["counts"].get(kind, 0) >= number, f"{number} x {kind}")
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


# --- before anything ---


def test_start_says_what_will_happen(page: Page) -> None:
    card = page.get_by_role("region", name="Before anything starts")
    expect(card).to_contain_text("happy, sad, anger, surprise, disgust and fear")
    expect(card).to_contain_text("Self view: these estimates are shown to you alone.")
    expect(card).to_contain_text("On this machine. Picture and sound are sent nowhere else.")
    expect(card).to_contain_text("Nothing. Picture, sound, words and estimates are forgotten")
    assert not any(box.is_checked() for box in page.get_by_role("checkbox").all())


@pytest.mark.parametrize(
    ("kinds", "audio", "video"),
    [(("Face",), False, True), (("Words",), True, False), (ALL, True, True)],
)
def test_only_consented_devices_are_opened_and_only_after_the_click(
    visit: OpenPage, server: FakeServer, kinds: tuple[str, ...], audio: bool, video: bool
) -> None:
    with visit(WATCH_MEDIA) as page:
        page.get_by_role("button", name="Agree and start").click()
        expect(page.get_by_role("alert")).to_contain_text("Choose at least one")
        for kind in kinds:
            page.get_by_role("checkbox", name=kind).check()
        assert page.evaluate("window.asked") == []
        assert server.offers == []
        begin(page, server, ())
        [asked] = page.evaluate("window.asked")
        size = {"width": {"ideal": 640}, "height": {"ideal": 360}, "frameRate": {"ideal": 30}}
        assert asked["video"] == (size if video else False)
        assert bool(asked["audio"]) == audio
        [offer] = server.offers
        assert offer["purpose"] == "self_view"
        agreed = {name: name.capitalize() in kinds for name in ("face", "voice", "words")}
        assert offer["consent"] == {"version": "1", **agreed}
        assert ("m=audio" in offer["sdp"], "m=video" in offer["sdp"]) == (audio, video)
        expect(page.get_by_text("Camera not in use")).to_be_visible(visible=not video)
        expect(page.get_by_text("Words not in use")).to_be_visible(visible="Words" not in kinds)
        delay = "measuring" if video else "not in use"
        expect(page.locator("#latency-face")).to_have_text(delay)


def test_what_the_server_does_not_offer_is_not_asked_for(
    visit: OpenPage, server: FakeServer
) -> None:
    server.config["modalities"] = ["face", "voice"]
    with visit() as page:
        expect(page.get_by_role("checkbox")).to_have_count(2)


# --- running ---


def test_estimates_are_shown_in_words_and_numbers(page: Page, server: FakeServer) -> None:
    begin(page, server)
    expect(page.get_by_text("Emotion estimates are running", exact=True)).to_be_visible()
    server.send(HELLO | {"notice": "Guesses, running."}, state(0, happy="active", fear="unsure"))
    count(page, "state", 1)
    expect(page.get_by_text("Guesses, running.")).to_be_visible()
    assert verdict(page) == "Looks like: happy\nNot sure about fear."
    assert row(page, "happy") == "happy 82 % 75 to 91 ● active"
    assert row(page, "fear") == "fear 55 % 48 to 64 ◐ not sure"
    assert row(page, "sad") == "sad 8 % 1 to 17 ○ not active"
    mark, band = page.locator(".mark").first, page.locator(".band").first
    assert mark.evaluate("e => e.style.left") == "82%"
    assert band.evaluate("e => parseFloat(e.style.left) + parseFloat(e.style.width)") == 91
    server.send(state(1))
    count(page, "state", 2)
    assert verdict(page) == "Looks like: none of these"
    server.send(state(2, sad="unsure"))
    count(page, "state", 3)
    assert verdict(page) == "Not sure\nNo emotion stands out clearly enough."
    assert "feel" not in page.locator("body").inner_text().lower()


def test_not_sure_says_why(page: Page, server: FakeServer) -> None:
    begin(page, server)
    expect(page.locator("#verdict")).to_contain_text("Connecting to the server.")
    reasons = {
        "warming_up": "the first estimate needs 3 s",
        "no_face": "No face found",
        "no_speech": "No speech heard",
        "variance_high": "too little or contradict",
        "stale": "too old",
        "no_consent": "Nothing that you agreed to",
        "failed": "failed for a moment",
        "later_reason": "Reason given by the server: later_reason.",
    }
    for index, (reason, text) in enumerate(reasons.items()):
        record = state(index, reason, **dict.fromkeys(LABELS, "unsure"))
        server.send(record if index % 2 else record | {"labels": {}})
        count(page, "state", index + 1)
        title, _, why = verdict(page).partition("\n")
        assert title == "Not sure"
        assert text in why
        assert page.locator("#verdict").get_attribute("data-kind") == "unsure"
    expect(page.locator("#verdict")).to_contain_text("No new estimates arrive", timeout=4000)
    assert row(page, "happy") == "happy – ◐ not sure"


def test_late_revisions_do_not_turn_back_the_clock(page: Page, server: FakeServer) -> None:
    begin(page, server)
    server.send(state(5, happy="active"), state(4, sad="active") | {"revision": 3})
    count(page, "state", 2)
    assert verdict(page) == "Looks like: happy"
    server.send(state(5, fear="active") | {"revision": 1})
    count(page, "state", 3)
    assert verdict(page) == "Looks like: fear"


def test_unknown_records_are_ignored(page: Page, server: FakeServer) -> None:
    begin(page, server)
    stranger = state(9, fear="active") | {"person": "p2"}
    server.send({"type": "weather", "t": 1}, stranger, state(0, happy="active"))
    count(page, "state", 2)
    assert verdict(page) == "Looks like: happy"


def test_captions_are_a_polite_log(page: Page, server: FakeServer) -> None:
    begin(page, server)
    server.send(transcript(1.0, "Good morning"), transcript(2.0, ""), transcript(3.0, "everybody"))
    count(page, "transcript", 3)
    log = page.get_by_role("log", name="Captions")
    assert log.locator("p").all_inner_texts() == ["Good morning", "everybody"]
    assert log.get_attribute("aria-live") == "polite"
    server.send(*(transcript(4.0 + i, f"line {i}") for i in range(40)))
    count(page, "transcript", 43)
    assert log.locator("p").count() == 20
    expect(log.get_by_text("line 39")).to_be_in_viewport()


def test_outline_and_picture_are_mirrored_together(page: Page, server: FakeServer) -> None:
    begin(page, server)
    video = page.locator("#video")
    wait_until(page, lambda: bool(video.evaluate("e => e.videoWidth > 0")), "picture")
    server.send(FACE)
    count(page, "face", 1)
    drawn, mirrored = page.evaluate("""() => {
      const canvas = document.getElementById("outline"), video = document.getElementById("video");
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      const alpha = (u, v) => data[(Math.round(v * canvas.height) * canvas.width
        + Math.round(u * canvas.width)) * 4 + 3];
      const turned = [canvas, video].map((e) => getComputedStyle(e).transform);
      return [[alpha(0.1, 0.5), alpha(0.2, 0.5), alpha(0.9, 0.5)], turned];
    }""")
    assert drawn[0] > 0
    assert drawn[1:] == [0, 0]
    assert mirrored == ["matrix(-1, 0, 0, 1, 0, 0)"] * 2
    page.wait_for_timeout(1200)
    blank = "e => e.getContext('2d').getImageData(0, 0, e.width, e.height).data.every(v => v === 0)"
    assert page.locator("#outline").evaluate(blank), "an old outline stays on the picture"


def test_latency_is_measured_from_capture_to_paint(page: Page, server: FakeServer) -> None:
    begin(page, server)
    server.send(
        state(0), {"type": "clock", "person": "p1", "provisional": True, "unix_at_zero": None}
    )
    count(page, "state", 1)
    assert stats(page)["states"][0]["latency"] is None
    expect(page.locator("#latency-state")).to_have_text("measuring")
    zero = time.time() - 10.0
    clock = {"type": "clock", "person": "p1", "provisional": False, "unix_at_zero": zero}
    server.send(clock)
    for index in range(1, 4):
        captured = time.time() - zero - 0.3
        server.send(state(index) | {"t": captured}, FACE | {"t": captured})
        page.wait_for_timeout(100)
    server.send(state(0) | {"revision": 1})
    count(page, "state", 5)
    *painted, late = stats(page)["states"][1:]
    for entry in painted:
        assert 0.3 <= entry["latency"] < 0.6
    assert late["painted"] is None
    expect(page.locator("#latency-state")).to_have_text(re.compile(r"^[345]\d\d ms$"))
    expect(page.locator("#latency-face")).to_have_text(re.compile(r"^[345]\d\d ms$"))


def test_websocket_stands_in_for_the_data_channel(page: Page, server: FakeServer) -> None:
    server.channels = False
    begin(page, server)
    assert len(server.sockets) == 1
    server.send(state(0, sad="active"))
    count(page, "state", 1)
    assert verdict(page) == "Looks like: sad"


def test_stop_ends_the_session_and_gives_the_devices_back(
    visit: OpenPage, server: FakeServer
) -> None:
    with visit(WATCH_MEDIA) as page:
        begin(page, server)
        page.get_by_role("button", name="Stop").click()
        wait_until(page, lambda: server.deleted == ["s1"], "DELETE of the session")
        assert page.evaluate("window.given.getTracks().map(t => t.readyState)") == ["ended"] * 2
        expect(page.get_by_text("Emotion estimates are running", exact=True)).to_be_hidden()
        assert not any(box.is_checked() for box in page.get_by_role("checkbox").all())
        begin(page, server)
        server.send(state(0, happy="active"))
        count(page, "state", 1)


def test_leaving_the_page_ends_the_session(page: Page, server: FakeServer) -> None:
    begin(page, server)
    page.goto("about:blank")
    wait_until(page, lambda: server.deleted == ["s1"], "DELETE of the session")


# --- what can go wrong ---


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


def test_the_end_of_the_session_is_told(page: Page, server: FakeServer) -> None:
    begin(page, server)
    server.send({"type": "end", "reason": "server_stops"})
    expect_problem(page, "The session has ended", "server stops", "You can start again")


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


# --- for everybody ---


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
    page.keyboard.press("Tab")
    expect(page.get_by_role("log", name="Captions")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    expect(page.get_by_role("button", name="Stop")).to_be_focused()
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
        ]
    )
    regions = [name for role, name, _ in nodes if role == "region"]
    assert regions == ["Your picture", "What it looks like", "Captions"]
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


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_nothing_jumps_and_nothing_is_cut_off(
    visit: OpenPage, server: FakeServer, viewport: dict[str, int]
) -> None:
    places = """() => [...document.querySelectorAll("#live section, tr, #verdict, #captions")]
      .map((e) => { const r = e.getBoundingClientRect(); return [r.x, r.y, r.width, r.height]; })"""
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
        assert page.evaluate(fits)


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
