"""The report as its readers have it: a file opened in Chromium, without any network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from stream.columns import gather
from stream.report.build import material_of, write_report
from tests import recordings
from tests.browser import open_page, wait_until
from tests.made_records import made_records
from tests.page.steps import NEEDS_BROWSER, PHONE

pytestmark = [*NEEDS_BROWSER, pytest.mark.live]

PEOPLE = ("p1.1", "p1.2", "p1.3")
SECONDS = 40.0
SMALL = {"width": 1000, "height": 500}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of three people, with a recording beside it."""
    folder = tmp_path_factory.mktemp("report")
    video = folder / "media/made.webm"
    video.parent.mkdir()
    recordings.write(video, audio="libopus", video="libvpx", seconds=SECONDS, fps=10)
    columns = gather(made_records(SECONDS, PEOPLE, seed=3))
    return write_report(material_of(columns, None, recording=video), folder / "report.html")


@contextmanager
def opened(browser: Browser, report: Path, **options: Any) -> Iterator[Page]:
    """The report, offline; it may ask for its own files only."""
    asked: list[str] = []
    chosen = {"viewport": SMALL, "offline": True, "reduced_motion": "reduce", **options}
    with open_page(browser, "about:blank", **chosen) as page:
        page.on("request", lambda request: asked.append(request.url))
        page.goto(report.as_uri())
        page.wait_for_selector("html[data-ready]")
        yield page
    allowed = (report.parent.as_uri(), "data:", "blob:")
    assert asked and all(url.startswith(allowed) for url in asked), asked


@pytest.fixture
def page(browser: Browser, report: Path) -> Iterator[Page]:
    with opened(browser, report) as running:
        wait_until(running, lambda: ready(running), "the recording")
        yield running


def ready(page: Page) -> bool:
    return bool(page.evaluate("document.getElementById('video').readyState >= 2"))


def video_time(page: Page) -> float:
    return float(page.evaluate("document.getElementById('video').currentTime"))


def text(page: Page, selector: str) -> str:
    return page.locator(selector).inner_text()


def span_of(page: Page, selector: str) -> tuple[float, float]:
    """Left edge and width, in CSS pixels."""
    box = page.locator(selector).bounding_box()
    assert box
    return box["x"], box["width"]


def inked(page: Page, selector: str) -> int:
    """Number of different colours in a canvas."""
    found: int = page.evaluate(
        """selector => {
          const canvas = document.querySelector(selector);
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          return new Set(new Uint32Array(data.buffer)).size;
        }""",
        selector,
    )
    return found


def test_scrubbing_takes_picture_overlay_transcript_and_values_along(page: Page) -> None:
    assert "guesses about expression" in text(page, ".notice")
    assert page.locator("#lanes .person").count() == 3
    lane = page.locator("#lanes canvas").first
    lane.scroll_into_view_if_needed()
    box = lane.bounding_box()
    assert box
    said = float(page.locator(".seg").nth(6).get_attribute("data-t") or 0) + 1.0
    page.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + 20)
    page.mouse.down()
    for t in (said - 5, said + 5, said):
        page.mouse.move(box["x"] + box["width"] * t / SECONDS, box["y"] + 20)
    page.mouse.up()
    wait_until(page, lambda: abs(video_time(page) - said) < 0.15, "the picture")
    assert abs(float(text(page, "#clock").removeprefix("0:")) - said) < 0.3
    assert "p1.1" in text(page, "#readout") and "happy" in text(page, "#readout")
    assert page.locator(".seg.here").count() == 1
    assert "%" in page.locator("#lanes .names").first.inner_text()
    assert any(each in text(page, "#now") for each in ("Looks like", "Not sure"))
    wait_until(page, lambda: inked(page, "#overlay") > 3, "labels on the picture")
    page.get_by_label("Labels on the picture").uncheck()
    assert inked(page, "#overlay") == 1
    assert inked(page, "#lanes canvas") > 10 and inked(page, "#overview canvas") > 2


def test_transcript_moments_and_keys_jump(page: Page) -> None:
    segment = page.locator(".seg").nth(5)
    at = float(segment.get_attribute("data-t") or 0)
    segment.click()
    wait_until(page, lambda: abs(video_time(page) - at) < 0.1, "the segment's time")
    assert "here" in (segment.get_attribute("class") or "")
    link = page.locator("#moments a.jump").first
    link.click()
    moment = float(link.get_attribute("data-t") or 0)
    wait_until(page, lambda: abs(video_time(page) - moment) < 0.1, "the event's time")
    page.keyboard.press("Home")  # a link has the focus: it is left alone
    page.locator("#overview").focus()
    page.keyboard.press("Home")
    wait_until(page, lambda: video_time(page) < 0.05, "the beginning")
    for key, t in (("ArrowRight", 1.0), ("Shift+ArrowRight", 11.0), (",", 10.9)):
        page.keyboard.press(key)
        wait_until(page, lambda t=t: abs(video_time(page) - t) < 0.05, key)  # type: ignore[misc]
    page.keyboard.press("n")
    wait_until(page, lambda: video_time(page) > 10.95, "the next moment")
    assert page.locator("#overview").get_attribute("aria-valuenow") == f"{video_time(page):.1f}"
    page.keyboard.press("?")
    assert page.get_by_role("dialog").is_visible()
    page.keyboard.press("Escape")


def test_playing_moves_on_and_zooming_follows(page: Page) -> None:
    for _ in range(4):
        page.get_by_role("button", name="Zoom in").click()
    left, whole = span_of(page, "#overview")
    # the page redraws before its next frame, not while it is clicked
    wait_until(page, lambda: span_of(page, "#overview .window")[1] < whole / 15, "zoomed in")
    page.get_by_role("button", name="Play", exact=True).click()
    wait_until(page, lambda: video_time(page) > 1.0, "playing")
    page.get_by_role("button", name="Pause").click()
    page.locator("#overview").focus()
    page.keyboard.press("End")
    wait_until(page, lambda: video_time(page) > SECONDS - 1, "the end")
    wait_until(page, lambda: sum(span_of(page, "#overview .window")) > left + whole - 5, "moved")
    box = "document.getElementById('transcript')"
    assert page.evaluate(f"{box}.scrollHeight > {box}.clientHeight && {box}.scrollTop > 0")
    as_live = inked(page, "#overview canvas")
    page.get_by_label("By the whole recording").uncheck()
    page.get_by_role("button", name="All").click()
    assert as_live > 1


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_serious(browser: Browser, report: Path, dark: bool) -> None:
    scheme = "dark" if dark else "light"
    with opened(browser, report, viewport=PHONE, color_scheme=scheme) as page:
        assert page.evaluate("document.documentElement.dataset.theme") == scheme
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        notice = page.locator(".notice")
        page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
        assert notice.is_visible()
        box = notice.bounding_box()
        assert box and 0 <= box["y"] < 200, "the notice stays in view"
        assert serious(page) == []


def serious(page: Page) -> list[tuple[str, str]]:
    """What axe-core finds: rule and first place."""
    return [
        (each["id"], each["nodes"][0]["html"])
        for each in Axe().run(page).response["violations"]
        if each["impact"] in ("serious", "critical")
    ]


def test_a_report_of_nobody(browser: Browser, tmp_path: Path) -> None:
    kept = ("hello", "end")
    columns = gather(each for each in made_records(20.0, PEOPLE) if each["type"] in kept)
    empty = write_report(material_of(columns, None), tmp_path / "empty.html")
    with opened(browser, empty) as page:
        assert "Nobody was estimated" in text(page, "#readout")
        page.get_by_role("button", name="Next moment").click()
        assert serious(page) == []


def test_without_its_recording_the_report_still_moves(
    browser: Browser, report: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "alone.html"
    alone.write_text(report.read_text(encoding="utf-8"), encoding="utf-8")
    with opened(browser, alone) as page:
        wait_until(page, lambda: page.locator("#missing").is_visible(), "the message")
        assert "could not open made.webm" in text(page, "#missing-text")
        page.locator(".seg").nth(3).click()
        assert text(page, "#clock") != "0:00.0"
        page.get_by_role("button", name="Play", exact=True).click()
        before = text(page, "#clock")
        wait_until(page, lambda: text(page, "#clock") != before, "the clock")
        page.set_input_files("#choose", report.parent / "media/made.webm")
        wait_until(page, lambda: ready(page), "the chosen recording")
        assert page.locator("#missing").is_hidden()


def test_a_picture_that_the_browser_cannot_decode_is_told(browser: Browser, tmp_path: Path) -> None:
    """MPEG-4 Visual, which no browser plays; HEVC of telephones is like that in many."""
    video = recordings.write(tmp_path / "made.mp4", audio="libopus", video="mpeg4", seconds=10.0)
    columns = gather(made_records(10.0))
    path = write_report(material_of(columns, None, recording=video), tmp_path / "a.html")
    with opened(browser, path) as page:
        wait_until(page, lambda: page.locator("#missing").is_visible(), "the message")
        assert "plays only the sound of made.mp4" in text(page, "#missing-text")
        page.get_by_role("button", name="Play", exact=True).click()
        wait_until(page, lambda: video_time(page) > 0.3, "the sound")


def test_a_recording_of_sound_alone_takes_no_room_for_a_picture(
    browser: Browser, tmp_path: Path
) -> None:
    sound = recordings.write(tmp_path / "made.webm", audio="libopus", seconds=10.0)
    columns = gather(each for each in made_records(10.0) if each["type"] != "face")
    path = write_report(material_of(columns, None, recording=sound), tmp_path / "a.html")
    with opened(browser, path) as page:
        stage = "document.getElementById('stage').clientHeight"
        wait_until(page, lambda: page.evaluate(stage) < 100, "a low stage")
        assert page.locator("#missing").is_hidden()
        page.get_by_role("button", name="Play", exact=True).click()
        wait_until(page, lambda: video_time(page) > 0.3, "the sound")


PRINTED = """() => {
  const controls = document.querySelectorAll("#stage, #play, #cursor, #theme, #follow");
  const box = document.getElementById("transcript");
  return {
    cut: box.scrollHeight - box.clientHeight,
    controls: [...controls].filter((e) => e.getClientRects().length).map((e) => e.id),
  };
}"""


def test_on_paper_everything_is_there_and_dark_on_white(browser: Browser, report: Path) -> None:
    with opened(browser, report, color_scheme="dark") as page:
        page.evaluate("""addEventListener("beforeprint", () => {
            window.theme = document.documentElement.dataset.theme;
            const canvas = [...document.querySelectorAll("#lanes canvas")].at(-1);
            const [r, g, b] = canvas.getContext("2d").getImageData(canvas.width - 2, 2, 1, 1).data;
            window.ground = r + g + b;
          });""")
        page.pdf()
        themes = page.evaluate("[window.theme, document.documentElement.dataset.theme]")
        assert themes == ["light", "dark"], "it comes back as it was"
        assert page.evaluate("window.ground") > 600, "rows below the screen are painted, too"
        page.emulate_media(media="print")
        printed = page.evaluate(PRINTED)
        assert printed["cut"] <= 1, "the whole transcript"
        assert printed["controls"] == []


def test_parts_are_not_hidden_under_the_notice(browser: Browser, report: Path) -> None:
    with opened(browser, report, viewport=PHONE) as page:
        page.get_by_role("link", name="Timelines").click()
        top = page.locator(".top").bounding_box()
        title = page.get_by_role("heading", name="Timelines").bounding_box()
        assert top and title and title["y"] >= top["y"] + top["height"]
        page.keyboard.press("End")
        cut = "all => all.filter(e => e.scrollWidth > e.clientWidth).map(e => e.textContent)"
        assert page.locator("#lanes .names div").evaluate_all(cut) == []
