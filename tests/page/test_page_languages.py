"""The page in another language, and no sentence outside of stream/web/texts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser import wait_until
from tests.fake_server import HELLO, WEB, FakeServer, event, state
from tests.page.steps import NEEDS_BROWSER, OpenPage, count, row, verdict

pytestmark = [*NEEDS_BROWSER, pytest.mark.live]

PATHS = """async () => {
  const { LANGUAGES } = await import("/static/texts.js");
  const paths = (texts, at = "") => Object.entries(texts).flatMap(([key, value]) =>
    (typeof value === "object" ? paths(value, `${at}${key}.`) : [`${at}${key} ${typeof value}`]));
  return Object.fromEntries(Object.entries(LANGUAGES).map(([code, texts]) => [code, paths(texts)]));
}"""


def test_german_is_chosen_by_the_browser_and_can_be_changed(
    visit: OpenPage, server: FakeServer
) -> None:
    with visit(locale="de-AT") as page:
        assert page.evaluate("document.documentElement.lang") == "de"
        expect(page.get_by_role("heading", name="Bevor etwas beginnt")).to_be_focused()
        expect(page.locator("#start-what")).to_contain_text("Freude, Trauer, Ärger, Überraschung")
        for kind in ("Gesicht", "Stimme", "Worte"):
            page.get_by_role("checkbox", name=kind).first.check()
        page.get_by_role("button", name="Zustimmen und beginnen").click()
        wait_until(page, lambda: server.connected, "data channel")
        server.send(HELLO)
        server.send(state(0, happy="active", fear="unsure"), event("onset", "happy", 61.0, 61.0))
        count(page, "event", 1)
        assert verdict(page) == "Sieht aus nach: Freude\nUnsicher bei Angst."
        assert row(page, "Freude") == "Freude 82 % 75 bis 91 ● aktiv"
        expect(page.locator("#events li")).to_have_text(["Freude seit 1:01"])
        expect(page.locator("#notice")).to_have_text("Emotionen werden geschätzt")
        page.evaluate(
            "const s = document.getElementById('language'); s.value = 'en';"
            "s.dispatchEvent(new Event('change'))"
        )
        assert verdict(page) == "Looks like: happy\nNot sure about fear."
        expect(page.locator("#events li")).to_have_text(["happy since 1:01"])
        expect(page.locator("#notice")).to_have_text("Emotion estimates are running")
        assert page.evaluate("document.documentElement.lang") == "en"


def test_languages_have_the_same_texts(page: Page) -> None:
    found: dict[str, list[str]] = page.evaluate(PATHS)
    assert len(found) >= 2
    english = {path for path in found.pop("en") if not path.startswith("labels.")}
    for code, paths in found.items():
        others = {path for path in paths if not path.startswith("labels.")}
        assert others == english, code


@pytest.mark.parametrize("path", sorted(WEB.glob("*.js")), ids=lambda path: path.name)
def test_scripts_hold_no_sentences(path: Path) -> None:
    code = re.sub(r"//[^\n]*|/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
    strings: list[Any] = re.findall(r'"([^"\n]*)"|`([^`]*)`', code)
    texts = ["".join(pair) for pair in strings]
    said = [text for text in texts if re.search(r"[A-Za-z]{2,}[,.]? [a-z]{2,} [a-z]{2,}", text)]
    assert said == []


@pytest.mark.parametrize("path", sorted(WEB.glob("*.html")), ids=lambda path: path.name)
def test_pages_hold_no_sentences(path: Path) -> None:
    page = re.sub(
        r"<noscript>.*?</noscript>|<title>.*?</title>", "", path.read_text(), flags=re.DOTALL
    )
    assert re.sub(r"<[^>]*>|\s", "", page) == ""
    assert not re.search(r'aria-label="', page)


def test_nothing_says_feels() -> None:
    for path in (WEB / "texts").glob("*.js"):
        words = path.read_text().split("\n\n", maxsplit=1)[1]
        assert not re.search(r"\bfeel|\bfühl|Gefühl", words, flags=re.IGNORECASE), path.name
