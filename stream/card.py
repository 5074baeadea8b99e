"""The model card of a checkpoint as a page: all of it, or what limits the model."""

from __future__ import annotations

import html
import re
from pathlib import Path

from markdown_it import MarkdownIt

from stream.errors import StreamError

LIMITS = tuple(
    re.compile(words, re.IGNORECASE)
    for words in ("must not", "limit|wrong", "worth|trained on|figures in short")
)
"""Titles of the chapters that say what a model cannot do and what it was made from, in order."""


class CardError(StreamError):
    """There is no model card to show."""


def read_card(folder: Path) -> str:
    """README.md of a checkpoint, as Markdown. Raises ``CardError``."""
    path = folder / "README.md"
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise CardError(
            f"the checkpoint {folder.name} has no readable model card (README.md)",
            hint="write one with python -m lddu_model.card FOLDER",
        ) from None


def limits(card: str) -> str:
    """The chapters that say what the model cannot do, the gravest first; all, if none says so."""
    title, *chapters = re.split(r"^(?=## )", card, flags=re.MULTILINE)
    titles = [chapter.partition("\n")[0] for chapter in chapters]
    chosen = [
        chapter
        for kind in LIMITS
        for name, chapter in zip(titles, chapters, strict=True)
        if next((each for each in LIMITS if each.search(name)), None) is kind
    ]
    if not chosen:
        return card
    return title.partition("\n")[0] + "\n\n" + "".join(chosen)


def card_html(card: str, *, links: bool = True) -> str:
    """HTML of `card`; HTML in it is shown as text. Without `links` it refers to nothing."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    if not links:
        markdown.disable(["image", "link", "autolink"])
    shown = str(markdown.render(re.sub(r"<!--.*?-->", "", card, flags=re.DOTALL)))
    return shown.replace("<pre>", '<pre tabindex="0">')  # where it scrolls, also by keyboard


def card_page(card: str) -> str:
    """As a page of HTML in the style of the server's own; HTML in `card` is shown as text."""
    title, _, rest = card.partition("\n")
    name = html.escape(title.lstrip("# ").strip())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{name}</title><link rel="stylesheet" href="/static/style.css"></head>'
        f'<body><header class="top"><h1>{name}</h1></header>'
        '<main lang="en"><section class="card model-card" tabindex="0">'
        f"{card_html(rest)}</section></main></body></html>"
    )
