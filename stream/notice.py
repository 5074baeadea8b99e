"""What people must be told, and what the operator must have weighed, from the configuration.

``python -m stream.notice CONFIG`` prints the notice (GDPR, Article 13; AI Act, Article 50(3)) as
Markdown, ``--assessment`` a data protection impact assessment (GDPR, Article 35) with what the
software knows filled in and what only the operator can know asked. A server shows the notice at
``/notice``. Both are drafts: they take no lawyer's place.
"""

from __future__ import annotations

import argparse
import html
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stream.config import ServeConfig, load
from stream.errors import run_command
from stream.guards import is_loopback

LOOKED_AT = {
    "face": "Your face, from the camera: points, movements and quality of the picture.",
    "voice": "Your voice, from the microphone: how something is said.",
    "words": "Your words, from the microphone: what is said, as text.",
}
KEPT = {"estimates": "estimates", "words": "words", "faces": "outlines of faces"}
ASK = "TO ANSWER: "
"""Stands before what only the operator can know."""


@dataclass(frozen=True, slots=True)
class Part:
    title: str
    lines: tuple[str, ...]


def notice(config: ServeConfig) -> list[Part]:
    """What a person in a call must be told."""
    return [
        Part(
            "What this is",
            (
                (
                    "A computer estimates which emotions your expression, voice or words look "
                    "like. It cannot know what you feel, is often wrong, and differs between "
                    "people and cultures."
                ),
                (
                    "You are told because the law demands it of systems that infer emotions (AI "
                    "Act, Article 50(3))."
                ),
            ),
        ),
        Part("Who is responsible", (config.operator or f"{ASK}who runs this server (operator)",)),
        Part("What for", _purpose(config)),
        Part(
            "What is looked at, if you agree to it",
            tuple(LOOKED_AT[name] for name in config.modalities),
        ),
        Part("Where it goes", _recipients(config)),
        Part("What is kept", _kept(config)),
        Part(
            "What you can do",
            (
                "You agree to each of these by itself, and to none of them if you do not want to.",
                (
                    "You can stop at any time, and take your consent back at any time (Withdraw): "
                    "then all that is kept of the session is erased and you get a receipt. What "
                    "was done before stays lawful."
                ),
                (
                    "You may ask who is responsible what is kept of you, have it corrected or "
                    "erased, and complain to a data protection authority."
                ),
            ),
        ),
    ]


def assessment(config: ServeConfig) -> list[Part]:
    """What the operator must have weighed before people are asked."""
    return [
        Part("Processing", (*_purpose(config), *_recipients(config), *_kept(config))),
        Part(
            "Lawfulness, necessity, proportion",
            (
                (
                    "Basis: consent, per person and per modality (GDPR, Articles 6(1)(a) and 7), "
                    "given before anything is received, to a version of the text."
                ),
                "Where emotions reveal health or beliefs, explicit consent (Article 9(2)(a)).",
                (
                    f"{ASK}why are estimates of emotions needed for this purpose, and why is less "
                    "not enough (fewer modalities, text_only, the private self view, shorter "
                    "retention)?"
                ),
                f"{ASK}are the people free to refuse without a disadvantage?",
                (
                    "Work and education: forbidden but for text alone or the private self view "
                    f"(AI Act, Article 5(1)(f)); purpose here: {config.purpose}."
                ),
                f"{ASK}does the use count as high risk (AI Act, Annex III)?",
            ),
        ),
        Part(
            "Risks to people, and what is done about them",
            (
                (
                    "A wrong estimate is believed: every estimate has a variance; where it is too "
                    "large, or inputs are unlike the training data, the answer is 'not sure', "
                    "with the reason."
                ),
                (
                    f"{ASK}for whom does it work worse (language, age, skin, illness, culture)? "
                    "See the model card."
                ),
                "Somebody else listens in: " + _protection(config),
                "What is kept is used otherwise: " + " ".join(_kept(config)),
                (
                    "People who did not agree are in the picture or can be heard: the page says "
                    f"so; {ASK}how is it avoided?"
                ),
                (
                    "The server is misused for decisions about people: the documentation says "
                    f"what it must not be used for; {ASK}who sees to that?"
                ),
            ),
        ),
        Part(
            "Decision",
            (f"{ASK}advice of the data protection officer, date, signature, date of review",),
        ),
    ]


def _purpose(config: ServeConfig) -> tuple[str, ...]:
    stated = f"Purpose: {config.purpose.replace('_', ' ')}."
    reference = config.purpose_reference
    return (stated,) if reference is None else (stated, f"Justified by: {reference}.")


def _recipients(config: ServeConfig) -> tuple[str, ...]:
    local = is_loopback(config.host)
    lines = ["Everything is computed on " + ("this machine." if local else f"{config.host}.")]
    if config.private:
        lines.append("The estimates are shown to you alone.")
    if config.whip is not None:
        lines.append("Estimates of published media are shown to whoever has the publishing token.")
    if config.room_view == "everybody":
        lines.append(
            "If you agree to it, everybody in your room sees your estimates and words while the "
            "call lasts."
        )
    if config.group is not None:
        lines.append(
            "If you agree to be counted, your room is told whether few, some or most "
            f"of at least {config.group.least} people look like something, never who."
        )
    if config.record is not None:
        lines.append("Recorded sessions can be read by whoever runs this server.")
    asked = [*config.ice_servers, *(config.turn.urls if config.turn is not None else ())]
    if asked:
        lines.append(
            f"These servers help to connect, and learn the network addresses: {', '.join(asked)}."
        )
        if any(url.startswith("turn") for url in asked):
            lines.append("A TURN server passes picture and sound on, encrypted.")
    else:
        lines.append("Nobody else receives anything.")
    return tuple(lines)


def _kept(config: ServeConfig) -> tuple[str, ...]:
    lines = []
    if config.record is None or config.record.days.media == 0:
        lines.append("Picture and sound are never kept.")
    if config.record is None:
        lines.append("Words and estimates are forgotten when the session ends.")
    else:
        days = config.record.days.model_dump()
        media = days.pop("media")
        kept = [f"{KEPT[name]} for {n:g} days" for name, n in days.items() if n > 0]
        lines.append(f"If you agree to the record: {', '.join(kept)}. Then they are erased.")
        if media > 0:
            lines.append(
                f"If you also agree to that, picture and sound are kept for {media:g} days, as "
                "they were sent. Otherwise they are never kept."
            )
    if config.audit_file is not None:
        lines.append(
            "That a session took place, what was agreed to and what was erased is logged, without "
            "name or content."
        )
    return tuple(lines)


def _protection(config: ServeConfig) -> str:
    media = "media are encrypted (DTLS-SRTP)"
    page = "the server can be reached from this machine only"
    if not is_loopback(config.host):
        page = "page and signalling come over TLS, and only people with a ticket or token get in"
    return f"{media}, {page}; every session has a key of its own."


def markdown(title: str, parts: Sequence[Part]) -> str:
    """As Markdown."""
    chapters = [
        f"## {part.title}\n\n" + "\n".join(f"* {line}" for line in part.lines) for part in parts
    ]
    return "\n\n".join([f"# {title}", *chapters]) + "\n"


def page(title: str, parts: Sequence[Part]) -> str:
    """As a page of HTML in the style of the server's own."""
    chapters = "".join(
        f'<section class="card"><h2>{html.escape(part.title)}</h2>'
        + "".join(f"<p>{html.escape(line)}</p>" for line in part.lines)
        + "</section>"
        for part in parts
    )
    name = html.escape(title)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f'<title>{name}</title><link rel="stylesheet" href="/static/style.css"></head>'
        f'<body><header class="top"><h1>{name}</h1></header><main>{chapters}</main></body></html>'
    )


NOTICE_TITLE = "How your data are used"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m stream.notice", description="Notice and impact assessment."
    )
    parser.add_argument("config", type=Path, help="configuration of the server")
    parser.add_argument("--assessment", action="store_true", help="the assessment instead")
    asked = parser.parse_args(arguments)
    config = load(ServeConfig, asked.config)
    if asked.assessment:
        print(markdown("Data protection impact assessment", assessment(config)), end="")
    else:
        print(markdown(NOTICE_TITLE, notice(config)), end="")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
