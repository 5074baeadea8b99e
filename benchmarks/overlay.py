"""The page with many people, measured: ``python -m benchmarks.overlay [--seconds 20]``.

A talking clip goes through the pipeline once; its records (states, events, outlines, transcripts),
each person's at another offset, come to the page ten times per second over a WebSocket, over a
picture of 1280x720 in which the clip is shown as often. Chromium traces its main thread meanwhile:
*busy* is the share of time for which that thread used the processor (thread clock, so that the load
of others does not count), *occupied* the share that its tasks took by the wall clock. Frames are
animation frames.

The last line is JSON; it is also written to benchmarks/results.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.live import RESULTS, default_clip
from tests.browser import GRANT, agree, launch, open_page, stats, wait_until
from tests.fake_media import FAKE_DEVICE
from tests.fake_server import HELLO, FakeServer, fake_server

Record = dict[str, Any]
SIZE = (1280, 720)
RATE = 10.0
FPS = 30
CATEGORIES = ["toplevel", "__metadata"]
TASK = "ThreadControllerImpl::RunTask"
COUNT_FRAMES = """
window.frames60 = 0;
const count = () => { window.frames60 += 1; requestAnimationFrame(count); };
requestAnimationFrame(count);
"""


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the page with many people.")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--clip", type=Path, default=default_clip())
    parser.add_argument("--out", type=Path, default=RESULTS / "overlay.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lddu-overlay-") as name:
        folder = Path(name)
        records = replay(arguments.clip, folder)
        camera = compose(arguments.clip, folder / "grid.y4m", arguments.people)
        runs = {
            f"{what}{'' if lock else '_unlocked'}": run(
                camera, records if what == "people" else [], arguments, lock=lock
            )
            for what, lock in (("people", True), ("people", False), ("idle", True))
        }
    result = {
        "benchmark": "overlay",
        "people": arguments.people,
        "updates_per_second": RATE,
        "picture": SIZE,
        "seconds": arguments.seconds,
        "clip": arguments.clip.name,
        "processors": os.cpu_count(),
        "commit": commit(),
        **runs,
    }
    show(result)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))
    return 0


def replay(clip: Path, folder: Path) -> list[Record]:
    """The records of a clip, ten windows per second, with outlines."""
    changes = (f"window.hop={1 / RATE}", "outlines=true", "two_sided=false")
    options = [word for change in changes for word in ("--set", change)]
    command = [sys.executable, "-m", "stream.replay", str(clip), "--out", str(folder / "replay")]
    subprocess.run([*command, "--no-report", *options], check=True, stdout=subprocess.DEVNULL)
    [path] = (folder / "replay").rglob("*.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def compose(clip: Path, path: Path, people: int) -> Path:
    """A camera that shows the clip once per person, in tiles."""
    width, height = SIZE
    columns, rows = grid(people)
    tile = (width // columns // 2 * 2, height // rows // 2 * 2)
    with av.open(str(clip)) as container, path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{width} H{height} F{FPS}:1 Ip A1:1 C420jpeg\n".encode())
        for frame in container.decode(video=0):
            small = frame.reformat(width=tile[0], height=tile[1], format="rgb24").to_ndarray()
            whole = np.zeros((height, width, 3), np.uint8)
            tiled: NDArray[np.uint8] = np.tile(small, (rows, columns, 1))
            whole[: tiled.shape[0], : tiled.shape[1]] = tiled
            picture = av.VideoFrame.from_ndarray(whole, format="rgb24").reformat(format="yuv420p")
            file.write(b"FRAME\n" + picture.to_ndarray().tobytes())
    return path


def grid(people: int) -> tuple[int, int]:
    """Columns and rows of tiles."""
    columns = int(np.ceil(np.sqrt(people)))
    return (4, 2) if people == 8 else (columns, -(-people // columns))


def stream(records: Sequence[Record], people: int) -> Iterator[list[Record]]:
    """Per tenth of a second what comes of everybody, over and over; t goes on."""
    kinds = ("state", "event", "transcript", "face")
    timed = [(_time(record), record) for record in records if record["type"] in kinds]
    first = min(t for t, record in timed if record["type"] == "state" and record["labels"])
    steps = int((max(t for t, _ in timed) - first) * RATE)
    by_step: list[list[Record]] = [[] for _ in range(steps)]
    for t, record in timed:
        if t >= first:
            by_step[min(steps - 1, int((t - first) * RATE))].append(record)
    now = 0
    while True:
        out: list[Record] = []
        faces: list[Record] = []
        for n in range(people):
            at = (now + n * steps // people) % steps
            for record in by_step[at]:
                moved = move(record, n, people, now / RATE, now)
                faces += moved.pop("faces", [])
                if record["type"] != "face":
                    out.append(moved)
        if faces:
            whole = {"type": "face", "person": "p1", "t": now / RATE, "lag_s": 0.0}
            out.append(whole | {"faces": faces})
        yield out
        now += 1


def _time(record: Record) -> float:
    t: float = record["t"] if "t" in record else record["t1"]
    return t


def move(record: Record, n: int, people: int, t: float, index: int) -> Record:
    """The record as that of person `n` at `t`, its face in the tile of that person."""
    columns, rows = grid(people)
    column, row = n % columns, n // columns
    person = f"p1.{n + 1}"
    moved = copy.deepcopy(record) | {"person": person}
    for key in ("t", "onset", "t0", "t1"):
        if key in moved:
            moved[key] = t
    if "index" in moved:
        moved["index"] = index
    for face in moved.get("faces", [])[:1]:
        face["person"] = person
        x0, y0, x1, y1 = face["box"]
        face["box"] = [(x0 + column) / columns, (y0 + row) / rows]
        face["box"] += [(x1 + column) / columns, (y1 + row) / rows]
        face["outlines"] = [
            [[round((x + column) / columns, 4), round((y + row) / rows, 4)] for x, y in line]
            for line in face["outlines"]
        ]
    if "faces" in moved:
        moved["faces"] = moved["faces"][:1]
    return moved


def run(
    camera: Path, records: Sequence[Record], arguments: argparse.Namespace, *, lock: bool
) -> dict[str, Any]:
    """Figures of one page: with records, or (none given) with nothing but its picture."""
    flags = [GRANT, FAKE_DEVICE, f"--use-file-for-fake-video-capture={camera}"]
    kept = json.dumps({"lock": lock})
    script = f"localStorage.setItem('lddu-live.settings', {json.dumps(kept)});{COUNT_FRAMES}"
    with ExitStack() as stack:
        server = stack.enter_context(fake_server())
        server.channels = False
        server.config["video"] = {"width": SIZE[0], "height": SIZE[1], "frame_rate": FPS}
        playwright = stack.enter_context(sync_playwright())
        browser = stack.enter_context(launch(playwright, flags))
        viewport = {"width": SIZE[0], "height": SIZE[1]}
        page = stack.enter_context(open_page(browser, server.url, viewport=viewport, script=script))
        ready = page.evaluate("performance.getEntriesByName('ready')[0]?.startTime")
        begin(page, server)
        feed = stream(records, arguments.people) if records else iter(list, None)
        send(page, server, feed, 4.0)  # as much as it takes until everything is shown
        with traced(browser, page) as trace:
            before = page.evaluate("[performance.now(), window.frames60]")
            sent = send(page, server, feed, arguments.seconds)
            after = page.evaluate("[performance.now(), window.frames60]")
        seconds = (after[0] - before[0]) / 1000
        counts = stats(page)["counts"]
    busy, occupied = main_thread(trace)
    return {
        "frames_per_second": round((after[1] - before[1]) / seconds, 1),
        "main_thread_busy": round(busy, 3),
        "main_thread_occupied": round(occupied, 3),
        "records_per_second": round(sent / seconds, 1),
        "received": sum(counts.values()),
        "ready_ms": ready and round(ready),
        "load_average": [round(x, 1) for x in os.getloadavg()],
    }


def begin(page: Page, server: FakeServer) -> None:
    agree(page, "Face points")
    wait_until(page, lambda: server.connected, "WebSocket")
    server.send(HELLO | {"many": True, "source": "tab"})
    zero = time.time()
    server.send({"type": "clock", "person": "p1", "provisional": False, "unix_at_zero": zero})


def send(page: Page, server: FakeServer, feed: Iterator[list[Record]], seconds: float) -> int:
    """Let records come in time; how many there were."""
    sent = 0
    start = time.monotonic()
    for step in range(int(seconds * RATE)):
        records = next(feed)
        if records:
            server.send(*records)
        sent += len(records)
        wait = start + (step + 1) / RATE - time.monotonic()
        if wait > 0:
            page.wait_for_timeout(1000 * wait)
    return sent


@contextmanager
def traced(browser: Browser, page: Page) -> Iterator[list[dict[str, Any]]]:
    """Chromium's own account of what its threads did; filled at the end."""
    events: list[dict[str, Any]] = []
    browser.start_tracing(page=page, categories=CATEGORIES)
    try:
        yield events
    finally:
        events += json.loads(browser.stop_tracing())["traceEvents"]


def main_thread(trace: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """Shares of time: processor time of the page's main thread, and wall time of its tasks."""
    mains = {
        (event["pid"], event["tid"])
        for event in trace
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    tasks: dict[tuple[int, int], list[dict[str, Any]]] = {main: [] for main in mains}
    for event in trace:
        where = (event["pid"], event["tid"])
        if where in tasks and event["name"] == TASK and event["ph"] == "X":
            tasks[where].append(event)
    busiest = max(tasks.values(), key=len)
    first = min(event["ts"] for event in busiest)
    last = max(event["ts"] + event["dur"] for event in busiest)
    span = last - first
    return (
        sum(event.get("tdur", 0) for event in busiest) / span,
        sum(event["dur"] for event in busiest) / span,
    )


def commit() -> str:
    return subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, check=True, text=True
    ).stdout.strip()


def show(result: dict[str, Any]) -> None:
    for name, run in result.items():
        if isinstance(run, dict):
            print(
                f"{name:16} {run['frames_per_second']:5.1f} frames/s, main thread busy "
                f"{100 * run['main_thread_busy']:.0f} %, occupied "
                f"{100 * run['main_thread_occupied']:.0f} %, load {run['load_average']}"
            )


if __name__ == "__main__":
    sys.exit(main())
