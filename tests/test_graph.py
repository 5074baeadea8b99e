"""The graph: live equals replay, every account is exact, overload stays bounded."""

from __future__ import annotations

import asyncio
import gc
import itertools
import random
import tracemalloc
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.graph import BOXES, MANY_EDGES, Flow, Graph, Many, build
from tests import synthetic
from tests.synthetic import SlowRuns
from tests.virtual_time import run
from workers.mailbox import Closed, Mailbox
from workers.messages import (
    AlignedWindow,
    AudioChunk,
    FaceFrame,
    Message,
    Modality,
    Presence,
    TranscriptSegment,
    VideoFrame,
)
from workers.states import EmotionState

LIVE_COSTS = {"face": 0.015, "voice": 0.002, "transcribe": 0.25, "text": 0.01, "infer": 0.01}


class Tap:
    """Everything that went into the mailbox in front of inference."""

    def __init__(self, graph: Graph) -> None:
        self.windows: list[AlignedWindow] = []
        box = graph.boxes["infer"]
        append = box._append

        def note(item: Message) -> None:
            if isinstance(item, AlignedWindow):
                self.windows.append(item)
            append(item)

        box._append = note  # type: ignore[method-assign]


async def drain(graph: Graph, into: list[Message]) -> None:
    while True:
        try:
            into.append(await graph.output.get())
        except Closed:
            return


async def feed(graph: Graph, items: Iterable[AudioChunk | VideoFrame], *, paced: bool) -> None:
    loop = asyncio.get_running_loop()
    start = loop.time()
    for item in items:
        if paced:
            await asyncio.sleep(start + synthetic.end_of(item) - loop.time())
            graph.put_nowait(item)
        else:
            await graph.put(item)
    graph.close()


def process(
    items: list[AudioChunk | VideoFrame],
    flow: Flow,
    costs: dict[str, float] | None = None,
    expected: frozenset[Modality] = synthetic.ALL,
    check: Callable[[Graph], None] = lambda graph: None,
    many: Many | None = None,
) -> tuple[list[AlignedWindow], list[Message], Graph]:
    async def main() -> tuple[list[AlignedWindow], list[Message], Graph]:
        runs = SlowRuns(costs or {})
        graph = build("p1", synthetic.config(flow, expected, many), synthetic.engines(runs), runs)
        tap, out = Tap(graph), list[Message]()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(graph.run())
            tasks.create_task(drain(graph, out))
            tasks.create_task(feed(graph, items, paced=flow is Flow.LIVE))
        check(graph)
        return tap.windows, out, graph

    return run(main())


def check_accounts(graph: Graph) -> None:
    for name, box in graph.boxes.items():
        account = box.account
        assert account.put == account.taken + sum(account.dropped.values()) + len(box), name
        assert account.peak <= box.capacity, name
    for name, stage in graph.accounts().items():
        assert stage.taken == stage.processed + sum(stage.failed.values()), name


def same(a: AlignedWindow, b: AlignedWindow) -> bool:
    return (a.index, a.t0, a.t1, a.evidence) == (b.index, b.t0, b.t1, b.evidence) and all(
        np.array_equal(a.features[name], b.features[name])
        and np.array_equal(a.mask[name], b.mask[name])
        for name in a.features
    )


def test_every_stage_delivers_and_nothing_is_lost_in_a_recording() -> None:
    windows, out, graph = process(synthetic.source(12.0), Flow.LOSSLESS)
    assert [window.index for window in windows] == list(range(37))
    assert all(window.complete and window.revision == 0 for window in windows)
    states = [item for item in out if isinstance(item, EmotionState)]
    assert [state.index for state in states] == list(range(37))
    assert sum(isinstance(item, FaceFrame) for item in out) == 120
    words = [w for item in out if isinstance(item, TranscriptSegment) for w in item.words]
    assert words and {window.evidence.words for window in windows} - {0}
    check_accounts(graph)
    for box in graph.boxes.values():
        assert set(box.account.dropped) <= {"superseded"}, box.name


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 5000), st.integers(0, 1000))
def test_live_equals_replay_wherever_a_window_is_complete(largest: int, seed: int) -> None:
    pieces, sizes = synthetic.sound(8.0), random.Random(seed)
    items: list[AudioChunk | VideoFrame] = [
        *synthetic.chunks(pieces, lambda: sizes.randint(1, largest) if largest > 160 else 160),
        *synthetic.frames(8.0, 10.0),
    ]
    items.sort(key=synthetic.end_of)
    replayed, _, _ = process(synthetic.source(8.0), Flow.LOSSLESS)
    live, _, graph = process(items, Flow.LIVE, LIVE_COSTS)
    check_accounts(graph)
    expected = {window.index: window for window in replayed}
    complete = [window for window in live if window.complete]
    assert {window.index for window in complete} == set(expected)
    assert all(same(window, expected[window.index]) for window in complete)


@settings(max_examples=5, deadline=None)
@given(st.integers(160, 5000), st.integers(0, 1000))
def test_live_equals_replay_for_each_of_many_people(largest: int, seed: int) -> None:
    sizes = random.Random(seed)
    pictures = [
        replace(frame, image=np.kron(frame.image, np.ones((16, 16, 1), np.uint8)))
        for frame in synthetic.frames(8.0, 10.0)
    ]
    pieces = synthetic.chunks(synthetic.sound(8.0), lambda: sizes.randint(160, largest))
    items: list[AudioChunk | VideoFrame] = [*pieces, *pictures]
    items.sort(key=synthetic.end_of)
    replayed, told, graph = process(items, Flow.LOSSLESS, many=Many())
    check_accounts(graph)
    assert [item.present for item in told if isinstance(item, Presence)] == [True]
    assert {window.person for window in replayed} == {"p1.1"}
    assert all(window.complete for window in replayed) and len(replayed) >= 18
    live, _, graph = process(items, Flow.LIVE, LIVE_COSTS, many=Many())
    check_accounts(graph)
    newest = {window.index: window for window in live if window.complete}
    of_index = {window.index: window for window in replayed}
    assert len(newest) >= 0.8 * len(replayed)
    assert all(same(window, of_index[index]) for index, window in newest.items())


@pytest.mark.parametrize("expected", [{"face"}, {"voice"}, {"words"}, {"voice", "face"}])
def test_any_set_of_modalities_works_alone(expected: set[Modality]) -> None:
    windows, out, graph = process(
        synthetic.source(5.0), Flow.LOSSLESS, expected=frozenset(expected)
    )
    assert len(windows) >= 8 and all(window.complete for window in windows)
    assert sum(isinstance(item, EmotionState) for item in out) == len(windows)
    check_accounts(graph)


def test_overload_is_bounded_and_accounted_for() -> None:
    """Three times more work than time, ten minutes: memory stays flat, loss is visible."""
    costs = {"face": 0.3, "voice": 0.3, "transcribe": 4.0, "text": 0.1, "infer": 0.7}
    seconds = 600.0
    sizes: list[tuple[float, int]] = []

    async def main() -> Graph:
        runs = SlowRuns(costs)
        graph = build("p1", synthetic.config(Flow.LIVE), synthetic.engines(runs), runs)

        async def watch() -> None:
            while not graph.output.closed:
                await asyncio.sleep(30)
                check_accounts_moving(graph)
                gc.collect()
                sizes.append(
                    (asyncio.get_running_loop().time(), tracemalloc.get_traced_memory()[0])
                )

        async def swallow() -> None:
            while True:
                try:
                    await graph.output.get()
                except Closed:
                    return

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(graph.run())
            tasks.create_task(swallow())
            tasks.create_task(feed(graph, endless(seconds), paced=True))
            tasks.create_task(watch())
        return graph

    tracemalloc.start()
    try:
        graph = run(main())
    finally:
        tracemalloc.stop()
    check_accounts(graph)
    dropped = {name: box.account.dropped["queue_full"] for name, box in graph.boxes.items()}
    assert dropped["face"] > 0.5 * seconds * 10 * 0.6
    assert dropped["voice"] > 0 and dropped["transcribe"] > 0 and dropped["infer"] > 0
    late = [(t, size) for t, size in sizes if 120 <= t <= seconds]
    slope = np.polyfit([t / 60 for t, _ in late], [size / 1e6 for _, size in late], 1)[0]
    assert slope < 1.0, f"memory grows by {slope:.2f} MB per media minute"


def endless(seconds: float) -> Iterable[AudioChunk | VideoFrame]:
    """Ten second stretches of one source after another, made when they are needed."""
    base = synthetic.source(10.0, chunk=1600)
    for k in itertools.count():
        shift = 10.0 * k
        if shift >= seconds:
            return
        for item in base:
            if isinstance(item, AudioChunk):
                yield AudioChunk(item.person, item.t0 + shift, item.samples)
            else:
                yield VideoFrame(item.person, item.t + shift, item.image)


def check_accounts_moving(graph: Graph) -> None:
    """At any moment a stage may hold one item (inference: one batch)."""
    for box in graph.boxes.values():
        account = box.account
        assert account.put == account.taken + sum(account.dropped.values()) + len(box), box.name
    for name, stage in graph.accounts().items():
        held = stage.taken - stage.processed - sum(stage.failed.values())
        assert 0 <= held <= (16 if name == "infer" else 1), name


def test_a_cancelled_graph_accounts_for_what_it_held() -> None:
    async def main() -> Graph:
        runs = SlowRuns(LIVE_COSTS)
        graph = build("p1", synthetic.config(Flow.LIVE), synthetic.engines(runs), runs)
        tasks = [
            asyncio.create_task(graph.run()),
            asyncio.create_task(feed(graph, synthetic.source(5.0), paced=True)),
        ]
        await asyncio.sleep(4)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return graph

    graph = run(main())
    for name, box in graph.boxes.items():
        account = box.account
        assert account.put == account.taken + sum(account.dropped.values()) + len(box), name


def test_the_table_of_boxes_matches_the_edges() -> None:
    named = {*MANY_EDGES, *(target for targets in MANY_EDGES.values() for target in targets)}
    assert named == set(BOXES)
    assert all(isinstance(Mailbox(n, b.capacity, b.live), Mailbox) for n, b in BOXES.items())
