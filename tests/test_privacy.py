"""Purpose, consent, withdrawal, and that nothing of a call is left anywhere."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import secrets
import shutil
import tempfile
import time
import weakref
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from aiohttp import ClientSession
from aiortc import RTCPeerConnection
from aiortc.rtp import RtpPacket, is_rtcp

from stream.audit import Head, verify
from stream.calls import Calls
from stream.config import PrepareConfig, ReplayConfig, ServeConfig
from stream.errors import ConfigError
from stream.purpose import Purpose
from stream.record_files import sweep
from stream.serve import parse_args, read_config
from stream.sessions import main as sessions_main
from tests import synthetic
from tests.serving import Caller, calling, cheap_engines, serving, until_no_call
from tests.test_whip import WHIP
from tests.webrtc_peers import Beeps, Flashes, until
from workers.messages import Float32, Word
from workers.whisper import Before, Heard

pytestmark = pytest.mark.live

RECORD = {"folder": "records"}
EVERYTHING = {"estimates": 1.0, "words": 1.0, "faces": 1.0, "media": 1.0}


def everything_in(folder: Path) -> bytes:
    """The content of all files."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def tracks() -> tuple[Beeps, Flashes]:
    begin = time.monotonic() + 0.2
    return Beeps(begin, 0.0), Flashes(begin)


@pytest.mark.parametrize("purpose", ["workplace", "education"])
def test_at_work_and_in_schools_only_words_or_the_private_view(purpose: Purpose) -> None:
    assert ServeConfig(purpose=purpose).private
    assert ServeConfig.model_validate(
        {"purpose": purpose, "text_only": True, "record": RECORD, "whip": WHIP}
    ).modalities == ("words",)
    for kept in ({"record": RECORD}, {"whip": WHIP}):
        with pytest.raises(ValueError, match=r"Article 5\(1\)\(f\)"):
            ServeConfig.model_validate({"purpose": purpose, **kept})
    for kind in (ReplayConfig, PrepareConfig):  # a recording is no private view
        with pytest.raises(ValueError, match=r"Article 5\(1\)\(f\)"):
            kind(purpose=purpose)
        assert kind(purpose=purpose, text_only=True).modalities == ("words",)


@pytest.mark.parametrize(
    "purpose", ["self_view", "research", "personal_training", "media_analysis"]
)
def test_other_purposes_allow_what_people_agree_to(purpose: Purpose) -> None:
    config = ServeConfig.model_validate({"purpose": purpose, "record": RECORD, "whip": WHIP})
    assert config.modalities == ("face", "voice", "words")


def test_medical_reasons_need_a_document() -> None:
    with pytest.raises(ValueError, match="purpose_reference"):
        ServeConfig(purpose="medical_safety")
    assert ServeConfig(purpose="medical_safety", purpose_reference="DPIA 2026-7").private


@pytest.mark.parametrize(
    "arguments",
    [
        ["--host", "192.0.2.1", "--tls-cert", "c", "--tls-key", "k"],
        ["--set", f"whip.token={WHIP['token']}", "--set", "whip.consent={ face = true }"],
    ],
)
def test_purpose_must_be_stated_beyond_the_self_view_here(arguments: list[str]) -> None:
    access = ["--set", "access.token=token-of-the-operator"]
    with pytest.raises(ConfigError, match="purpose is not stated"):
        read_config(parse_args([*arguments, *access]))
    stated = ["--set", "purpose=research"]
    assert read_config(parse_args([*arguments, *access, *stated])).purpose == "research"


def test_text_only_looks_at_no_face_and_no_voice() -> None:
    async def run() -> list[dict[str, Any]]:
        async with serving(text_only=True) as url, ClientSession(url) as http:
            async with http.get("/api/config") as response:
                assert (await response.json())["modalities"] == ["words"]
            async with calling(url, *tracks()) as call:
                assert "a=inactive" in call.answer[call.answer.index("m=video") :]
                await until(lambda: any(r["type"] == "state" and r["labels"] for r in call.records))
            return call.records

    records = asyncio.run(run())
    assert "face" not in {record["type"] for record in records}
    assert records[0]["consent"]["face"] is False and records[0]["consent"]["voice"] is False
    assert not any("no_consent" in r["reasons"] for r in records if r["type"] == "state")


def test_states_say_what_was_not_agreed_to() -> None:
    async def run(**consent: Any) -> list[list[str]]:
        async with serving() as url, calling(url, *tracks(), **consent) as call:
            await until(lambda: sum(r["type"] == "state" for r in call.records) >= 3)
            return [r["reasons"] for r in call.records if r["type"] == "state"]

    everything = asyncio.run(run())
    assert not any("no_consent" in reasons for reasons in everything)
    partly = asyncio.run(run(words=False))
    assert all(reasons[-1] == "no_consent" for reasons in partly)


def test_nothing_is_built_without_consent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a peer nor a receiver, and so no decoder."""
    made: list[object] = []
    monkeypatch.setattr("stream.calls.Peer", lambda *a, **k: made.append(a))

    async def run() -> None:
        async with serving() as url:
            nothing: dict[str, Any] = {"face": False, "voice": False, "words": False}
            with pytest.raises(AssertionError, match="nothing was agreed to"):
                async with calling(url, *tracks(), **nothing):
                    pass

    asyncio.run(run())
    assert made == []


def test_withdrawal_ends_all_within_a_second_and_erases(tmp_path: Path) -> None:
    settings = {"folder": str(tmp_path), "days": {"estimates": 1, "words": 1, "faces": 1}}

    async def run() -> tuple[dict[str, Any], float, list[tuple[float, dict[str, Any]]]]:
        async with (
            serving(record=settings) as url,
            calling(url, *tracks(), record=True) as call,
        ):
            came: list[tuple[float, dict[str, Any]]] = []

            async def watch() -> None:
                path = f"/api/sessions/{call.session}/events"
                async with call.http.ws_connect(path, headers=call.bearer) as socket:
                    came.extend(
                        [(time.monotonic(), json.loads(message.data)) async for message in socket]
                    )

            watching = asyncio.create_task(watch())
            await until(lambda: sum(r["type"] == "state" for r in call.records) >= 4)
            await until(lambda: "recording" in call.kinds())
            assert (tmp_path / "sessions" / call.session).exists()
            path = f"/api/sessions/{call.session}/withdraw"
            async with call.http.post(path) as response:
                assert response.status == 401
            clicked = time.monotonic()
            async with call.http.post(path, headers=call.bearer) as response:
                assert response.status == 200
                receipt: dict[str, Any] = await response.json()
            await watching
            await until(lambda: call.records[-1]["type"] == "end")
            assert call.records[-1] == {"type": "end", "reason": "withdrawn"}
            await until_no_call(call.http)
            return receipt, clicked, came

    receipt, clicked, came = asyncio.run(run())
    derived = [t for t, record in came if record["type"] != "end"]
    assert max(derived) - clicked < 1.0
    assert came[-1][1] == {"type": "end", "reason": "withdrawn"}
    assert {part["artefact"] for part in receipt["erased"]} >= {"estimates", "faces"}
    assert list((tmp_path / "sessions").iterdir()) == []
    head = Head(receipt["audit"]["n"], receipt["audit"]["hash"])
    assert verify(tmp_path / "audit.log", head).number >= head.number
    events = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]
    assert [event["event"] for event in events] == [
        "server_started",
        "consent",
        "ended",
        "erased",
        "server_stopped",
    ]
    assert events[1]["data"]["consent"]["face"] is True


def test_a_record_is_erased_with_the_key_after_the_call_and_a_restart(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(record={"folder": str(tmp_path)}) as url:
            async with calling(url, *tracks(), record=True) as call:
                await until(lambda: "recording" in call.kinds())
            path = f"/api/sessions/{call.session}/withdraw"
        assert call.key.encode() not in everything_in(tmp_path)
        async with serving(record={"folder": str(tmp_path)}) as url, ClientSession(url) as http:
            for key, status in ((call.key[:-1], 401), ("", 401), (call.key, 200), (call.key, 404)):
                bearer = {"Authorization": f"Bearer {key}"}
                async with http.post(path, headers=bearer) as response:
                    assert response.status == status
                    if status == 200:
                        receipt = await response.json()
            async with http.post("/api/sessions/no name/withdraw") as response:
                assert response.status == 404
        assert [part["artefact"] for part in receipt["erased"]] == ["estimates"]
        assert list((tmp_path / "sessions").iterdir()) == []

    asyncio.run(run())


def test_withdrawal_leaves_nothing_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions: list[weakref.ref[Any]] = []
    new_call = Calls._new_call

    def watch(self: Calls, *arguments: Any) -> Any:
        call = new_call(self, *arguments)
        sessions.extend([weakref.ref(call.session), weakref.ref(call.session.graph.align)])
        return call

    monkeypatch.setattr(Calls, "_new_call", watch)

    async def run() -> None:
        async with serving() as url:
            async with calling(url, *tracks()) as call:
                await until(lambda: any(r["type"] == "state" and r["labels"] for r in call.records))
                path = f"/api/sessions/{call.session}/withdraw"
                async with call.http.post(path, headers=call.bearer) as response:
                    assert await response.json()
            await asyncio.sleep(0.1)
            gc.collect()
            assert [reference() for reference in sessions] == [None, None]

    asyncio.run(run())


CANARY = "zebraquartz"


class Parrot(synthetic.Transcriber):
    """Hears the same word in everything."""

    def transcribe(self, samples: Float32, before: Before | None = None) -> Heard:
        return Heard((Word(0.0, 0.3, CANARY, 0.9),), "en")


@pytest.mark.parametrize("kept", [False, True])
def test_no_canary_is_left_in_files_and_logs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    kept: bool,
) -> None:
    """Words, samples and pixels of a recorded call; that they would be found is tested with it."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tests.serving.cheap_engines", parrots)
    days = {"estimates": 1.0, "words": 1.0 if kept else 0.0}

    async def run() -> list[dict[str, Any]]:
        async with serving(record={"folder": str(tmp_path / "records"), "days": days}) as url:
            async with calling(url, *tracks(), record=True) as call:
                await until(lambda: any(r["type"] == "transcript" for r in call.records), 20.0)
                await until(lambda: any(r["type"] == "state" and r["labels"] for r in call.records))
                await asyncio.sleep(0.6)
            return call.records

    told = json.dumps(asyncio.run(run()))
    assert CANARY in told
    found = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "estimates.log" for path in found)
    stored = everything_in(tmp_path)
    printed = capfd.readouterr()
    said = caplog.text + printed.out + printed.err
    assert (CANARY.encode() in stored) == kept
    assert CANARY not in said
    wave = (np.sin(2 * np.pi * 1000 * np.arange(64) / 16_000) * 12_000).astype(np.int16)
    for media in (wave.tobytes(), bytes([20]) * 64, bytes([230]) * 64):
        assert media not in stored


def parrots() -> Any:
    engines = cheap_engines()
    engines.transcriber = Parrot()
    return engines


class Hiss(Beeps):
    """Noise that is like no other."""

    async def recv(self) -> av.AudioFrame:
        frame = await super().recv()
        noise = secrets.token_bytes(2 * frame.samples)
        heard = np.repeat(np.frombuffer(noise, np.int16) // 4, 2)[None, :]
        again = av.AudioFrame.from_ndarray(heard, "s16", "stereo")
        again.sample_rate, again.pts, again.time_base = 48_000, frame.pts, frame.time_base
        return again


class Snow(Flashes):
    """Noise that is like no other."""

    async def recv(self) -> av.VideoFrame:
        frame = await super().recv()
        noise = np.frombuffer(secrets.token_bytes(90 * 160 * 3), np.uint8).reshape(self.shape)
        again = av.VideoFrame.from_ndarray(noise, format="rgb24")
        again.pts, again.time_base = frame.pts, frame.time_base
        return again


def overhear(sender: RTCPeerConnection, pieces: dict[str, list[bytes]]) -> None:
    """Collect a piece of all packets of encoded media that `sender` sends, by kind."""
    kinds = {part._ssrc: part.track.kind for part in sender.getSenders()}
    transport = sender.getSenders()[0].transport
    send = transport._send_rtp

    async def send_and_tell(data: bytes) -> None:
        if not is_rtcp(data):
            packet = RtpPacket.parse(data)
            kind = kinds.get(packet.ssrc)
            if kind is not None and len(packet.payload) > 60:
                pieces.setdefault(kind, []).append(packet.payload[30:54])
        await send(data)

    vars(transport)["_send_rtp"] = send_and_tell


def holding(folder: Path, pieces: dict[str, list[bytes]]) -> dict[str, set[str]]:
    """Kind of media -> names of all files that hold a piece of it."""
    contents = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {
        kind: {name for name, data in contents.items() if any(one in data for one in some)}
        for kind, some in pieces.items()
    }


@pytest.mark.parametrize("agreed", [True, False])
def test_encoded_media_is_in_the_file_of_media_alone_and_gone_with_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    agreed: bool,
) -> None:
    """Temporary files and logs are looked at too, while the call goes on and after it."""
    caplog.set_level(logging.DEBUG)
    place, root = tmp_path / "here", tmp_path / "here" / "records"
    root.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.chdir(place)
    record = {"folder": str(root), "days": EVERYTHING}
    pieces: dict[str, list[bytes]] = {}

    async def call() -> Caller:
        begin = time.monotonic() + 0.2
        noise = Hiss(begin, 0.0), Snow(begin)
        async with (
            serving(record=record) as url,
            calling(url, *noise, record=True, media=agreed) as caller,
        ):
            overhear(caller.sender, pieces)
            await until(lambda: "face" in caller.kinds(), 20.0)
            await asyncio.sleep(2.0)
            check()
            return caller

    def check() -> None:
        found = holding(place, pieces)
        assert found == dict.fromkeys(("audio", "video"), {"media.mkv"} if agreed else set())

    caller = asyncio.run(call())
    check()
    if agreed:
        data = next(root.rglob("media.mkv")).read_bytes()
        kept = [sum(one in data for one in some) / len(some) for some in pieces.values()]
        assert min(kept) > 0.5
        for way in (withdrawn, forgotten, swept):
            again = tmp_path / way.__name__
            shutil.copytree(place, again)
            monkeypatch.chdir(again)
            way(again / "records", caller)
            assert holding(again, pieces) == {"audio": set(), "video": set()}
            assert not any(again.rglob("media*"))
    printed = capfd.readouterr()
    said = (caplog.text + printed.out + printed.err).encode()
    assert not any(one in said for some in pieces.values() for one in some)


def withdrawn(root: Path, caller: Caller) -> None:
    async def run() -> None:
        record = {"folder": str(root), "days": EVERYTHING}
        async with serving(record=record) as url, ClientSession(url) as http:
            path = f"/api/sessions/{caller.session}/withdraw"
            async with http.post(path, headers=caller.bearer) as response:
                assert "media" in {part["artefact"] for part in (await response.json())["erased"]}

    asyncio.run(run())


def forgotten(root: Path, caller: Caller) -> None:
    assert sessions_main(["--folder", str(root), "forget", "--session", caller.session]) == 0


def swept(root: Path, caller: Caller) -> None:
    gone = sweep(root, time.time() + 2 * 86_400, {})
    assert "media" in {part.artefact for part in gone[caller.session]}
