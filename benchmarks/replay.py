"""How fast a recording is analysed: ``python -m benchmarks.replay [--seconds 60] [--clip FILE]``.

A talking clip is repeated to a recording of 640x360 pixels, 30 pictures per second, H.264 and AAC,
and analysed by ``python -m stream.replay`` with everything on, its report included, and 10 analysed
pictures per second (``--fps``).
``factor`` is media time over the time for the analysis, ``factor_total`` over the whole command
with loading. Memory is the largest sum of the resident memory of all its processes (pages that they
share are counted more than once); ``slope_mb_per_min`` is the least-squares slope of that sum over
media time, the first third left out. ``cpu_per_media_s`` is processor time over media time, which
other work on the machine disturbs less than the wall clock. The last line is JSON, which also goes
to benchmarks/results/NAME.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.frame import VideoFrame
from numpy.typing import NDArray

import lddu_model
from lddu_model import checkpoint
from stream.config import ReplayConfig
from stream.engines import SHIPPED_CHECKPOINT
from stream.spec import LABELS, live_spec

PROJECT = Path(__file__).resolve().parent.parent
CLIP = "media/talking/WDA_AlexandriaOcasioCortez_000.mp4"
RESULTS = PROJECT / "benchmarks/results"

WIDTH, HEIGHT, FPS, RATE = 640, 360, 30, 48_000

FACTOR, MEMORY_MB = 3.0, 2048
"""What is to be reached on 2 cores."""


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast a recording is analysed.")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clip", type=Path, default=shared() / CLIP, help="somebody who talks")
    parser.add_argument("--checkpoint", type=Path, default=SHIPPED_CHECKPOINT)
    parser.add_argument("--fps", type=float, default=10.0, help="analysed pictures per second")
    parser.add_argument("--name", default="replay", help="of the file of results")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder) / "recording.mp4"
        repeat(arguments.clip, recording, arguments.seconds)
        trained = (arguments.checkpoint / "model.json").is_file()
        model = arguments.checkpoint if trained else untrained(Path(folder) / "model")
        row = measure(recording, model, Path(folder) / "out", arguments.fps)
    row |= {"clip": arguments.clip.name, "trained": trained, "fps": arguments.fps}
    show(row)
    RESULTS.mkdir(exist_ok=True)
    line = json.dumps({"benchmark": "replay", **row})
    (RESULTS / f"{arguments.name}.json").write_text(line + "\n", encoding="utf-8")
    print(line)


def shared() -> Path:
    return Path(os.environ.get("LDDU_SHARED") or PROJECT.parent / "shared")


def untrained(folder: Path) -> Path:
    """A model of the same size, where none is shipped: it costs the same."""
    return checkpoint.save(folder, lddu_model.create("default", live_spec(ReplayConfig()), LABELS))


LAP = 64.0
"""Seconds that are encoded; longer recordings repeat them. A whole number of packets of AAC."""


def repeat(clip: Path, target: Path, seconds: float) -> None:
    """Write `target`: `clip` over and over, on grey where it does not fill the picture."""
    if seconds <= LAP:
        encode(clip, target, seconds)
        return
    lap = target.with_name("lap.mp4")
    encode(clip, lap, LAP)
    with av.open(str(target), "w") as container:
        for k in range(round(seconds / LAP)):
            append(container, lap, k)
    lap.unlink()


def append(container: OutputContainer, lap: Path, k: int) -> None:
    """The packets of `lap` as its `k`-th repetition, without encoding them again."""
    with av.open(str(lap)) as source:
        if not container.streams:
            for stream in source.streams:
                container.add_stream_from_template(stream)
        for packet in source.demux():
            if packet.pts is None or packet.dts is None:
                continue
            if not 0 <= packet.pts * packet.time_base < LAP:  # what the encoder puts before
                continue
            offset = int(k * LAP / packet.time_base)
            packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
            packet.stream = container.streams[packet.stream.index]
            container.mux(packet)


def encode(clip: Path, target: Path, seconds: float) -> None:
    pictures, wave = decode(clip)
    length = len(wave) / RATE
    with av.open(str(target), "w") as container:
        video = container.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.codec_context.options = {"preset": "veryfast", "bf": "0"}
        audio = container.add_stream("aac", rate=RATE)
        audio.codec_context.layout = "mono"
        for k in range(int(seconds * FPS)):
            within = (k / FPS) % length
            frame = VideoFrame.from_ndarray(nearest(pictures, within), format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, FPS)
            container.mux(video.encode(frame))
            if k % FPS == 0:
                write_second(container, audio, wave, k // FPS)
        container.mux(video.encode(None))
        container.mux(audio.encode(None))


def write_second(
    container: OutputContainer, audio: AudioStream, wave: NDArray[np.float32], second: int
) -> None:
    indices = np.arange(second * RATE, (second + 1) * RATE) % len(wave)
    frame = AudioFrame.from_ndarray(wave[indices][None], format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = RATE, second * RATE, Fraction(1, RATE)
    container.mux(audio.encode(frame))


def decode(clip: Path) -> tuple[list[tuple[float, NDArray[np.uint8]]], NDArray[np.float32]]:
    """(time, (HEIGHT, WIDTH, 3)) of every picture, and the sound at ``RATE``."""
    resampler = AudioResampler("fltp", "mono", RATE)
    pieces = []
    with av.open(str(clip)) as container:
        pictures = [(frame.time or 0.0, fit(frame)) for frame in container.decode(video=0)]
    with av.open(str(clip)) as container:
        for sound in container.decode(audio=0):
            pieces += [part.to_ndarray()[0] for part in resampler.resample(sound)]
    return pictures, np.concatenate(pieces).astype(np.float32)


def fit(frame: VideoFrame) -> NDArray[np.uint8]:
    scale = min(WIDTH / frame.width, HEIGHT / frame.height)
    width, height = round(frame.width * scale), round(frame.height * scale)
    canvas = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    x, y = (WIDTH - width) // 2, (HEIGHT - height) // 2
    small = frame.reformat(width=width, height=height, format="rgb24").to_ndarray()
    canvas[y : y + height, x : x + width] = small
    return canvas


def nearest(pictures: list[tuple[float, NDArray[np.uint8]]], t: float) -> NDArray[np.uint8]:
    """The picture that is shown at `t`."""
    shown = [picture for at, picture in pictures if at <= t + 1e-6]
    return shown[-1] if shown else pictures[0][1]


def measure(recording: Path, model: Path, out: Path, fps: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "stream.replay", str(recording), "--out", str(out)]
    command += ["--set", f"model.checkpoint={model}"]
    command += ["--set", f"analysis.frames_per_second={fps}"]
    busy = os.getloadavg()[0]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT) as child:
        memory = watch(child)
        assert child.stdout is not None
        if child.returncode != 0:
            raise SystemExit(f"stream.replay failed with exit code {child.returncode}")
        summary = json.loads(child.stdout.read().splitlines()[-1])
    total = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "media_s": summary["media_s"],
        "wall_s": summary["wall_s"],
        "load_s": summary["load_s"],
        "factor": summary["real_time_factor"],
        "factor_total": round(summary["media_s"] / total, 2),
        "cpu_s": round(cpu, 1),
        "cpu_per_media_s": round(cpu / summary["media_s"], 4),
        "peak_mb": round(max(mb for _, mb in memory)),
        "slope_mb_per_min": slope(memory, summary),
        "windows": summary["windows"],
        "words": summary["words"],
        "lost": summary["failed"] | summary["dropped"],
        "cores": os.cpu_count(),
        "load_before": round(busy, 2),
    }


def watch(child: subprocess.Popen[str]) -> list[tuple[float, float]]:
    """(seconds, MB of resident memory of `child` and its processes together) until it ends."""
    found = []
    root = psutil.Process(child.pid)
    start = time.perf_counter()
    while child.poll() is None:
        total = 0
        for process in (root, *children(root)):
            try:
                total += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        found.append((time.perf_counter() - start, total / 2**20))
        time.sleep(0.2)
    return found


def slope(memory: list[tuple[float, float]], summary: dict[str, Any]) -> float | None:
    """MB per minute of media time, from a third of the analysis on to its end; None: too short."""
    begin, end = summary["load_s"], summary["load_s"] + summary["wall_s"]
    chosen = [each for each in memory if begin + (end - begin) / 3 < each[0] < 0.98 * end]
    if len(chosen) < 20:
        return None
    t, mb = np.asarray(chosen).T
    per_second = float(np.polyfit(t, mb, 1)[0])
    return round(per_second * float(summary["wall_s"] / summary["media_s"]) * 60, 3)


def children(root: psutil.Process) -> list[psutil.Process]:
    try:
        return root.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def show(row: dict[str, Any]) -> None:
    for name, value in row.items():
        print(f"{name:>14}  {value}")
    print(f"{'to be reached':>14}  factor >= {FACTOR}, peak_mb <= {MEMORY_MB} on 2 cores")


if __name__ == "__main__":
    main()
