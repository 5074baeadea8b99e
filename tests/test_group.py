"""The group view: at least five people, coarse answers, and only of those who agreed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, WSCloseCode, WSServerHandshakeError
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stream.config import ServeConfig
from stream.group import Groups, Member, summary
from stream.record_types import LabelRecord, Record, StateRecord
from stream.sections import GroupConfig
from stream.tickets import new_ticket, sign
from tests.serving import calling, serving
from tests.test_access import KEY, TOKEN, access, bearer
from tests.webrtc_peers import Flashes, until
from workers.states import Status

pytestmark = pytest.mark.live

LABELS = ("happy", "sad")


def label(status: Status) -> LabelRecord:
    return {"probability": 0.5, "variance": 1.0, "interval": [0.3, 0.7], "status": status}


def state(happy: Status, revision: int = 0) -> StateRecord:
    return {
        "type": "state",
        "t": 1.0,
        "person": "p1",
        "index": 0,
        "revision": revision,
        "complete": True,
        "labels": {"happy": label(happy), "sad": label("inactive")},
        "reason": None,
        "reasons": [],
        "variance_trusted": True,
        "lag_s": 0.0,
    }


def member(identity: str, *states: Status, told: list[Record] | None = None) -> Member:
    made = Member(identity, (lambda _: None) if told is None else told.append)
    made.begin()
    for status in states:
        made.see(state(status))
    return made


def level(*people: Status) -> tuple[int, str | None]:
    n, levels = summary([member(str(i), one) for i, one in enumerate(people)], LABELS, 5)
    return n, levels.get("happy")


def statuses(active: Iterable[bool]) -> list[Status]:
    return ["active" if one else "inactive" for one in active]


@pytest.mark.parametrize(
    ("active", "told"), [(0, "few"), (1, "few"), (2, "some"), (3, "some"), (4, "most"), (5, "most")]
)
def test_a_level_leaves_it_open_about_each(active: int, told: str) -> None:
    assert level(*statuses(i < active for i in range(5))) == (5, told)


def test_fewer_than_five_are_told_nothing() -> None:
    assert level("active", "active", "active", "active") == (4, None)


def test_who_is_unsure_counts_for_no_label() -> None:
    assert level("active", "active", "active", "active", "unsure") == (5, None)


def test_one_person_in_several_calls_is_one() -> None:
    members = [member("anna", "active") for _ in range(5)]
    assert summary(members, LABELS, 5) == (1, {})


def test_who_came_within_the_interval_is_not_counted_yet() -> None:
    members = [member(str(i), "active") for i in range(4)]
    late = Member("late", lambda _: None)
    late.see(state("active"))
    assert summary([*members, late], LABELS, 5)[0] == 4


def test_most_of_the_interval_decides() -> None:
    mixed = member("anna", "active", "inactive", "active")
    assert mixed.answers(LABELS) == {"happy": True, "sad": False}
    mixed.see(state("inactive", revision=1))  # a window counts once
    assert mixed.answers(LABELS)["happy"]
    doubtful = member("anna", "active", "unsure", "unsure")
    assert "happy" not in doubtful.answers(LABELS)


@given(st.lists(st.booleans(), min_size=5, max_size=40), st.data())
def test_no_answer_tells_of_one_person(active: list[bool], data: st.DataObject) -> None:
    """Whatever was told, it would also have been told if any one person had been otherwise, in some
    room of as many people."""
    people = statuses(active)
    told = level(*people)
    somebody = data.draw(st.integers(0, len(people) - 1))
    other: Status = "inactive" if active[somebody] else "active"
    possible = []
    for n in range(len(people)):
        rest = [i < n for i in range(len(people) - 1)]
        possible.append(level(other, *(statuses(rest))))
    assert told in possible


def test_a_room_is_told_after_each_interval_and_only_that_room() -> None:
    async def run() -> None:
        groups = Groups(GroupConfig(), LABELS)
        told: list[Record] = []
        with ExitStack() as stack, groups.read("r1") as here, groups.read("r2") as there:
            counted = [
                stack.enter_context(groups.counted("r1", str(i), told.append)) for i in range(5)
            ]
            groups.turn(1.0)
            for one in counted:
                one.see(state("active"))
            groups.turn(11.0)
            first, second, third = here.take()
            assert first["type"] == "group_hello"
            assert second["type"] == "group" and second["reason"] == "too_few"
            assert third["type"] == "group"
            assert (third["people"], third["labels"]) == (5, {"happy": "most", "sad": "few"})
            assert told[-1] == third
            assert [r["type"] for r in there.take()] == ["group_hello", "group", "group"]
            counted[0].see(state("active"))
        groups.turn(21.0)  # everybody is gone

    asyncio.run(run())


def test_readers_of_a_room_end_with_the_server(tmp_path: Path) -> None:
    """It does not wait for them, nor they for it."""

    async def run() -> tuple[float, list[str], int | None]:
        async with ClientSession() as http:
            async with serving(access=access(tmp_path), group={}) as url:
                path = f"{url}/api/rooms/r1/group"
                socket = await http.ws_connect(path, headers=bearer(TOKEN))
                hello = json.loads(await socket.receive_str())

                async def read() -> list[str]:
                    return [message.data async for message in socket]

                reading = asyncio.create_task(read())
                await asyncio.sleep(0.1)
                begin = time.monotonic()
            took = time.monotonic() - begin
            return took, [hello["type"], *await reading], socket.close_code

    took, told, code = asyncio.run(run())
    assert took < 3.0 and told == ["group_hello"]
    assert code == WSCloseCode.OK


def test_less_than_five_cannot_be_configured() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 5"):
        GroupConfig(least=4)


@pytest.mark.parametrize("purpose", ["workplace", "education"])
def test_a_group_view_is_no_private_self_view(purpose: str) -> None:
    with pytest.raises(ValidationError, match=r"no \[group\]"):
        ServeConfig.model_validate({"purpose": purpose, "group": {}})


def test_five_calls_in_a_room_are_told_what_the_room_looks_like(tmp_path: Path) -> None:
    sure = {"min_margin": 0.1}  # soon: the test model says nearly the same of everybody
    fast = GroupConfig.model_construct(least=5, every=1.0)

    def ticket(room: str, person: str) -> str:
        return sign(new_ticket(room, person), KEY)

    async def run() -> tuple[list[dict[str, Any]], list[dict[str, Any]], set[str]]:
        async with AsyncExitStack() as stack:
            url = await stack.enter_async_context(
                serving(access=access(tmp_path), group=fast, gate=sure)
            )
            people = [
                await stack.enter_async_context(
                    calling(
                        url,
                        Flashes(time.monotonic()),
                        token=ticket("r1", f"person-{i}"),
                        group=i < 5,
                    )
                )
                for i in range(6)
            ]
            http = await stack.enter_async_context(ClientSession(url))
            async with http.get("/room") as page:
                assert page.status == 200 and "room.js" in await page.text()
            for wrong in ("", ticket("r2", "eve"), sign(new_ticket("r1"), "f" * 32)):
                with pytest.raises(WSServerHandshakeError) as refused:
                    await http.ws_connect("/api/rooms/r1/group", headers=bearer(wrong))
                assert refused.value.status == 401
            async with http.ws_connect("/api/rooms/r1/group", headers=bearer(TOKEN)) as socket:
                told = [json.loads(await socket.receive_str()) for _ in range(9)]
            protocols = ("lddu.records", ticket("r1", "guest"))
            async with http.ws_connect("/api/rooms/r1/group", protocols=protocols) as socket:
                assert json.loads(await socket.receive_str())["type"] == "group_hello"
            await until(lambda: "group" in people[0].kinds())
            counted = [r for r in people[0].records if r["type"] == "group"]
            return told, counted, people[5].kinds()

    told, counted, outsider = asyncio.run(run())
    assert [record["type"] for record in told] == ["group_hello", *["group"] * 8]
    last = told[-1]
    assert (last["people"], last["reason"]) == (5, None)  # the sixth did not agree
    assert set(last["labels"].values()) <= {"few", "some", "most", None}
    assert counted and "group" not in outsider
