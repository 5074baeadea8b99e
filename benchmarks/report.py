"""How fast a long report opens and scrubs: ``python -m benchmarks.report RECORDS.jsonl``.

The records of a real analysis (one person) are repeated for ``--people`` people over ``--hours``,
each person starting elsewhere in them, with some noise (what repeats would be packed too well), and
become a report of one file. Chromium opens it offline
from disk, without its recording. ``open_s``: from the start of loading until everything in view was
painted. ``scrub_ms``: from a pointer event on a timeline until the frame after the one that shows
it, over a drag through the whole recording; ``zoom_ms`` the same for a change of zoom, which draws
every timeline in view anew. The last line is JSON, which also goes to
benchmarks/results/report.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Page, sync_playwright

from stream.columns import gather, lines
from stream.report.build import material_of, write_report
from tests.browser import launch

PROJECT = Path(__file__).resolve().parent.parent
RESULTS = PROJECT / "benchmarks/results/report.json"

OPEN_S, SCRUB_MS = 3.0, 100.0
"""What is to be reached; a tenth of a second is what people take for at once."""

MOVES = 120
NOISE = 0.02
"""Standard deviation, of a probability."""

PAINTED = """
() => new Promise((done) => {
  const start = performance.now();
  requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - start)));
})
"""
WATCH = """
() => {
  window.waits = [];
  document.addEventListener("pointermove", () => {
    const start = performance.now();
    requestAnimationFrame(() => {
      const channel = new MessageChannel();
      channel.port1.onmessage = () => window.waits.push(performance.now() - start);
      channel.port2.postMessage(0);
    });
  }, true);
}
"""


def repeated(path: Path, people: Sequence[str], seconds: float) -> Iterator[dict[str, Any]]:
    """The records of `path` for `people` and `seconds`: each state comes as often as it fits."""
    records = list(lines(path))
    hello = records[0]
    length = max(r["t"] for r in records if r["type"] == "state")
    length = np.ceil(length / hello["hop_s"]) * hello["hop_s"]
    yield {**hello, "person": people[0], "many": len(people) > 1, "session": "long.webm"}
    kept = [r for r in records if r["type"] in ("state", "smoothed", "event", "face", "transcript")]
    for k, person in enumerate(people):
        shift = k * length / len(people)
        for turn in range(int(seconds / length) + 1):
            for record in kept:
                yield from _moved(record, person, people, turn, turn * length + shift, seconds)
    yield {"type": "end", "reason": "finished"}


def _moved(
    record: dict[str, Any], person: str, people: Sequence[str], turn: int, by: float, end: float
) -> Iterator[dict[str, Any]]:
    moved = {**record, "person": person}
    for name in ("t", "t0", "t1", "onset"):
        if name in record:
            moved[name] = round(record[name] + by, 4)
    if moved.get("t", moved.get("t0", 0.0)) > end:
        return
    if record["type"] == "transcript":
        if turn % len(people) != people.index(person):
            return  # one speaks at a time
        moved["words"] = [
            {**word, "t0": word["t0"] + by, "t1": word["t1"] + by} for word in record["words"]
        ]
    if "labels" in record:
        moved["labels"] = {name: _noisy(label) for name, label in record["labels"].items()}
    if record["type"] == "event":
        moved["peak"] = {**record["peak"], "t": record["peak"]["t"] + by}
    if record["type"] == "face":
        moved["faces"] = [{**face, "person": person, "outlines": []} for face in record["faces"]]
    yield moved


def _noisy(label: dict[str, Any]) -> dict[str, Any]:
    shift = random.gauss(0.0, NOISE)
    moved = [min(1.0, max(0.0, x + shift)) for x in (label["probability"], *label["interval"])]
    return {**label, "probability": moved[0], "interval": moved[1:]}


def opened(page: Page, report: Path) -> float:
    """Seconds until the report was painted."""
    page.goto(report.as_uri(), wait_until="commit")
    page.wait_for_selector("html[data-ready]", timeout=60_000)
    return float(page.evaluate("Number(document.documentElement.dataset.ready)")) / 1000


def scrubbed(page: Page, selector: str) -> list[float]:
    """Milliseconds of each of ``MOVES`` moves along an element."""
    box = page.locator(selector).first.bounding_box()
    assert box is not None
    y = box["y"] + min(20.0, box["height"] / 2)
    page.mouse.move(box["x"] + 1, y)
    page.mouse.down()
    page.evaluate("window.waits = []")
    for k in range(MOVES):
        page.mouse.move(box["x"] + 1 + (box["width"] - 2) * k / MOVES, y)
    page.mouse.up()
    page.wait_for_timeout(300)
    found: list[float] = page.evaluate("window.waits")
    return found


def zoomed(page: Page) -> list[float]:
    waits = []
    for name in ["Zoom in"] * 8 + ["Zoom out"] * 8:
        page.evaluate(f"document.querySelector('[aria-label=\"{name}\"]').click()")
        waits.append(float(page.evaluate(PAINTED)))
    return waits


def told(values: Sequence[float]) -> dict[str, float]:
    p50, p95, most = np.percentile(values, [50, 95, 100]).round(1).tolist()
    return {"p50": p50, "p95": p95, "max": most, "n": len(values)}


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast a long report opens and scrubs.")
    parser.add_argument("records", type=Path, help="JSONL of python -m stream.replay")
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--hours", type=float, default=3.0)
    parser.add_argument("--keep", type=Path, help="also leave the report here")
    options = parser.parse_args()
    random.seed(1)
    people = [f"p1.{k + 1}" for k in range(options.people)]
    row: dict[str, Any] = {"people": options.people, "hours": options.hours}
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        columns = gather(repeated(options.records, people, 3600 * options.hours))
        row["gather_cpu_s"] = round(time.process_time() - start, 1)
        row["states"] = sum(len(t) for t in chain(columns.states.values()))
        start = time.process_time()
        report = write_report(material_of(columns, None), Path(folder) / "report.html")
        row["build_cpu_s"] = round(time.process_time() - start, 1)
        row["megabytes"] = round(report.stat().st_size / 1e6, 2)
        row["load_before"] = round(os.getloadavg()[0], 2)
        with sync_playwright() as playwright, launch(playwright, []) as browser:
            opens = []
            for _ in range(5):
                size = {"width": 1280, "height": 900}
                context = browser.new_context(viewport=size, offline=True)  # type: ignore[arg-type]
                page = context.new_page()
                opens.append(opened(page, report))
                if len(opens) < 5:
                    context.close()
            row["open_s"] = [round(each, 2) for each in opens]
            page.evaluate(WATCH)
            page.locator("#timelines").scroll_into_view_if_needed()
            page.wait_for_timeout(500)
            row["scrub_lane_ms"] = told(scrubbed(page, "#lanes canvas"))
            row["scrub_overview_ms"] = told(scrubbed(page, "#overview"))
            row["zoom_ms"] = told(zoomed(page))
        if options.keep is not None:
            report.replace(options.keep)
    for name, value in row.items():
        print(f"{name:>18}  {value}")
    print(f"{'to be reached':>18}  open_s <= {OPEN_S}, scrub p95 <= {SCRUB_MS} ms")
    line = json.dumps({"benchmark": "report", **row})
    RESULTS.write_text(line + "\n", encoding="utf-8")
    print(line)


if __name__ == "__main__":
    main()
