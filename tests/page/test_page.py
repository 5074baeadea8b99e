"""The page in a real browser, against a server that sends scripted records."""

from __future__ import annotations

import json
import re
import time

import pytest
from playwright.sync_api import Page, expect

from tests.browser import stats, wait_until
from tests.fake_server import HELLO, LABELS, FakeServer, event, state, transcript
from tests.page.steps import (
    ALL,
    FACE,
    NEEDS_BROWSER,
    WATCH_MEDIA,
    OpenPage,
    begin,
    count,
    row,
    verdict,
)

pytestmark = [*NEEDS_BROWSER, pytest.mark.live]

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
        others = dict.fromkeys(("record", "media", "group", "room"), False)
        assert offer["consent"] == {"version": "2", **others, **agreed}
        assert ("m=audio" in offer["sdp"], "m=video" in offer["sdp"]) == (audio, video)
        expect(page.get_by_text("Camera not in use")).to_be_visible(visible=not video)
        expect(page.get_by_text("Words not in use")).to_be_visible(visible="Words" not in kinds)
        delay = "measuring" if video else "not in use"
        expect(page.locator("#latency-face")).to_have_text(delay)


def test_recording_is_a_consent_of_its_own(visit: OpenPage, server: FakeServer) -> None:
    server.config["record"] = {"estimates": 30, "words": 0, "faces": 1}
    with visit() as page:
        box = page.get_by_role("checkbox", name="Record")
        kept = "estimates for 30 days and outlines of faces for 1 day"
        expect(page.get_by_text(kept)).to_be_visible()
        expect(page.get_by_text("Nothing, unless you agree to it below")).to_be_visible()
        expect(box).not_to_be_checked()
        box.check()
        begin(page, server, ("Face points",))
        assert server.offers[0]["consent"]["record"] is True
        notice = page.locator("#notice")
        for on, reason, text in (
            (True, None, "Emotion estimates are running and recorded"),
            (False, "disk_full", "Emotion estimates are running; not recorded: the disk is full"),
            (True, None, "Emotion estimates are running and recorded"),
        ):
            server.send({"type": "recording", "person": "p1", "on": on, "reason": reason})
            expect(notice).to_have_text(text)


def test_picture_and_sound_are_a_consent_of_their_own(visit: OpenPage, server: FakeServer) -> None:
    server.config["record"] = {"estimates": 30, "words": 0, "faces": 0, "media": 2}
    with visit() as page:
        expect(page.get_by_text("Picture and sound as they are sent, for 2 days")).to_be_visible()
        expect(page.get_by_text("never stored")).to_have_count(0)
        box = page.get_by_role("checkbox", name="Picture and sound")
        expect(box).not_to_be_checked()
        page.get_by_role("checkbox", name="Record estimates").check()
        box.check()
        begin(page, server, ("Face points",))
        assert server.offers[0]["consent"]["media"] is True


def test_one_part_of_the_consent_is_taken_back(page: Page, server: FakeServer) -> None:
    begin(page, server)
    buttons = page.locator("#less button")
    parts = ["Leave out my face", "Leave out my voice", "Leave out my words"]
    expect(buttons).to_have_text(parts)
    page.get_by_role("button", name=parts[0]).click()
    wait_until(page, lambda: server.without == ["face"], "withdrawal")
    left = {"version": "2", "face": False, "voice": True, "words": True}
    server.send({"type": "consent", "person": "p1", "t": 4.0, "consent": left})
    expect(buttons).to_have_text(parts[1:])
    expect(page.get_by_text("Camera not in use")).to_be_visible()
    live = "document.getElementById('video').srcObject.getVideoTracks()[0].readyState"
    wait_until(page, lambda: page.evaluate(live) == "ended", "end of the camera")
    server.send({"type": "consent", "person": "p1", "t": 5.0, "consent": left | {"voice": False}})
    expect(buttons).to_have_count(0)  # the last one is taken back with "Withdraw"


def test_a_busy_server_is_told_beside_the_notice(page: Page, server: FakeServer) -> None:
    begin(page, server)
    notice = page.locator("#notice")
    for load, text in (
        ("no_words", "; busy: few pictures are looked at, and no words"),
        ("full", ""),
    ):
        server.send({"type": "load", "person": "p1", "t": 4.0, "load": load})
        expect(notice).to_have_text(f"Emotion estimates are running{text}")


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
    assert verdict(page) == "Looks like none of these"
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
        "overlap": "Several people speak at once",
        "variance_high": "too little to be sure",
        "several_faces": "the largest is used",
        "small_or_dark_face": "small or dark",
        "out_of_domain": "unlike anything",
        "modality_conflict": "contradict each other",
        "language": "not understood",
        "asr_lag": "cannot keep up",
        "clock_provisional": "one clock",
        "stale": "too old",
        "no_consent": "No emotion stands out",
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


def test_causes_come_first_and_are_not_too_many(page: Page, server: FakeServer) -> None:
    begin(page, server)
    record = state(0, fear="unsure") | {
        "reason": "no_face",
        "reasons": ["no_face", "asr_lag", "variance_high"],
    }
    server.send(record)
    count(page, "state", 1)
    said = verdict(page)
    assert "No face found" in said and "cannot keep up" in said and "too little" not in said
    server.send(state(1, "no_speech"))
    count(page, "state", 2)
    assert verdict(page) == "Looks like none of these\nNo speech heard."


def test_what_stands_still_is_shown_as_stale(page: Page, server: FakeServer) -> None:
    begin(page, server)
    server.send(state(7, happy="active"))
    count(page, "state", 1)
    old = state(7, "stale", **dict.fromkeys(LABELS, "unsure"))
    server.send(old | {"t": old["t"] + 1.0})
    count(page, "state", 2)
    assert verdict(page).startswith("Not sure\nThe newest picture or sound is too old")
    server.send(state(8, happy="active"))
    count(page, "state", 3)
    assert verdict(page) == "Looks like: happy"


def test_events_tell_what_came_and_went(page: Page, server: FakeServer) -> None:
    begin(page, server)
    lines = page.locator("#events li")
    expect(lines).to_have_count(0)
    server.send(event("onset", "happy", 61.0, 61.0))
    expect(lines).to_have_text(["happy since 1:01"])
    server.send(event("onset", "fear", 62.0, 62.0), event("offset", "happy", 61.0, 71.0))
    gone = "happy 1:01 to 1:11, most at 1:06 (91 %)"
    expect(lines).to_have_text(["fear since 1:02", gone])
    server.send(event("onset", "fear", 62.0, 62.0, withdrawn=True))
    expect(lines).to_have_text([gone])
    server.send(event("offset", "happy", 61.0, 71.0, withdrawn=True))
    expect(lines).to_have_text(["happy since 1:01"])
    server.send(event("offset", "sad", 3.0, 5.0, smoothed=True))
    expect(lines).to_have_count(1)


def test_a_variance_that_is_not_trusted_is_told(page: Page, server: FakeServer) -> None:
    begin(page, server)
    told = page.get_by_text("own doubt does not hold")
    for index, trusted in enumerate((True, False, True)):
        server.send(state(index) | {"variance_trusted": trusted})
        expect(told).to_be_visible(visible=not trusted)


def test_what_was_not_agreed_to_makes_nothing_unsure(page: Page, server: FakeServer) -> None:
    begin(page, server, ("Face",))
    server.send(state(0, "no_consent"))
    count(page, "state", 1)
    assert verdict(page) == (
        "Looks like none of these\nThe estimate rests only on what you agreed to."
    )


def test_consent_is_withdrawn_with_a_receipt(page: Page, server: FakeServer) -> None:
    begin(page, server)
    server.send(state(0, happy="active"))
    count(page, "state", 1)
    page.get_by_role("button", name="Withdraw").click()
    expect(page.get_by_role("heading", name="Before anything starts")).to_be_focused()
    told = page.locator("#receipt")
    expect(told).to_contain_text("7 recorded lines were erased. Receipt abcdef012345.")
    with page.expect_download() as saving:
        told.get_by_role("link").click()
    assert json.loads(saving.value.path().read_text())["audit"]["n"] == 3
    assert (server.withdrawn, server.deleted) == (["s1"], [])
    assert page.evaluate("document.getElementById('video').srcObject") is None
    begin(page, server)
    expect(told).to_be_hidden()


def test_a_record_can_be_erased_after_the_end(visit: OpenPage, server: FakeServer) -> None:
    server.config["record"] = {"estimates": 30, "words": 0, "faces": 0}
    with visit() as page:
        erase = page.get_by_role("button", name="Erase the record")
        for recorded in (False, True):
            begin(page, server)
            if recorded:
                server.send({"type": "recording", "person": "p1", "on": True, "reason": None})
                expect(page.locator("#notice")).to_contain_text("recorded")
            page.get_by_role("button", name="Stop").click()
            expect(erase).to_be_visible(visible=recorded)
        erase.click()
        expect(page.locator("#receipt")).to_contain_text("7 recorded lines were erased")
        expect(erase).to_be_hidden()
        assert server.withdrawn == ["s1"]


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
      return [[alpha(0.9, 0.5), alpha(0.8, 0.5), alpha(0.1, 0.5)], turned];
    }""")
    assert drawn[0] > 0
    assert drawn[1:] == [0, 0]
    assert mirrored == ["none", "matrix(-1, 0, 0, 1, 0, 0)"]  # texts are drawn on the canvas, too
    page.wait_for_timeout(1400)
    left = """e => e.getContext("2d").getImageData(Math.round(0.9 * e.width) - 4,
      Math.round(0.5 * e.height), 8, 1).data.some(v => v > 0)"""
    assert not page.locator("#outline").evaluate(left), "an old outline stays on the picture"


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
