"""The ladder of what a call does without: up under strain, down when calm, never to and fro."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.call import Call
from stream.config import Consent, ServeConfig
from stream.degrade import LOADS, TOP, Ladder
from stream.engines import Engines
from stream.graph import Flow
from stream.metrics import Metrics
from stream.overload import SETTLE_S, Overload, Strain
from stream.record_types import Record
from stream.sections import OverloadConfig
from stream.session import Session
from tests import synthetic
from tests.serving import CheapEngines, Model
from tests.synthetic import SlowRuns
from tests.virtual_time import run
from workers.infer import InferenceEngine
from workers.mailbox import Mailbox, Policy
from workers.messages import Gap, Message

STEP = 0.5


@dataclass
class Held:
    """A call as the overload of its server sees it: what holds is said here."""

    level: int
    now: str
    ladder: Ladder = field(init=False)

    def __post_init__(self) -> None:
        self.ladder = Ladder(self.level, strained_s=0.0, calm_s=0.0)

    def look(self, t: float, _: float) -> int:
        return self.ladder.wish(t, strained=self.now == "strained", calm=self.now == "calm")

    def step(self, t: float, by: int) -> None:
        self.ladder.step(t, by)


def after_a_look(overload: Overload, held: list[Held]) -> list[int]:
    overload._degrade(cast("list[Strain]", held))
    return [each.ladder.level for each in held]


def test_calls_that_are_strained_together_give_way_by_thirds() -> None:
    overload = Overload(OverloadConfig(), Metrics(), list)
    held = [Held(level, "strained") for level in (1, 0, 2, 0, 0, 1)]
    assert after_a_look(overload, held) == [1, 1, 2, 1, 0, 1]
    assert sum(after_a_look(overload, held)) == 8


def test_calls_come_back_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    overload = Overload(OverloadConfig(), Metrics(), list)
    held = [Held(level, "calm") for level in (1, 3, 2)]
    assert after_a_look(overload, held) == [1, 2, 2]  # who lacks most
    now[0] += SETTLE_S - 0.1
    assert after_a_look(overload, held) == [1, 2, 2]  # its price is not known yet
    now[0] += 0.2
    assert sum(after_a_look(overload, held)) == 4
    now[0] += SETTLE_S + 0.1
    held[0].now = "strained"
    assert sum(after_a_look(overload, held)) == 5  # nobody comes back while one is strained


async def strained_by(box: str, waits: float) -> bool:
    """Whether a call is strained in which an item of a mailbox has been waiting for so long."""
    boxes = {box: Mailbox[Message](box, 8, Policy.DROP_OLDEST)}
    boxes[box].put_nowait(Gap("p1", "audio", 0.0, 1.0, "network"))
    await asyncio.sleep(waits)
    call = SimpleNamespace(session=SimpleNamespace(graph=SimpleNamespace(boxes=boxes), behind=0.0))
    strain = Strain(cast("Call", call))
    return [strain.look(t, 0.0) for t in (0.0, strain.ladder.strained_s)][-1] > 0


@pytest.mark.parametrize(
    ("box", "most"), [("face", 0.5), ("voice", 1.0), ("transcribe", 0.6), ("infer", 0.5)]
)
def test_what_waits_for_long_strains_a_call(box: str, most: float) -> None:
    """Captions are to be at most 1.5 s old: after its end speech comes in .2 s, waits, is heard."""
    assert not run(strained_by(box, most - 0.01))
    assert run(strained_by(box, most + 0.01))


def levels(ladder: Ladder, begin: float, end: float, *, strained: bool) -> list[tuple[float, int]]:
    """Each change between two times in which one thing holds."""
    changes = []
    for i in range(int((end - begin) / STEP)):
        t = begin + i * STEP
        if ladder.update(t, strained=strained, calm=not strained):
            changes.append((t - begin, ladder.level))
    return changes


def test_strain_goes_up_and_calm_comes_down_more_slowly() -> None:
    ladder = Ladder()
    assert levels(ladder, 0.0, 20.0, strained=True) == [(1.5, 1), (3.0, 2), (4.5, 3), (6.0, 4)]
    down = levels(ladder, 20.0, 100.0, strained=False)
    assert down == [(8.0, 3), (16.0, 2), (24.0, 1), (32.0, 0)]


def test_what_comes_down_too_soon_waits_longer_next_time() -> None:
    ladder, t, waits = Ladder(), 0.0, []
    for _ in range(5):
        levels(ladder, t, t + 2.0, strained=True)
        assert ladder.level == 1
        [(after, level)] = levels(ladder, t + 2.0, t + 82.0, strained=False)
        assert level == 0
        waits.append(after)
        t += 2.0 + after + STEP
    assert waits == [8.0, 16.0, 32.0, 64.0, 64.0]


@given(st.lists(st.sampled_from(["strained", "calm", "between"]), max_size=300))
def test_no_level_lasts_less_than_its_time(told: list[str]) -> None:
    ladder = Ladder()
    changed, before = float("-inf"), 0
    for i, what in enumerate(told):
        t = i * STEP
        if ladder.update(t, strained=what == "strained", calm=what == "calm"):
            assert abs(ladder.level - before) == 1 and 0 <= ladder.level <= TOP
            assert t - changed >= (1.5 if ladder.level > before else 8.0)
            changed, before = t, ladder.level


def engines(runs: SlowRuns) -> Engines:
    return cast("Engines", CheapEngines(InferenceEngine(Model(), runs.predict)))


async def told(changes: dict[float, int], seconds: float) -> tuple[list[Record], Session]:
    """Records of a call whose level changes at these times."""
    loop, runs = asyncio.get_running_loop(), SlowRuns({})
    consent = Consent(face=True, voice=True, words=True)
    session = Session(
        "s", "p1", ServeConfig(), consent, synthetic.ALL, engines(runs), runs, Flow.LIVE, loop.time
    )

    async def feed() -> None:
        for item in synthetic.source(seconds):
            await asyncio.sleep(synthetic.end_of(item) - loop.time())
            for t in [t for t in changes if t <= loop.time()]:
                session.use(LOADS[changes.pop(t)])
            session.push(item)
        session.close()

    subscription = session.subscribe(10_000)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(session.run())
        tasks.create_task(feed())
    return subscription.take(), session


def test_a_call_that_is_not_analysed_says_so_and_nothing_else_and_comes_back() -> None:
    records, session = run(told({6.0: 4, 14.0: 0}, 22.0))
    states = [record for record in records if record["type"] == "state" and record["index"] >= 0]
    # Words that are heard when it is over revise the last windows: those are estimates again.
    paused = [state for state in states if 9.5 < state["t"] < 13.5 and not state["revision"]]
    after = [state for state in states if state["t"] > 14.0]
    assert len(paused) >= 12 and len(after) >= 12
    for state in paused:
        assert state["reason"] == "overload"
        assert {label["status"] for label in state["labels"].values()} == {"unsure"}
    assert all("overload" not in state["reasons"] for state in after)
    loads = [(record["t"], record["load"]) for record in records if record["type"] == "load"]
    assert [load for _, load in loads] == ["nothing", "full"]
    gaps = {record["reason"] for record in records if record["type"] == "gap"}
    assert gaps == {"overload"}  # speech that was not transcribed
    for box in session.graph.boxes.values():
        account = box.account
        assert account.put == account.taken + account.dropped.total() + account.inside


def test_fewer_pictures_are_looked_at_and_no_window_waits_for_them() -> None:
    records, _ = run(told({6.0: 2}, 16.0))
    seen = [record["t"] for record in records if record["type"] == "face"]
    assert sum(3.0 <= t < 5.0 for t in seen) == 20
    assert sum(8.0 <= t < 11.0 for t in seen) == 10
    states = [record for record in records if record["type"] == "state" and record["index"] >= 0]
    late = [state["lag_s"] for state in states if 8.0 < state["t"] < 15.0 and not state["revision"]]
    assert late and max(late) < 0.15
    assert all(state["reason"] != "no_face" for state in states)
