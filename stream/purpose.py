"""What the estimates are for, and what that allows."""

from __future__ import annotations

from typing import Literal

Purpose = Literal[
    "self_view",
    "research",
    "personal_training",
    "media_analysis",
    "medical_safety",
    "workplace",
    "education",
]
"""What the estimates are for."""

PROHIBITED = ("workplace", "education")
"""Where emotions must not be inferred from biometric data: AI Act, Article 5(1)(f)."""


def objection(purpose: str, reference: str | None, *, text_only: bool, private: bool) -> str | None:
    """Why `purpose` does not allow what is configured; None: it does.

    `private`: the estimates are shown to the person alone and are not kept.
    """
    if purpose in PROHIBITED and not (text_only or private):
        return (
            f"'purpose' is '{purpose}': there the law (AI Act, Article 5(1)(f)) forbids to infer "
            "emotions from face and voice; set text_only, or serve the private self view alone "
            "(no [record], no [whip], no [group])"
        )
    if purpose == "medical_safety" and not reference:
        return (
            "'purpose' is 'medical_safety': 'purpose_reference' must name the document that "
            "justifies it"
        )
    return None
