"""What people are told fits what the server does."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from stream.config import ServeConfig
from stream.errors import run_command
from stream.notice import ASK, assessment, main, markdown, notice
from tests.conftest import PROJECT
from tests.serving import serving
from tests.test_whip import WHIP


def told(**settings: Any) -> str:
    return markdown("Notice", notice(ServeConfig.model_validate(settings)))


def test_the_default_is_private_and_keeps_nothing() -> None:
    text = told()
    for line in (
        "shown to you alone",
        "Nobody else receives anything",
        "this machine",
        "forgotten when the session ends",
        "Your face",
        "Your voice",
        "Your words",
        f"{ASK}who runs this server",
    ):
        assert line in text
    assert "logged" not in text and "Recorded" not in text


@pytest.mark.parametrize(
    ("settings", "there", "not_there"),
    [
        (
            {"record": {"folder": "r", "days": {"estimates": 30, "words": 0.5}}},
            [
                "estimates for 30 days, words for 0.5 days",
                "Recorded sessions can be read",
                "logged",
            ],
            ["shown to you alone", "forgotten", "outlines"],
        ),
        ({"audit": "a.log"}, ["logged", "forgotten"], []),
        ({"whip": WHIP}, ["publishing token"], ["shown to you alone"]),
        ({"text_only": True}, ["Your words"], ["Your face", "Your voice"]),
        (
            {"ice_servers": ["stun:s.example"]},
            ["stun:s.example"],
            ["Nobody else", "passes picture"],
        ),
        (
            {"turn": {"urls": ["turn:t.example"], "secret": "s" * 16}},
            ["turn:t.example", "passes picture and sound on, encrypted"],
            ["Nobody else", "s" * 16],
        ),
        ({"host": "calls.example"}, ["computed on calls.example"], ["this machine"]),
        ({"operator": "A. B., a@b.example"}, ["A. B., a@b.example"], [ASK]),
        (
            {"purpose": "medical_safety", "purpose_reference": "DPIA 7"},
            ["medical safety", "DPIA 7"],
            [],
        ),
    ],
)
def test_each_setting_is_told(
    settings: dict[str, Any], there: list[str], not_there: list[str]
) -> None:
    text = told(**settings)
    assert [line for line in there if line not in text] == []
    assert [line for line in not_there if line in text] == []


def test_the_assessment_asks_what_only_people_know() -> None:
    text = markdown("Assessment", assessment(ServeConfig(host="calls.example")))
    assert text.count(ASK) >= 6
    assert "over TLS, and only people with a ticket" in text


def test_it_is_printed_and_shown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = str(PROJECT / "configs/serve.toml")
    assert run_command(lambda: main([config])) == 0
    assert capsys.readouterr().out.startswith("# How your data are used\n")
    assert run_command(lambda: main([config, "--assessment"])) == 0
    assert "## Decision" in capsys.readouterr().out
    assert run_command(lambda: main([str(tmp_path / "none.toml")])) == 2

    async def run() -> str:
        async with (
            serving(operator="<b>A & B</b>") as url,
            ClientSession(url) as http,
            http.get("/notice") as response,
        ):
            assert response.content_type == "text/html"
            return await response.text()

    page = asyncio.run(run())
    assert "&lt;b&gt;A &amp; B&lt;/b&gt;" in page and "<b>" not in page
