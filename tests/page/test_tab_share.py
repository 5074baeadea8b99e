"""A shared tab in a real browser: the page shares itself, with two real people in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from benchmarks.people_scenes import clips
from benchmarks.served import serve
from tests.browser import FLAGS, stats, wait_until
from tests.page.steps import NEEDS_BROWSER
from tests.tab_share import shared_tab

pytestmark = [*NEEDS_BROWSER, pytest.mark.long, pytest.mark.live]


@pytest.fixture(scope="module")
def page(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    assert not any("fake" in each for each in FLAGS)
    with (
        serve(tmp_path_factory.mktemp("served")) as server,
        shared_tab(server.url, clips(shared / "media")[:2]) as opened,
    ):
        yield opened


def test_both_people_in_a_shared_tab_are_followed(page: Page) -> None:
    def two() -> bool:
        latest = stats(page)["faces"][-10:]
        return len([each for each in latest if each["faces"] >= 2]) >= 5

    wait_until(page, two, "two faces", seconds=60)
    expect(page.locator("#stage")).to_have_attribute("data-source", "tab")
    wait_until(page, lambda: stats(page)["counts"].get("state", 0) >= 8, "states", seconds=60)
    assert stats(page)["counts"]["person"] >= 2


def test_the_sound_of_the_tab_is_heard(page: Page) -> None:
    def heard() -> bool:
        return len(stats(page)["transcripts"]) >= 3

    wait_until(page, heard, "transcripts", seconds=60)
