"""The frame of the chaos programmes: they go on where they were stopped, and say what held."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
from pathlib import Path

import numpy as np
import pytest
from aiortc.rtcrtpparameters import RTCRtpHeaderExtensionParameters, RTCRtpParameters
from aiortc.rtp import HeaderExtensionsMap, RtpPacket
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.chaos import __main__, journal, truncation
from benchmarks.chaos.heard import covered
from benchmarks.chaos.journal import Journal
from benchmarks.chaos.mutate import mutate
from benchmarks.chaos.payloads import calls, payload_start
from benchmarks.chaos.relay import Link, Relay
from benchmarks.chaos.veth import NETWORK, Cable, Unable


def test_a_programme_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    first = Journal(path, {"n": "1"})
    assert first.do("a", lambda: {"v": 1}) == {"v": 1}
    with path.open("a") as file:
        file.write('{"key": "b", "res')  # killed while writing
    again = Journal(path, {"n": "1"})
    assert again.do("a", lambda: pytest.fail("done again")) == {"v": 1}
    assert again.do("b", lambda: {"v": 2}) == {"v": 2}
    assert Journal(path, {"n": "1"}).done == {"a": {"v": 1}, "b": {"v": 2}}
    assert Journal(path, {"n": "2"}).done == {}


def test_anew_forgets(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    Journal(path, {}).put("a", {})
    assert Journal(path, {}, anew=True).done == {}


def test_truncation_of_every_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(journal, "JOURNALS", tmp_path)
    monkeypatch.setattr(journal, "RESULTS", tmp_path)
    assert __main__.main(["truncation", "--points", "1", "--kinds", "wav", "webm"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {name: row["points"] for name, row in told["kinds"].items()} == {"wav": 1, "webm": 1}
    kept = json.loads((tmp_path / "chaos-truncation.json").read_text())
    assert kept["held"] and kept["kinds"] == told["kinds"]


def test_an_end_that_helps_nobody_is_wrong() -> None:
    rows = [{"how": how, "seconds": 1.0} for how in ("whole", "no hint", "KeyError")]
    assert truncation.summary(rows, exact=False)["wrong"] == 2
    assert truncation.summary(rows, exact=True)["wrong"] == 3


def test_a_mutated_payload_keeps_its_packet() -> None:
    packet = RtpPacket(payload_type=96, sequence_number=7, timestamp=9)
    packet.payload = b"payload"
    data = packet.serialize()
    assert data[payload_start(data) :] == b"payload"
    ids = HeaderExtensionsMap()
    extension = RTCRtpHeaderExtensionParameters(id=1, uri="urn:ietf:params:rtp-hdrext:sdes:mid")
    ids.configure(RTCRtpParameters(headerExtensions=[extension]))
    packet.extensions.mid = "0"
    longer = packet.serialize(ids)
    assert len(longer) > len(data)
    assert longer[payload_start(longer) :] == b"payload"


@settings(deadline=None)
@given(st.binary(max_size=100), st.integers(0, 10_000))
def test_mutations_are_repeatable_and_short(data: bytes, seed: int) -> None:
    made = [mutate(random.Random(seed), data, [b"other"]) for _ in range(2)]
    assert made[0] == made[1]
    assert len(made[0]) <= 1200


@pytest.mark.long
@pytest.mark.parametrize("codec", ["opus", "vp8", "h264"])
def test_a_track_with_mutated_payloads_lives(codec: str) -> None:
    result = asyncio.run(calls(codec, 1, 8, "test"))
    assert result["mutated"] == 8
    assert not result["dead"]
    assert not result["unaccounted"]


def test_the_relay_loses_what_its_script_says() -> None:
    async def both(seed: str) -> list[int]:
        """Numbers of the packets that came through."""
        relay = Relay(Link(loss=0.3), 60.0, seed)
        passed: list[int] = []
        vars(relay._right)["send"] = lambda data: passed.append(data[3])
        relay.begin()
        for n in range(200):
            relay._from_sender(bytes([128, 96, 0, n]), ("127.0.0.1", 9))
        assert relay.counts["sent"] == 200
        assert relay.counts["lost"] == 200 - len(passed)
        return passed

    first, again, other = (asyncio.run(both(seed)) for seed in ("1", "1", "2"))
    assert first == again != other
    assert 100 < len(first) < 180


def test_nothing_gets_through_a_cable_that_is_pulled() -> None:
    async def run(cable: Cable) -> list[bytes]:
        with cable.inside("a"), socket.socket(type=socket.SOCK_DGRAM) as sender:
            sender.connect((f"{NETWORK}.2", 9000))
            with cable.inside("b"):
                receiver = socket.socket(type=socket.SOCK_DGRAM)
            with receiver:
                receiver.bind((f"{NETWORK}.2", 9000))
                receiver.settimeout(5.0)
                sender.send(b"before")
                came = [receiver.recv(100)]
                pulling = asyncio.create_task(cable.pull(0.5))
                await asyncio.sleep(0.3)
                with contextlib.suppress(OSError):  # there is no way to there
                    sender.send(b"meanwhile")
                await pulling
                sender.send(b"after")
                return [*came, receiver.recv(100)]

    try:
        with Cable() as cable:
            came = asyncio.run(run(cable))
    except Unable as error:
        pytest.skip(str(error))
    assert came == [b"before", b"after"]


def test_sound_is_counted_once() -> None:
    second = np.zeros(16_000, np.float32)
    pieces = [(0.0, second), (0.5, second), (2.0, second)]
    assert covered(pieces, (0.0, 4.0)) == pytest.approx(2.5 / 4)
