"""With the real extractors: what a live call sees equals what a recording of it gives."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from stream.config import StreamConfig
from stream.extractors import LazyExtractors
from stream.graph import Flow, GraphConfig, build
from stream.media import open_media
from stream.spec import MAX_WORDS, live_spec
from tests.synthetic import ALL, Model, SlowRuns, end_of
from tests.test_graph import Tap, check_accounts, drain, feed, same
from tests.virtual_time import run
from workers.align import AlignConfig
from workers.infer import InferenceEngine
from workers.messages import SAMPLE_RATE, AlignedWindow, AudioChunk, Message, VideoFrame
from workers.smooth import SmoothConfig
from workers.vad import VadConfig
from workers.windows import WindowPlan

SECONDS = 5.0
COSTS = {"face": 0.015, "voice": 0.002, "transcribe": 0.25, "text": 0.01, "infer": 0.01}

Items = Sequence[AudioChunk | VideoFrame]


class Engines(LazyExtractors):
    """Real extractors and a model that costs nothing: windows are compared, not estimates."""

    @property
    def inference(self) -> InferenceEngine:
        return InferenceEngine(Model())


@pytest.fixture(scope="module")
def engines() -> Iterator[Engines]:
    engines = Engines(StreamConfig())
    yield engines
    engines.close()


@pytest.fixture(scope="module")
def decoded(shared: Path) -> Items:
    clip = shared / "media/talking/videoretalking_face_4.mp4"
    with open_media(clip, fps=10.0, max_width=320) as media:
        items = [item for item in media if isinstance(item, AudioChunk | VideoFrame)]
    return [item for item in items if end_of(item) <= SECONDS]


def recut(items: Items, sizes: random.Random) -> Items:
    """The same sound in pieces of 1 to 200 ms."""
    cut: list[AudioChunk | VideoFrame] = []
    for item in items:
        if not isinstance(item, AudioChunk):
            cut.append(item)
            continue
        at = 0
        while at < len(item.samples):
            n = sizes.randint(16, 3200)
            t0 = item.t0 + at / SAMPLE_RATE
            cut.append(AudioChunk(item.person, t0, item.samples[at : at + n]))
            at += n
    return sorted(cut, key=end_of)


def windows(items: Items, flow: Flow, engines: Engines) -> list[AlignedWindow]:
    dims = {spec.name: spec.dim for spec in live_spec(StreamConfig()).modalities}
    align = AlignConfig(
        {"words": dims["words"], "voice": dims["voice"], "face": dims["face"]},
        ALL,
        max_words=MAX_WORDS,
        max_wait=0.4 if flow is Flow.LIVE else None,
    )
    plan = WindowPlan.sliding(3.0, 0.25)
    config = GraphConfig(plan, ALL, VadConfig(), align, SmoothConfig((0.5,) * 6, ALL), flow)

    async def main() -> list[AlignedWindow]:
        runs = SlowRuns(COSTS if flow is Flow.LIVE else {})
        graph = build("p1", config, engines, runs)
        tap, out = Tap(graph), list[Message]()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(graph.run())
            tasks.create_task(drain(graph, out))
            tasks.create_task(feed(graph, items, paced=flow is Flow.LIVE))
        check_accounts(graph)
        return tap.windows

    return run(main())


def test_live_equals_replay_on_a_real_recording(decoded: Items, engines: Engines) -> None:
    replayed = {window.index: window for window in windows(decoded, Flow.LOSSLESS, engines)}
    assert len(replayed) >= 8
    assert any(window.evidence.words for window in replayed.values())
    assert all(window.evidence.face > 0.9 for window in replayed.values())
    for seed in range(3):
        live = windows(recut(decoded, random.Random(seed)), Flow.LIVE, engines)
        complete = [window for window in live if window.complete]
        assert {window.index for window in complete} == set(replayed)
        assert all(same(window, replayed[window.index]) for window in complete)
