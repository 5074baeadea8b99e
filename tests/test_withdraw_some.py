"""Face, voice or words withdrawn in a running call: it goes on without, at once and for good."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from stream.record_files import SessionFolder
from tests.metrics_text import value
from tests.serving import Caller, calling, serving
from tests.webrtc_peers import Beeps, Flashes, until

pytestmark = pytest.mark.live

DAYS = {"estimates": 1, "words": 1, "media": 1}
LIMIT_S = 1.0


async def withdraw(caller: Caller, *modalities: str) -> tuple[int, dict[str, Any]]:
    path = f"/api/sessions/{caller.session}/withdraw"
    async with caller.http.post(path, json={"of": modalities}, headers=caller.bearer) as response:
        return response.status, await response.json()


def states(caller: Caller) -> list[dict[str, Any]]:
    return [r for r in caller.records if r["type"] == "state" and r["index"] >= 0]


async def frames(caller: Caller, track: str) -> float:
    """That were decoded."""
    async with caller.http.get("/metrics") as response:
        text = await response.text()
    came, refused = (
        value(text, "lddu_received_total", track=track, what=what)
        for what in ("frames", "frames_refused")
    )
    return came - refused


async def a_call_without(folder: Path, *modalities: str) -> dict[str, Any]:
    """What a call was told before and after these were withdrawn, and what it then received."""
    async with serving(record={"folder": str(folder), "days": DAYS}) as url:
        begin = time.monotonic() + 0.2
        tracks = Beeps(begin, 0.0), Flashes(begin)
        async with calling(url, *tracks, record=True, media=True) as caller:
            wanted = {"face", "transcript"}
            await until(lambda: len(states(caller)) >= 6 and wanted <= caller.kinds(), 30.0)
            asked = time.monotonic()
            status, receipt = await withdraw(caller, *modalities)
            answered = time.monotonic() - asked
            assert status == 200, receipt
            await asyncio.sleep(LIMIT_S - answered)
            before, received = len(caller.records), await frames(caller, "video")
            last = states(caller)[-1]["index"]
            await until(lambda: states(caller)[-1]["index"] >= last + 12, 30.0)
            return {
                "session": caller.session,
                "receipt": receipt,
                "after": caller.records[before:],
                "all": list(caller.records),
                "video": await frames(caller, "video") - received,
            }


@pytest.mark.parametrize(
    "gone",
    [
        "voice",
        pytest.param("face", marks=pytest.mark.long),
        pytest.param("words", marks=pytest.mark.long),
    ],
)
def test_the_call_goes_on_without(gone: str, tmp_path: Path) -> None:
    found = asyncio.run(a_call_without(tmp_path, gone))
    receipt, after = found["receipt"], found["after"]
    assert receipt["withdrawn"] == [gone] and receipt["audit"]["n"] > 0
    assert receipt["consent"][gone] is False
    kinds = {record["type"] for record in after}
    assert ("face" in kinds) == (gone != "face")
    assert ("transcript" in kinds) == (gone != "words")
    assert (found["video"] > 0) == (gone != "face")  # it is not decoded any more
    shown = [record for record in after if record["type"] == "state"]
    assert all("no_consent" in state["reasons"] for state in shown)
    missed = {"face": "no_face", "words": "asr_lag"}.get(gone)
    assert all(missed not in state["reasons"] for state in shown[8:])
    [told] = [record for record in found["all"] if record["type"] == "consent"]
    assert told["consent"] == receipt["consent"]

    stored = list(SessionFolder(tmp_path, found["session"]).records())
    at = next(i for i, record in enumerate(stored) if record["type"] == "consent")
    evidence = [r["evidence"] for r in stored[at:] if r["type"] == "estimate"][2:]
    assert len(evidence) >= 8
    name = {"face": "face", "voice": "speech", "words": "words"}[gone]
    assert all(each[name] == 0 for each in evidence)
    others = {"face", "words"} - {name}
    assert all(any(each[other] > 0 for each in evidence) for other in others)


def test_withdrawing_all_that_is_left_ends_the_call_and_erases_it(tmp_path: Path) -> None:
    async def run() -> tuple[dict[str, Any], dict[str, Any]]:
        async with serving(record={"folder": str(tmp_path), "days": DAYS}) as url:
            begin = time.monotonic() + 0.2
            tracks = Beeps(begin, 0.0), Flashes(begin)
            async with calling(url, *tracks, record=True, media=True) as caller:
                await until(lambda: len(states(caller)) >= 2, 30.0)
                _, first = await withdraw(caller, "voice", "face")
                _, last = await withdraw(caller, "words")
                await until(lambda: "end" in caller.kinds())
                return first, last

    first, last = asyncio.run(run())
    assert first["withdrawn"] == ["face", "voice"] and first["consent"]["words"] is True
    assert {each["artefact"] for each in last["erased"]} >= {"estimates", "media"}
    assert not list((tmp_path / "sessions").iterdir())
    events = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]
    assert [each["event"] for each in events if each["event"] in ("withdrawn", "erased")] == [
        "withdrawn",
        "erased",
    ]


def test_a_withdrawal_that_is_none_is_refused() -> None:
    async def run() -> list[int]:
        async with serving() as url, calling(url, Beeps(time.monotonic(), 0.0)) as caller:
            path = f"/api/sessions/{caller.session}/withdraw"
            statuses = []
            for body in (b'{"of": []}', b'{"of": ["record"]}', b"nothing", b'{"off": ["face"]}'):
                async with caller.http.post(path, data=body, headers=caller.bearer) as response:
                    statuses.append(response.status)
                    assert "not a withdrawal" in (await response.json())["error"]
            async with caller.http.post(path, json={"of": ["face"]}) as response:
                statuses.append(response.status)
            assert "end" not in caller.kinds()
            return statuses

    assert asyncio.run(run()) == [400, 400, 400, 400, 401]
