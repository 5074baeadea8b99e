"""A tab that several people are in, shared live: ``python -m benchmarks.tab [--seconds 20]``.

Starts the server as people do; the page in headless Chromium shares itself, with a grid of real
clips over it (1280x720) and the sound of the first. ``faces_per_second`` is how often each face was
analysed, by the records that the page got, as a mean over all people; ``pictures_per_second`` how
many pictures were; ``load_records`` how often the call was told to go on with less or more,
``cores`` the processor time of server and browser. What comes in the first
seconds, until everybody is found, does not count. The last line is JSON, which also goes to
benchmarks/results/tab.json.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from benchmarks.live import RESULTS, default_clip, processor_seconds
from benchmarks.people_scenes import clips
from benchmarks.served import Served, serve
from benchmarks.told import tell
from tests.browser import stats, wait_until
from tests.tab_share import shared_tab

PATIENCE_S = 60.0


def measure(server: Served, media: Path, people: int, seconds: float) -> dict[str, Any]:
    with shared_tab(server.url, clips(media)[:people]) as page:
        wait_until(page, lambda: _found(page) == people, "everybody", seconds=PATIENCE_S)
        since, before = stats(page)["faces"][-1]["t"], processor_seconds(server.pid)
        begin = time.monotonic()
        while time.monotonic() < begin + seconds:
            page.wait_for_timeout(500)
        took = time.monotonic() - begin
        after = processor_seconds(server.pid)
        seen = [each for each in stats(page)["faces"] if each["t"] > since]
        return {
            "faces_per_second": round(sum(each["faces"] for each in seen) / people / took, 2),
            "pictures_per_second": round(len(seen) / took, 2),
            "load_records": stats(page)["counts"].get("load", 0),
            "cores": {name: round((after[name] - before[name]) / took, 2) for name in after},
            "load_average": round(os.getloadavg()[0], 1),
        }


def _found(page: Page) -> int:
    """Faces in the newest picture."""
    seen = stats(page)["faces"]
    return seen[-1]["faces"] if seen else 0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tab")
    parser.add_argument("--people", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--media", type=Path, default=default_clip().parent.parent)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    parser.add_argument("--out", type=Path, default=RESULTS / "tab.json")
    options = parser.parse_args()
    found: dict[str, Any] = {"seconds": options.seconds}
    with (
        tempfile.TemporaryDirectory(prefix="lddu-tab-") as folder,
        serve(Path(folder), *options.overrides) as server,
    ):
        for people in options.people:
            found[f"of_{people}"] = measure(server, options.media, people, options.seconds)
    tell("tab", found, options.out)


if __name__ == "__main__":
    main()
