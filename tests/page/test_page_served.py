"""The page and the real server: let in by a ticket, recorded, withdrawn, erased."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from stream.audit import Head, verify
from stream.record_files import SessionFolder, sessions
from stream.tickets import new_ticket, sign
from tests.browser import agree, open_page, stats, wait_until
from tests.certificates import write_certificate
from tests.page.steps import DESKTOP, NEEDS_BROWSER
from tests.test_access import KEY, access
from tests.test_drain import running, url_of

pytestmark = [*NEEDS_BROWSER, pytest.mark.slow, pytest.mark.live]


def records_in(folder: Path) -> list[SessionFolder]:
    return [session for session in sessions(folder) if session.files()]


def test_from_the_ticket_to_the_receipt(browser: Browser, tmp_path: Path) -> None:
    folder = tmp_path / "records"
    with running("cheap", folder, access=access(tmp_path)) as server:
        url = url_of(server)
        with open_page(browser, url, viewport=DESKTOP) as page:
            expect(page.get_by_role("heading", name="A ticket is needed")).to_be_visible()
        ticket = sign(new_ticket("room", "anna"), KEY)
        with open_page(browser, f"{url}/#ticket={ticket}", viewport=DESKTOP) as page:
            for kind in ("Face points", "Voice", "Record"):
                page.get_by_role("checkbox", name=kind).check()
            page.get_by_role("button", name="Agree and start").click()
            expect(page.locator("#notice")).to_have_text(
                "Emotion estimates are running and recorded", timeout=15_000
            )
            wait_until(page, lambda: stats(page)["counts"].get("state", 0) >= 3, "estimates")
            [recorded] = records_in(folder)
            assert recorded.header("estimates")["subject"] == "anna"
            page.get_by_role("button", name="Withdraw").click()
            told = page.locator("#receipt")
            expect(told).to_contain_text("recorded lines were erased")
            with page.expect_download() as saving:
                told.get_by_role("link").click()
            receipt = json.loads(saving.value.path().read_text())
            assert records_in(folder) == []
            entry = Head(receipt["audit"]["n"], receipt["audit"]["hash"])
            assert verify(folder / "audit.log", entry).number >= entry.number
            page.get_by_role("checkbox", name="Voice").check()
            page.get_by_role("button", name="Agree and start").click()
            expect(page.locator("#problem")).to_contain_text("used already")
            with page.expect_popup() as opening:
                page.goto(url)
                page.evaluate("window.open('/notice')")
            expect(opening.value.get_by_role("heading", name="What is kept")).to_be_visible()


def got(page: Page, kind: str) -> int:
    """How many records of a kind have come."""
    found = page.evaluate("window.ldduStats")
    return int(found["counts"].get(kind, 0)) if found else 0


def reasons(page: Page) -> list[str | None]:
    """Of the newest states."""
    return [state["reason"] for state in stats(page)["states"][-3:]]


def test_what_a_person_does_in_a_call(browser: Browser, tmp_path: Path) -> None:
    """Pause and go on, another filter, a page for OBS, a floating window."""
    with running("cheap", tmp_path / "records") as server:
        url = url_of(server)
        with open_page(browser, url, viewport=DESKTOP) as page:
            agree(page, "Face points", "Voice")
            wait_until(page, lambda: got(page, "state") >= 3, "estimates")
            page.get_by_role("button", name="Pause").click()
            wait_until(page, lambda: set(reasons(page)) == {"paused"}, "the pause")
            seen = got(page, "face")
            page.wait_for_timeout(500)
            assert got(page, "face") == seen
            page.get_by_role("button", name="Go on").click()
            wait_until(page, lambda: "paused" not in reasons(page), "estimates after the pause")

            page.get_by_role("button", name="Settings").click()
            dialog = page.get_by_role("dialog", name="Settings")
            dialog.get_by_role("combobox", name="Smoothing").select_option("One-Euro")
            wait_until(page, lambda: got(page, "settings") == 3, "that the server smooths anew")
            link = dialog.get_by_role("textbox", name="Address").input_value()
            dialog.get_by_role("button", name="Close").click()
            with open_page(browser, link, viewport=DESKTOP) as source:
                wait_until(source, lambda: got(source, "state") >= 3, "states")
                page.bring_to_front()
                with page.expect_popup() as opening:
                    page.get_by_role("button", name="Float").click()
                expect(opening.value.locator(".notice")).to_contain_text("estimates are running")
                page.get_by_role("button", name="Stop").click()
                wait_until(page, opening.value.is_closed, "closing of the window")
                wait_until(source, lambda: stats(source) is None, "the end", seconds=20)
                expect(source.get_by_role("alert")).to_contain_text("it is over")


@pytest.mark.long
def test_a_published_call_over_a_browser_source(browser: Browser, tmp_path: Path) -> None:
    """As with OBS: FFmpeg publishes by WHIP, the transparent page shows what is estimated of it."""
    token = "a-token-of-sixteen-or-more"
    consent = {"face": True, "voice": True, "words": False}
    identity = write_certificate(tmp_path)
    whip = {"token": token, "consent": consent}
    with running("cheap", tmp_path / "records", whip=whip) as server:
        url = url_of(server)
        with open_page(browser, f"{url}/obs#token={token}&place=faces") as source:
            expect(source.get_by_role("alert")).to_have_text("No call is published.")
            command = [sys.executable, "-m", "tests.whip_publisher", f"{url}/whip", token]
            publisher = subprocess.Popen([*command, *map(str, identity), "30"])
            try:
                wait_until(source, lambda: got(source, "state") >= 3, "states", seconds=30)
                expect(source.get_by_role("alert")).to_be_hidden()
            finally:
                publisher.kill()
                publisher.wait()
