"""Several people: whose estimates are whose, on the picture, in the list and in other windows."""

from __future__ import annotations

import io
import re
import time
from typing import Any

import av
import pytest
from playwright.sync_api import Page, expect

from tests.browser import open_page, stats, wait_until
from tests.fake_server import HELLO, FakeServer, event, state, transcript
from tests.page.steps import (
    CAMERA_AS_TAB,
    DESKTOP,
    NEEDS_BROWSER,
    PHONE,
    OpenPage,
    begin,
    count,
    share,
    verdict,
)

pytestmark = [*NEEDS_BROWSER, pytest.mark.live]

MANY = HELLO | {"many": True, "source": "tab"}
ONE, TWO, THREE = ({"person": f"p1.{n}"} for n in (1, 2, 3))
NO_PIP = "delete window.documentPictureInPicture;"
NO_VIDEO = "Object.defineProperty(Document.prototype, 'pictureInPictureEnabled', {value: false});"


def faces(t: float, *people: str | None) -> dict[str, Any]:
    """A face record with a small face each, side by side."""
    found = []
    for i, person in enumerate(people):
        x = 0.05 + 0.3 * i
        corners = [[x, 0.2], [x + 0.15, 0.2], [x + 0.15, 0.5], [x, 0.5]]
        box = [x, 0.2, x + 0.15, 0.5]
        found.append({"track": i, "person": person, "box": box, "outlines": [corners]})
    return {"type": "face", "t": t, "person": "p1", "faces": found, "lag_s": 0.05}


def test_everybody_has_a_name_a_verdict_and_a_timeline(page: Page, server: FakeServer) -> None:
    begin(page, server)
    server.send(MANY, state(0, happy="active") | ONE, state(0, sad="active") | TWO)
    server.send(state(0, fear="active") | {"person": "p2.1"})  # of another session
    people = page.locator("#people li")
    expect(people).to_have_count(2)
    expect(people.nth(0)).to_contain_text("Person 1")
    expect(people.nth(1)).to_contain_text("Looks like: sad")
    assert verdict(page) == "Person 1\nLooks like: happy"
    page.get_by_role("button", name="Person 2").click()
    assert verdict(page) == "Person 2\nLooks like: sad"
    server.send(state(1, anger="active") | ONE)
    expect(people.nth(0)).to_contain_text("anger")
    assert verdict(page) == "Person 2\nLooks like: sad"
    expect(page.get_by_role("img", name="Person 2: Looks like: sad")).to_be_visible()
    server.send(event("onset", "sad", 3.0, 3.0) | TWO)
    expect(page.locator("#events li")).to_have_text(["Person 2: sad since 0:03"])


def test_everybody_of_eight_is_in_view(page: Page, server: FakeServer) -> None:
    begin(page, server)
    everybody = [{"person": f"p1.{n}"} for n in range(1, 9)]
    server.send(MANY, *(state(0, happy="active", sad="unsure") | each for each in everybody))
    people = page.locator("#people li")
    expect(people).to_have_count(8)
    box = page.locator("#people")
    assert box.evaluate("e => e.scrollHeight <= e.clientHeight")
    assert page.locator("#people .strip").last.evaluate("e => e.clientWidth > 250")


def test_what_is_shared_is_not_called_ones_own(visit: OpenPage, server: FakeServer) -> None:
    with visit(CAMERA_AS_TAB) as page:
        share(page)
        wait_until(page, lambda: server.connected, "data channel")
        server.send(MANY, state(0) | ONE)
        expect(page.get_by_role("heading", name="Shared picture")).to_be_visible()
        parts = ["Leave out faces", "Leave out voices", "Leave out words"]
        expect(page.locator("#less button")).to_have_text(parts)
        assert page.locator("#video").get_attribute("aria-label") == "Shared picture"
        page.evaluate(
            "const s = document.getElementById('language'); s.value = 'de';"
            "s.dispatchEvent(new Event('change'))"
        )
        expect(page.get_by_role("heading", name="Geteiltes Bild")).to_be_visible()
        expect(page.locator("#less button").first).to_have_text("Ohne Gesichter")
        page.locator("#stop").click()
        page.locator("input[name=face]").check()
        page.locator("#begin").click()
        expect(page.get_by_role("heading", name="Ihr Bild")).to_be_visible()


def test_a_share_without_sound_says_that_nobody_is_heard(
    visit: OpenPage, server: FakeServer
) -> None:
    with visit(CAMERA_AS_TAB.replace("audio: true", "audio: false")) as page:
        share(page)
        wait_until(page, lambda: server.connected, "data channel")
        server.send(MANY, state(0) | ONE)
        count(page, "state", 1)
        expect(page.locator("#no-words")).to_have_text(re.compile("No sound is shared"))
        page.locator("#stop").click()
    with visit(CAMERA_AS_TAB) as page:
        share(page)
        wait_until(page, lambda: server.connected, "data channel")
        expect(page.locator("#no-words")).to_be_hidden()


def test_who_left_goes_after_a_while_and_comes_back_with_the_same_name(
    page: Page, server: FakeServer
) -> None:
    begin(page, server)
    server.send(MANY, state(0, happy="active") | ONE, state(0) | TWO)
    people = page.locator("#people li")
    expect(people).to_have_count(2)
    server.send({"type": "person", "t": 4.0, "present": False} | ONE)
    server.send(state(200, fear="active") | TWO)  # 50 s later
    expect(people).to_have_count(1)
    assert verdict(page) == "Person 2\nLooks like: fear"
    server.send({"type": "person", "t": 53.0, "present": True} | ONE, state(201) | ONE)
    expect(people).to_have_count(2)
    expect(people.nth(0)).to_contain_text("Person 1")


def test_captions_name_the_speaker_or_say_that_it_is_unknown(
    page: Page, server: FakeServer
) -> None:
    begin(page, server)
    server.send(MANY, state(0) | TWO, transcript(1.0, "Good morning") | TWO)
    server.send(transcript(2.0, "Well") | {"person": None, "overlap": True})
    log = page.get_by_role("log", name="Captions").locator("p")
    said = ["Person 2: Good morning", "Unknown speaker: Well (several people at once)"]
    expect(log).to_have_text(said)


def test_outlines_belong_to_people(page: Page, server: FakeServer) -> None:
    begin(page, server)
    video = page.locator("#video")
    wait_until(page, lambda: bool(video.evaluate("e => e.videoWidth > 0")), "picture")
    server.send(MANY, state(0) | ONE, state(0) | TWO, faces(3.0, "p1.1", "p1.2", None))
    count(page, "face", 1)
    colours = page.evaluate("""() => {
      const canvas = document.getElementById("outline");
      const at = (u, v) => [...canvas.getContext("2d").getImageData(
        Math.round(u * canvas.width), Math.round(v * canvas.height), 1, 1).data];
      return [at(0.05, 0.35), at(0.35, 0.35), at(0.72, 0.2)];
    }""")
    assert colours[0][3] > 0 and colours[1][3] > 0 and colours[0] != colours[1]
    assert colours[2][3] == 0  # nobody yet


CARD = """async () => {
  const { rank } = await import("/static/rank.js");
  const labels = (p) => Object.fromEntries(
    Object.entries(p).map(([name, probability]) => [name, { probability }]));
  let order = rank(labels({ a: 0.5, b: 0.4, c: 0.3 }), [], 2);
  const steps = [order.join("")];
  const next = [{ a: 0.42, b: 0.45, c: 0.44 }, { a: 0.3, b: 0.5, c: 0.32 }];
  for (const p of [...next, { a: 0.1, b: 0.5, c: 0.6 }]) {
    order = rank(labels(p), order, 2);
    steps.push(order.join(""));
  }
  return steps;
}"""


def test_the_order_of_labels_on_a_picture_is_calm(page: Page) -> None:
    assert page.evaluate(CARD) == ["ab", "ab", "ba", "cb"]


MOTION = """async () => {
  const { Motion } = await import("/static/motion.js");
  const face = (x) => ({ box: [x, 0, x + 0.1, 0.1], outlines: [[[x, 0], [x + 0.1, 0.1]]] });
  const motion = new Motion();
  for (const [t, x] of [[1.0, 0.1], [1.1, 0.2]]) motion.put(t, face(x), 100);
  const at = (t, wall = 100) => {
    const found = motion.at(t, wall);
    return found && Math.round(found.box[0] * 1000) / 1000;
  };
  return [at(0.9), at(1.0), at(1.05), at(1.1), at(1.15), at(1.9), at(2.2), at(1.1, 101.5)];
}"""


def test_faces_are_followed_between_and_shortly_after_outlines(page: Page) -> None:
    assert page.evaluate(MOTION) == [0.1, 0.1, 0.15, 0.2, 0.22, 0.248, None, None]


HISTORY = """async () => {
  const { History, ACTIVE, UNSURE, COLUMNS } = await import("/static/history.js");
  const history = new History(["a"]);
  const put = (t, index, status) => history.put({ t, index,
    labels: { a: { probability: 0.5, interval: [0.4, 0.6], status } } });
  put(1.0, 1, "active"); put(1.2, 2, "unsure"); put(1.1, 1, "inactive");
  const one = history.status[history.cell(2, 0)] === UNSURE;
  put(130, 500, "active"); put(2.0, 5, "active");
  const two = history.status[history.cell(260, 0)] === ACTIVE;
  return [one, two, history.cell(4, 0), COLUMNS];
}"""


def test_two_minutes_are_kept(page: Page) -> None:
    assert page.evaluate(HISTORY) == [True, True, -1, 240]


# --- other windows ---


@pytest.mark.parametrize("script", ["", NO_PIP + NO_VIDEO], ids=["picture in picture", "popup"])
def test_floating_window(visit: OpenPage, server: FakeServer, script: str) -> None:
    with visit(script) as page:
        begin(page, server)
        server.send(state(0, happy="active"))
        button = page.get_by_role("button", name="Float")
        with page.expect_popup() as opening:
            button.click()
        window = opening.value
        expect(button).to_have_attribute("aria-pressed", "true")
        expect(window.locator(".notice")).to_have_text("Emotion estimates are running")
        filled = """() => { const c = document.querySelector("canvas"); return c.width > 300
          && c.getContext("2d").getImageData(0, 0, c.width, c.height).data.some(v => v > 0); }"""
        wait_until(page, lambda: bool(window.evaluate(filled)), "a drawing")
        window.get_by_role("button", name="Pause").click()
        expect(window.locator(".notice")).to_have_text("Paused: nothing is analysed")
        expect(page.locator("#notice")).to_have_text("Paused: nothing is analysed")
        assert server.settings == [{"paused": True}]
        button.click()
        expect(button).to_have_attribute("aria-pressed", "false")
        wait_until(page, window.is_closed, "closing")


@pytest.mark.long
def test_floating_video_where_there_is_nothing_better(visit: OpenPage, server: FakeServer) -> None:
    watch = """
    HTMLVideoElement.prototype.requestPictureInPicture = async function () {
      window.floated = this;
    };
    Object.defineProperty(Document.prototype, "pictureInPictureEnabled", { value: true });
    """
    with visit(NO_PIP + watch) as page:
        begin(page, server)
        server.send(state(0, happy="active"))
        page.get_by_role("button", name="Float").click()
        wait_until(page, lambda: bool(page.evaluate("window.floated?.videoWidth === 420")), "video")
        page.evaluate("window.floated.dispatchEvent(new Event('leavepictureinpicture'))")
        expect(page.get_by_role("button", name="Float")).to_have_attribute("aria-pressed", "false")


def test_floating_window_that_is_blocked_is_told(visit: OpenPage, server: FakeServer) -> None:
    with visit(NO_PIP + NO_VIDEO + "window.open = () => null;") as page:
        begin(page, server)
        page.get_by_role("button", name="Float").click()
        expect(page.locator("#float-problem")).to_have_text("The browser blocked the window.")
        expect(page.locator("#notice")).to_have_text("Emotion estimates are running")


def test_a_page_for_browser_sources(visit: OpenPage, server: FakeServer) -> None:
    server.channels = False
    with visit() as page:
        begin(page, server)
        page.get_by_role("button", name="Settings").click()
        link = page.get_by_role("textbox", name="Address for a browser source").input_value()
        assert link == f"{server.url}/obs#session=s1&key=k1"
        browser = page.context.browser
        assert browser is not None
        options = f"{link}&show=labels,captions&lang=de&scale=2"
        with open_page(browser, options, viewport=DESKTOP) as source:
            wait_until(source, lambda: len(server.sockets) == 2, "its WebSocket")
            server.send(MANY, state(0, happy="active") | ONE, transcript(1.0, "Hello") | ONE)
            count(source, "transcript", 1)
            back = "getComputedStyle(document.body).backgroundColor"
            assert source.evaluate(back) == "rgba(0, 0, 0, 0)"
            clear, notice = source.evaluate("""() => {
              const c = document.querySelector("canvas"), g = c.getContext("2d");
              const seen = (x, y, w, h) => g.getImageData(x, y, w, h).data.some(v => v > 0);
              return [seen(c.width / 2, c.height / 3, 200, 100), seen(20, 20, 100, 30)];
            }""")
            assert not clear and notice
            told = "Person 1: Sieht aus nach: Freude"
            expect(source.locator("#announce")).to_have_text(told, timeout=6000)
            server.send({"type": "end", "reason": "left"})
            wait_until(source, lambda: stats(source) is None, "the end")
    with open_page(browser, f"{server.url}/obs", viewport=DESKTOP) as source:
        expect(source.get_by_role("alert")).to_contain_text("lacks session and key")


def test_a_page_for_the_group_view_of_a_room(visit: OpenPage, server: FakeServer) -> None:
    hello = {"type": "group_hello", "schema": 1, "room": "r 1", "labels": ["happy", "sad"]}
    group = {"type": "group", "at": 1.0, "over_s": 10.0, "people": 6, "reason": None}
    with visit() as page:
        browser = page.context.browser
        assert browser is not None
        with open_page(browser, f"{server.url}/room#lang=de") as room:
            expect(room.get_by_role("alert")).to_contain_text("fehlt der Raum")
        link = f"{server.url}/room#room=r%201&key=t1"
        with open_page(browser, link, viewport=PHONE) as room:
            wait_until(room, lambda: len(server.sockets) == 1, "its WebSocket")
            server.send(hello | {"least": 5, "over_s": 10.0})
            expect(room.locator("#group-what")).to_have_text("Nothing was told of a group yet.")
            expect(room.locator("#group-counted")).to_contain_text("at least 5, over 10 s")
            server.send(group | {"labels": {"happy": "most", "sad": None}})
            expect(room.locator("#group-levels div")).to_have_text(["happymost", "sadunclear"])
            server.send(group | {"people": None, "labels": {}, "reason": "too_few"})
            expect(room.locator("#group-what")).to_have_text("Too few people for a group view.")
            expect(room.locator("#group-levels")).to_be_hidden()
            server.stop_serving()
            expect(room.get_by_role("alert")).not_to_be_empty()
            expect(room.locator("#group-what")).to_be_empty()


SIZE_OF_CHIP = """async (kind) => {
  const { [kind]: { width, height } } = await import("/static/chip.js");
  return [width, height];
}"""

PLACES = """async ([faces, size, rounds]) => {
  const { Places } = await import("/static/places.js");
  const area = { x: 0, y: 0, right: 640, bottom: 360 };
  const places = new Places();
  let found = [];
  for (let i = 0; i < rounds; i += 1) {
    const wanted = faces.map(([x, y, width, height], n) => ({
      id: String(n),
      face: { x: x + i % 2, y, right: x + width + i % 2, bottom: y + height },
      listed: [0, 0],
    }));
    found = places.find(wanted, { width: size[0], height: size[1] }, area, i / 30);
  }
  return found;
}"""


@pytest.mark.parametrize(
    ("faces", "kind"),
    [
        ([[250, 60, 120, 160]], "WIDE"),
        ([[60, 80, 100, 140], [420, 80, 100, 140]], "WIDE"),
        ([[45 + 160 * (n % 4), 36 + 180 * (n // 4), 71, 109] for n in range(8)], "SLIM"),
    ],
    ids=["one", "two", "eight"],
)
def test_chips_cover_neither_faces_nor_each_other(
    page: Page, faces: list[list[int]], kind: str
) -> None:
    width, height = page.evaluate(SIZE_OF_CHIP, kind)
    found = page.evaluate(PLACES, [faces, [width, height], 60])
    boxes = [(x, y, x + width, y + height) for x, y in found]
    boxes += [(x, y, x + w, y + h) for x, y, w, h in faces]
    slack = 4  # a chip does not follow small movements
    for i, (x0, y0, x1, y1) in enumerate(boxes):
        for u0, v0, u1, v1 in boxes[:i]:
            assert min(x1, u1) - max(x0, u0) <= slack or min(y1, v1) - max(y0, v0) <= slack
    assert found == page.evaluate(PLACES, [faces, [width, height], 61]), "a chip trembles"


WATCH_NAMES = """
window.named = new Set();
const { fillText } = CanvasRenderingContext2D.prototype;
CanvasRenderingContext2D.prototype.fillText = function (text, x, y, ...more) {
  if (text.startsWith("Person 1")) window.named.add(`${Math.round(x)} ${Math.round(y)}`);
  return fillText.call(this, text, x, y, ...more);
};
"""


@pytest.mark.parametrize(("motion", "stays"), [("reduce", True), ("no-preference", False)])
def test_with_reduced_motion_chips_follow_no_face(
    visit: OpenPage, server: FakeServer, motion: str, stays: bool
) -> None:
    with visit(WATCH_NAMES, reduced_motion=motion) as page:
        begin(page, server)
        server.send(MANY, state(0, happy="active") | ONE)
        server.send(faces(3.0, "p1.1"))
        named = "window.named.size"
        wait_until(page, lambda: page.evaluate(named) > 0, "the chip")
        server.send(faces(3.3, None, None, "p1.1"))
        count(page, "face", 2)
        if stays:
            page.wait_for_timeout(500)
            assert page.evaluate(named) == 1
        else:
            wait_until(page, lambda: page.evaluate(named) > 1, "the chip beside the face")


FRAMES = """new Promise((done) => {
  const video = document.getElementById("video");
  let frames = 0;
  const count = () => { frames += 1; video.requestVideoFrameCallback(count); };
  count();
  setTimeout(() => done(frames), 2000);
})"""


def test_the_picture_is_locked_to_its_outlines(page: Page, server: FakeServer) -> None:
    begin(page, server)
    picture = page.locator("#picture")
    expect(picture).to_be_hidden()
    zero = time.time() - 10.0
    clock = {"type": "clock", "person": "p1", "provisional": False, "unix_at_zero": zero}
    server.send(clock, state(0) | {"t": time.time() - zero})
    for _ in range(12):
        server.send(faces(time.time() - zero - 0.1, "p1") | {"person": "p1"})
        page.wait_for_timeout(100)
    expect(picture).to_be_visible()
    page.evaluate("document.getElementById('video').style.visibility = 'hidden'")
    corner = picture.bounding_box()
    assert corner is not None
    shot = page.screenshot(clip={**corner, "width": 40, "height": 40})
    with av.open(io.BytesIO(shot), "r") as png:
        red, green, blue = next(png.decode(video=0)).to_ndarray(format="rgb24")[20, 20]
    assert green > 100 > max(red, blue)  # the test picture, though its video is hidden
    page.evaluate("document.getElementById('video').style.visibility = ''")
    latencies = [entry["latency"] for entry in stats(page)["faces"] if entry["latency"]]
    assert latencies and min(latencies) > 0.1  # painted with their picture, not before
    locked = page.evaluate(FRAMES)
    page.get_by_role("button", name="Settings").click()
    page.get_by_role("checkbox", name="Show the picture a little later").uncheck()
    expect(picture).to_be_hidden()
    free = page.evaluate(FRAMES)
    assert locked > 0.65 * free, "the lock makes the camera slow"
