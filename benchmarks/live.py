"""A live call, measured from its page: ``python -m benchmarks.live [--seconds 60] [--calls 1|2]``.

Starts the server as people do, opens its page in headless Chromium with a talking clip as camera
and microphone, and reads ``window.ldduStats`` when the time is up. The browser runs on the same
machine: capture, encoding, drawing and reading the clip are part of the load. The clip starts with
silence, so that the first words find the call connected, and is played over and over.

Latencies run from capture to the animation frame in which the result is drawn, by the wall clock
of this machine. The last line is JSON; it is also written to benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import sync_playwright
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from benchmarks import live_figures as figures
from benchmarks.served import Served, fetch, serve
from benchmarks.stock_whisper import transcribe
from tests.browser import GRANT, agree, launch, open_page, stats
from tests.fake_media import FakeMedia, fake_media

PROJECT = Path(__file__).parent.parent
RESULTS = PROJECT / "benchmarks" / "results"
CLIP = "media/talking/WDA_AlexandriaOcasioCortez_000.mp4"
ROWS = ("landmark", "estimate", "estimate_any", "revised_state", "caption")
LISTENING = ("vad", "voice", "transcribe")
"""Mailboxes that sound goes through."""
LOSSES = ("packets_lost", "audio_gaps")
"""Counts of received sound that mean that some of it is missing."""
LIVE_PICTURE = "localStorage.setItem('lddu-live.settings', '{\"lock\": false}');"
LEAD_S = 2.5
WINDOW_S = 3.0
PACKAGES = ("aiortc", "av", "ctranslate2", "faster-whisper", "mediapipe", "numpy", "torch")


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure a live call from its page.")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--calls", type=int, choices=(1, 2), default=1)
    parser.add_argument("--clip", type=Path, default=default_clip())
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/live[-2calls].json")
    parser.add_argument(
        "--live-picture", action="store_true", help="do not lock the picture to its outlines"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lddu-live-") as folder:
        media = fake_media(arguments.clip, Path(folder), lead=LEAD_S)
        reference = transcribe(media.audio)
        with serve(Path(folder), *arguments.overrides) as server:
            script = LIVE_PICTURE if arguments.live_picture else ""
            browser, pages, cores = call(server, media, arguments.calls, arguments.seconds, script)
            metrics = fetch(f"{server.url}/metrics")
    rounds = max(1, int(arguments.seconds // media.seconds))
    result = {
        "benchmark": "live",
        "calls": [figure(page, reference, rounds) for page in pages],
        "server": server_figures(metrics),
        "cores": cores,
        "clip": arguments.clip.name,
        "seconds": arguments.seconds,
        **environment(browser),
    }
    show(result)
    suffix = "" if arguments.calls == 1 else f"-{arguments.calls}calls"
    out = arguments.out or RESULTS / f"live{suffix}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))
    return 0


def default_clip() -> Path:
    shared = Path(os.environ.get("LDDU_SHARED") or PROJECT.parent / "shared")
    return shared / CLIP


def call(
    server: Served, media: FakeMedia, calls: int, seconds: float, script: str
) -> tuple[str, list[figures.Stats], dict[str, float]]:
    """The browser's version, what each page recorded in so many seconds, and cores in use."""
    with ExitStack() as stack:
        playwright = stack.enter_context(sync_playwright())
        browser = stack.enter_context(launch(playwright, [GRANT, *media.flags]))
        pages = [
            stack.enter_context(open_page(browser, server.url, script=script)) for _ in range(calls)
        ]
        for page in pages:
            agree(page, "Face", "Voice", "Words")
        start, before = time.monotonic(), processor_seconds(server.pid)
        while time.monotonic() < start + seconds:
            pages[0].wait_for_timeout(500)
        after = processor_seconds(server.pid)
        cores = {name: round((after[name] - before[name]) / seconds, 2) for name in after}
        return browser.version, [stats(page) for page in pages], cores


def processor_seconds(server: int) -> dict[str, float]:
    """Processor time so far of the server and of the browser, with all that they started."""
    children = psutil.Process(server).children(recursive=True)
    mine = {server, *(child.pid for child in children)}
    used = {"server": 0.0, "browser": 0.0}
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            used["server" if process.pid in mine else "browser"] += times.user + times.system
    return used


def figure(page: figures.Stats, reference: str, rounds: int) -> dict[str, Any]:
    """All figures of one call."""
    revisions, unrevised = figures.revision_lags(page, WINDOW_S)
    return {
        "landmark": figures.spread(figures.landmark_latencies(page)),
        "estimate": figures.spread(figures.estimate_latencies(page)),
        "estimate_any": figures.spread(figures.estimate_latencies(page, complete_only=False)),
        "revised_state": {**figures.spread(revisions), "words_without": unrevised},
        "caption": figures.spread(figures.caption_lags(page)),
        "estimates_per_second": round(figures.estimates_per_second(page), 2),
        "caption_recall": round(figures.caption_recall(reference, page, rounds), 3),
        "counts": page["counts"],
    }


def environment(browser: str) -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return {
        "command": " ".join([Path(sys.executable).name, "-m benchmarks.live", *sys.argv[1:]]),
        "commit": commit,
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()}",
        "versions": {
            "python": platform.python_version(),
            "chromium": browser,
            **{name: version(name) for name in PACKAGES},
        },
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def server_figures(metrics: str) -> dict[str, Any]:
    """Stalls of the event loop and lost sound, as the server counts them (docs of /metrics)."""
    found = {family.name: family.samples for family in text_string_to_metric_families(metrics)}
    dropped = {
        (sample.labels["mailbox"], sample.labels["reason"]): int(sample.value)
        for sample in found.get("lddu_mailbox_dropped", [])
        if sample.name.endswith("_total") and sample.labels["reason"] != "superseded"
    }
    received = {
        (sample.labels["track"], sample.labels["what"]): int(sample.value)
        for sample in found.get("lddu_received", [])
        if sample.name.endswith("_total")
    }
    lost = {key: n for key, n in dropped.items() if key[0] in LISTENING}
    lost |= {key: n for key, n in received.items() if key[0] == "audio" and key[1] in LOSSES}
    stalls = found["lddu_event_loop_stall_seconds"]
    return {
        "stall_p99_below_ms": _bucket_quantile(stalls, 0.99),
        "stall_max_ms": round(found["lddu_event_loop_stall_max_seconds"][0].value * 1000, 1),
        "audio_lost": sum(lost.values()),
        "dropped": {" ".join(key): n for key, n in dropped.items()},
        "received": {" ".join(key): n for key, n in received.items()},
    }


def _bucket_quantile(samples: Sequence[Sample], q: float) -> float | None:
    """Upper edge in milliseconds of the bucket that holds the quantile; None: beyond all."""
    buckets = [(float(s.labels["le"]), s.value) for s in samples if s.name.endswith("_bucket")]
    total = max(count for _, count in buckets)
    edge = min(edge for edge, count in buckets if count >= q * total)
    return None if math.isinf(edge) else edge * 1000


def show(result: dict[str, Any]) -> None:
    for number, page in enumerate(result["calls"], 1):
        print(f"call {number}                    n      p50      p95      max  (ms)")
        for name in ROWS:
            row = page[name]
            cells = [row[key] for key in ("n", "p50_ms", "p95_ms", "max_ms")]
            print(f"  {name:<16}" + "".join(f"{_cell(cell):>9}" for cell in cells))
        print(f"  estimates per second {page['estimates_per_second']}")
        print(f"  caption recall       {page['caption_recall']:.1%}")
    for name, value in (result["server"] | {"cores": result["cores"]}).items():
        print(f"  {name:<20} {value}")


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


if __name__ == "__main__":
    sys.exit(main())
