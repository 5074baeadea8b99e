"""The model card as a page, and the part of it that says what a model cannot do."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp import ClientSession

from stream.card import CardError, card_page, limits, read_card
from stream.engines import SHIPPED_CHECKPOINT
from tests.serving import serving

CARD = """# Model card: x

<!-- a comment -->
## Input

    a command

| a | b |
| --- | --- |
| 1 | <b>2</b> |

## What it was trained on

Texts.

## Limits

* [nobody](javascript:alert(1)) <script>alert(1)</script>
"""


def test_html_in_a_card_is_text() -> None:
    page = card_page(CARD)
    assert "<title>Model card: x</title>" in page and "<h1>Model card: x</h1>" in page
    assert "<td>&lt;b&gt;2&lt;/b&gt;</td>" in page
    assert "&lt;script&gt;" in page and "<script" not in page
    assert '<pre tabindex="0"><code>a command' in page
    assert 'href="javascript' not in page and "comment" not in page


def test_limits_come_first_and_the_rest_is_left_out() -> None:
    told = limits(CARD)
    assert told.index("## Limits") < told.index("## What it was trained on")
    assert "## Input" not in told
    assert limits("# a\n\n## Input\n") == "# a\n\n## Input\n"


def test_the_shipped_card_says_its_limits() -> None:
    told = limits(read_card(SHIPPED_CHECKPOINT))
    first = told.index("## What it must not be used for")
    assert first < told.index("## What it was trained on")
    assert "Seen to go wrong" in told and "## Thresholds" not in told


def test_a_checkpoint_without_a_card_is_told(tmp_path: Path) -> None:
    with pytest.raises(CardError, match="no readable model card"):
        read_card(tmp_path)


def test_the_server_shows_the_card_of_its_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(CARD)

    async def ask(checkpoint: Path | None) -> list[tuple[int, str]]:
        model = {} if checkpoint is None else {"checkpoint": str(checkpoint)}
        async with serving(model=model) as url, ClientSession(url) as http:
            answers = []
            for path in ("/card", "/card?part=limits"):
                async with http.get(path) as response:
                    answers.append((response.status, await response.text()))
            return answers

    (whole, part) = asyncio.run(ask(None))
    assert whole[0] == part[0] == 200
    assert "<h2>Thresholds (from validation)</h2>" in whole[1]
    assert "<h2>What it must not be used for</h2>" in part[1] and "<h2>Thresholds" not in part[1]
    assert "<h2>Limits</h2>" in asyncio.run(ask(tmp_path))[1][1]
    [(status, text), _] = asyncio.run(ask(tmp_path / "none"))
    assert status == 404 and "no readable model card" in text
