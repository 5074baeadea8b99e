"""The server over HTTP and WebRTC, with real peers and cheap engines."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import aioice.ice
import pytest
from aiohttp import ClientSession, WSServerHandshakeError
from aiortc import MediaStreamTrack

from stream.calls import Calls
from stream.config import Consent, ServeConfig
from stream.errors import run_command
from stream.metrics import Metrics
from stream.serve import main
from tests.certificates import write_certificate
from tests.conftest import PROJECT
from tests.serving import AGREED, calling, cheap_engines, offer_body, serving, until_no_call
from tests.webrtc_peers import Beeps, Flashes, accept, new_sender, offer_of, until
from workers.messages import Progress

pytestmark = pytest.mark.live


def tracks() -> tuple[MediaStreamTrack, MediaStreamTrack]:
    begin = time.monotonic() + 0.2
    return Beeps(begin, 0.0), Flashes(begin)


def test_a_call_from_offer_to_end() -> None:
    async def run() -> tuple[list[dict[str, Any]], list[dict[str, Any]], str]:
        async with serving() as url, calling(url, *tracks()) as call:
            async with call.http.ws_connect(
                f"/api/sessions/{call.session}/events", headers=call.bearer
            ) as socket:
                await until(lambda: sum(r["type"] == "state" for r in call.records) >= 6)
                await until(lambda: any(not r.get("provisional", True) for r in call.records))
                assert (await (await call.http.get("/healthz")).json())["calls"] == 1
                async with call.http.delete(
                    f"/api/sessions/{call.session}", headers=call.bearer
                ) as response:
                    assert response.status == 204
                told = [json.loads(message.data) async for message in socket]
            await until(lambda: "end" in call.kinds())
            await until_no_call(call.http)
            async with call.http.get("/metrics") as response:
                return call.records, told, await response.text()

    channel, told, metrics = asyncio.run(run())
    for records in (channel, told):
        assert records[0]["type"] == "hello"
        assert records[0]["person"] == "p1"
        assert records[0]["consent"] == AGREED
        assert records[-1]["type"] == "end"
        assert {"state", "face", "clock"} <= {record["type"] for record in records}
    states = [record for record in channel if record["type"] == "state" and record["labels"]]
    assert all(0.0 <= state["lag_s"] < 3.0 for state in states)
    assert 'lddu_calls_ended_total{how="left"} 1.0' in metrics
    assert "lddu_calls 0.0" in metrics


def test_consent_decides_what_is_received_and_computed() -> None:
    async def run() -> list[dict[str, Any]]:
        async with serving() as url:
            async with calling(url, *tracks(), face=False, words=False) as call:
                await until(lambda: "state" in call.kinds())
                assert "a=inactive" in call.answer[call.answer.index("m=video") :]
                await until(lambda: any(r["type"] == "state" and r["labels"] for r in call.records))
            return call.records

    records = asyncio.run(run())
    assert not {"face", "transcript"} & {record["type"] for record in records}


def test_camera_alone_is_a_call() -> None:
    async def run() -> set[str]:
        async with serving() as url, calling(url, tracks()[1]) as call:
            await until(lambda: any(r["type"] == "state" and r["labels"] for r in call.records))
            return call.kinds()

    assert "face" in asyncio.run(run())


def test_metrics_account_for_every_item_of_a_call_that_vanished(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The channel is open and full when the sender vanishes; the call still ends."""
    monkeypatch.setattr(aioice.ice, "CONSENT_INTERVAL", 0.3)
    monkeypatch.setattr(aioice.ice, "CONSENT_FAILURES", 2)

    async def run() -> Metrics:
        metrics, engines, sender = Metrics(), cheap_engines(), new_sender()
        for track in tracks():
            sender.addTrack(track)
        sender.createDataChannel("events")
        config = ServeConfig(reconnect_within=0.5)
        async with Calls(config, engines, metrics) as calls:
            call, answer = await calls.start(
                await offer_of(sender), "self_view", Consent(face=True, voice=True, words=True)
            )
            await accept(sender, answer)
            await until(lambda: call.session.graph.boxes["align"].account.taken > 50)
            ice = sender.getSenders()[0].transport.transport._connection
            for protocol in ice._protocols:
                protocol.transport.abort()
            await until(lambda: not len(calls))
        await sender.close()
        engines.close()
        return metrics

    metrics = asyncio.run(run())
    total, running = metrics.total()
    assert running == 0
    assert sum(metrics.outcomes.values()) == 1
    assert set(metrics.outcomes) <= {"connection lost", "left"}
    for account in total.boxes.values():
        assert account.put == account.taken + sum(account.dropped.values()) + account.inside
        assert account.inside == 0
    for stage in total.stages.values():
        assert stage.taken == stage.processed + sum(stage.failed.values())
    assert total.boxes["vad"].taken > 10


def test_a_call_that_fails_ends_no_other() -> None:
    async def run() -> Metrics:
        metrics, engines = Metrics(), cheap_engines()
        senders = [new_sender(), new_sender()]
        async with Calls(ServeConfig(), engines, metrics) as calls:
            started = []
            for sender in senders:
                sender.addTrack(tracks()[0])
                call, answer = await calls.start(
                    await offer_of(sender), "self_view", Consent(voice=True)
                )
                await accept(sender, answer)
                started.append(call)
            await until(lambda: all(c.session.graph.boxes["vad"].account.put for c in started))
            broken, sound = started
            output = broken.session.graph.output
            output.put_nowait(Progress("p1", "voice", 1.0))  # no record is made of it
            await until(lambda: calls.get(broken.id) is None)
            before = sound.session.graph.boxes["vad"].account.put
            await until(lambda: sound.session.graph.boxes["vad"].account.put > before + 20)
            assert metrics.outcomes == {"failed": 1}
        for sender in senders:
            await sender.close()
        engines.close()
        return metrics

    assert asyncio.run(run()).outcomes == {"failed": 1, "server stopped": 1}


def test_caller_that_never_connects_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.line.CONNECT_S", 0.2)

    async def run() -> Metrics:
        metrics, engines, sender = Metrics(), cheap_engines(), new_sender()
        sender.addTrack(tracks()[0])
        async with Calls(ServeConfig(), engines, metrics) as calls:
            await calls.start(await offer_of(sender), "self_view", Consent(voice=True))
            await until(lambda: not len(calls))
        await sender.close()
        engines.close()
        return metrics

    assert asyncio.run(run()).outcomes == {"never connected": 1}


async def problem(http: ClientSession, method: str, path: str, **request: Any) -> tuple[int, str]:
    """Status and error of a request that must fail with an explanation."""
    async with http.request(method, path, **request) as response:
        body = await response.json()
        assert set(body) == {"error", "hint"}
        assert body["error"]
        return response.status, body["error"]


def test_requests_that_cannot_be_served() -> None:
    async def run() -> None:
        sender = new_sender()
        sender.addTrack(tracks()[0])
        good = await offer_body(sender)
        async with serving() as url, ClientSession(url) as http:

            async def offer(**changes: Any) -> tuple[int, str]:
                return await problem(http, "POST", "/api/offer", json={**good, **changes})

            assert await problem(http, "POST", "/api/offer", data="x") == (
                415,
                "an offer is application/json, not text/plain",
            )
            json_type = {"Content-Type": "application/json"}
            status, text = await problem(http, "POST", "/api/offer", data="{", headers=json_type)
            assert (status, text[:31]) == (400, "the request is not an offer: bo")
            assert (await offer(type="answer"))[0] == 400
            assert (await offer(sdp=3))[0] == 400
            status, text = await offer(surprise=1)
            assert status == 400
            assert "surprise" in text
            assert (await offer(sdp="v=0"))[0] == 400
            assert (await offer(sdp="x" * 70_000))[0] == 413
            status, text = await offer(purpose="research")
            assert status == 403
            assert "'self_view'" in text
            status, text = await offer(consent={**AGREED, "version": "0"})
            assert status == 403
            assert "'0'" in text
            assert (await offer(consent={"version": "2"}))[0] == 403
            only_face = {"version": "2", "face": True}
            status, text = await offer(consent=only_face)
            assert status == 400
            assert "agreed to (video)" in text
            assert (await problem(http, "GET", "/nowhere"))[0] == 404
            assert (await problem(http, "GET", "/static/../serve.py"))[0] == 404
            assert (await problem(http, "GET", "/api/sessions/none/events"))[0] == 404
            assert (await problem(http, "DELETE", "/api/sessions/none"))[0] == 404
            assert (await problem(http, "GET", "/api/offer"))[0] == 405
            assert (await problem(http, "PUT", "/api/config"))[0] == 405
            assert (await (await http.get("/healthz")).json())["calls"] == 0
        await sender.close()

    asyncio.run(run())


def test_only_the_own_page_may_use_the_server() -> None:
    async def run() -> None:
        async with serving() as url, ClientSession(url) as http:
            own = url.removeprefix("http://")
            for path in ("/api/config", "/metrics", "/"):
                for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}):
                    status, _ = await problem(http, "GET", path, headers=headers)
                    assert status == 403
            foreign = {"Host": "rebound.example", "Origin": "http://rebound.example"}
            assert (await problem(http, "GET", "/api/config", headers=foreign))[0] == 403
            with pytest.raises(WSServerHandshakeError) as refused:
                await http.ws_connect(
                    "/api/sessions/x/events", headers={"Origin": "http://evil.example"}
                )
            assert refused.value.status == 403
            async with http.get("/api/config", headers={"Origin": f"http://{own}"}) as response:
                assert response.status == 200

    asyncio.run(run())


def test_page_config_and_headers() -> None:
    async def run() -> None:
        async with serving() as url, ClientSession(url) as http:
            async with http.get("/") as response:
                assert "<html" in await response.text()
                assert "default-src 'self'" in response.headers["Content-Security-Policy"]
            async with http.get("/static/app.js") as response:
                assert response.status == 200
            async with http.get("/api/config") as response:
                config = await response.json()
        assert config["purpose"] == "self_view"
        assert config["consent_version"] == "2"
        assert config["ice_servers"] == []
        assert config["modalities"] == ["face", "voice", "words"]
        assert (config["window_s"], config["hop_s"], config["analysis_fps"]) == (3.0, 0.25, 10.0)
        assert config["labels"][0] == "happy"

    asyncio.run(run())


def test_full_server_says_so() -> None:
    async def run() -> None:
        async with serving(max_sessions=1) as url, calling(url, tracks()[0]) as call:
            second = new_sender()
            second.addTrack(tracks()[0])
            body = await offer_body(second)
            async with call.http.post("/api/offer", json=body) as response:
                assert response.status == 503
                assert response.headers["Retry-After"]
                assert "max_sessions" in (await response.json())["hint"]
            await second.close()

    asyncio.run(run())


def test_served_over_tls(tmp_path: Path) -> None:
    cert, key = write_certificate(tmp_path)

    async def run() -> int:
        trusted = ssl.create_default_context(cafile=str(cert))
        async with serving(tls={"cert": str(cert), "key": str(key)}) as url:
            assert url.startswith("https://")
            async with ClientSession(url) as http, http.get("/healthz", ssl=trusted) as response:
                return response.status

    assert asyncio.run(run()) == 200


def failing(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command prints when it refuses to start."""
    assert run_command(lambda: main(arguments)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "next: " in printed.err
    return printed.err


def test_command_refuses_other_machines_without_tls(capsys: pytest.CaptureFixture[str]) -> None:
    assert "without TLS" in failing(capsys, "--host", "0.0.0.0")
    assert "without TLS" in failing(capsys, "--host", "::")
    assert "without TLS" in failing(capsys, "--host", "example.org")


def test_command_refuses_to_serve_whoever_reaches_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    cert, key = write_certificate(tmp_path)
    tls = ("--tls-cert", str(cert), "--tls-key", str(key))
    error = failing(capsys, "--host", "0.0.0.0", *tls, "--set", "purpose=research")
    assert "whoever reaches this machine" in error
    assert "stream.tickets key" in error


def test_command_names_a_busy_port(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        error = failing(capsys, "--port", str(port))
    assert f"127.0.0.1 port {port}: address already in use" in error
    assert "--port" in error


def test_command_names_a_wrong_configuration(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "serve.toml"
    file.write_text("[analysis]\nframes = 3\n")
    assert "unknown key 'analysis.frames'" in failing(capsys, str(file))
    assert "'port'" in failing(capsys, "--port", "70000")
    assert "cannot be read" in failing(capsys, str(tmp_path / "none.toml"))
    error = failing(capsys, "--tls-cert", "a.pem", "--tls-key", "b.pem")
    assert "a.pem" in error


def test_command_names_missing_weights(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    checkpoint = tmp_path / "none"
    error = failing(capsys, "--port", "0", "--set", f"model.checkpoint={checkpoint}")
    assert str(checkpoint) in error


def test_command_serves_until_it_is_stopped() -> None:
    """As people start it: real models, one line, and a clean end on Ctrl-C."""
    config = str(PROJECT / "configs/serve.toml")
    command = [sys.executable, "-m", "stream.serve", config, "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            assert line.startswith("serving http://127.0.0.1:")
            asyncio.run(ask_health(line.split()[1]))
            os.kill(server.pid, signal.SIGINT)
            _, errors = server.communicate(timeout=20)
        finally:
            server.kill()
    assert server.returncode == 0
    assert errors == ""


async def ask_health(url: str) -> None:
    async with ClientSession() as http, http.get(f"{url}healthz") as response:
        assert (await response.json())["status"] == "ok"
