"""How facial expressions look in blendshapes: tables for ``data.facs``.

Action units are those of the Facial Action Coding System (Ekman and Friesen 1978); the units of an
emotion follow the prototypes and major variants of its investigators' guide. How strongly a unit
moves a blendshape follows what mediapipe's face landmarker really puts out, which differs from
ARKit: `cheekSquint`, `noseSneer` and `cheekPuff` stay at zero, `eyeWide` hardly moves, a raised
lower lid shows in `eyeSquint`, a wrinkled nose in `browDown` and `mouthUpperUp`.

A name without side means the left and the right shape.
"""

from __future__ import annotations

from collections.abc import Mapping

SIDED = frozenset(
    {
        "browDown",
        "browOuterUp",
        "eyeBlink",
        "eyeLookDown",
        "eyeLookUp",
        "eyeSquint",
        "eyeWide",
        "mouthDimple",
        "mouthFrown",
        "mouthLowerDown",
        "mouthPress",
        "mouthSmile",
        "mouthStretch",
        "mouthUpperUp",
    }
)

ACTION_UNITS: Mapping[str, Mapping[str, float]] = {
    "1 inner brow raiser": {"browInnerUp": 0.8, "browDown": -0.6},
    "2 outer brow raiser": {"browOuterUp": 0.6, "browDown": -0.6},
    "1+4 grieving brow": {"browInnerUp": 0.55, "browDown": 0.12, "browOuterUp": -0.4},
    "4 brow lowerer": {"browDown": 0.75, "browInnerUp": -0.8, "browOuterUp": -0.8},
    "5 upper lid raiser": {"eyeWide": 0.15, "eyeSquint": -0.6, "eyeBlink": -0.7},
    "6 cheek raiser": {"eyeSquint": 0.4, "eyeBlink": 0.1},
    "7 lid tightener": {"eyeSquint": 0.4, "eyeBlink": 0.12},
    "9 nose wrinkler": {"browDown": 0.55, "mouthUpperUp": 0.45, "eyeSquint": 0.35},
    "10 upper lip raiser": {"mouthUpperUp": 0.55, "mouthShrugUpper": 0.08},
    "12 lip corner puller": {"mouthSmile": 0.9, "mouthFrown": -1.0, "mouthPress": 0.1},
    "15 lip corner depressor": {"mouthFrown": 0.45, "mouthSmile": -1.0, "mouthStretch": 0.05},
    "16 lower lip depressor": {"mouthLowerDown": 0.4},
    "17 chin raiser": {"mouthShrugLower": 0.45, "mouthRollLower": 0.12, "mouthFrown": 0.08},
    "20 lip stretcher": {"mouthStretch": 0.35, "mouthLowerDown": 0.4, "mouthSmile": 0.05},
    "23 lip tightener": {"mouthPress": 0.4, "mouthRollLower": 0.2, "mouthRollUpper": 0.12},
    "24 lip pressor": {"mouthPress": 0.4, "mouthRollLower": 0.25, "mouthShrugLower": 0.15},
    "25 lips part": {"mouthUpperUp": 0.5, "mouthLowerDown": 0.3},
    "26 jaw drop": {"jawOpen": 0.35, "mouthLowerDown": 0.1},
    "27 mouth stretch": {"jawOpen": 0.65, "mouthFunnel": 0.08, "mouthPucker": 0.1},
    "mouth taken for a smile": {"mouthSmile": 0.45},
    "63 eyes down": {"eyeLookDown": 0.4, "eyeBlink": 0.2, "eyeLookUp": -0.8},
}
"""What each unit does at full strength; a negative number takes that share of the shape away."""

Unit = tuple[str, float]

PROTOTYPES: Mapping[str, tuple[Unit, ...]] = {
    "happy": (
        ("12 lip corner puller", 1.0),
        ("6 cheek raiser", 0.7),
        ("25 lips part", 0.6),
        ("26 jaw drop", 0.2),
    ),
    "sad": (
        ("1+4 grieving brow", 0.85),
        ("15 lip corner depressor", 0.8),
        ("17 chin raiser", 0.5),
        ("63 eyes down", 0.5),
        ("7 lid tightener", 0.2),
    ),
    "anger": (
        ("4 brow lowerer", 1.0),
        ("7 lid tightener", 0.6),
        ("5 upper lid raiser", 0.3),
        ("23 lip tightener", 0.6),
        ("24 lip pressor", 0.5),
        ("17 chin raiser", 0.3),
        ("16 lower lip depressor", 0.2),
    ),
    "surprise": (
        ("1 inner brow raiser", 0.95),
        ("2 outer brow raiser", 0.95),
        ("5 upper lid raiser", 0.8),
        ("26 jaw drop", 0.5),
        ("27 mouth stretch", 0.5),
    ),
    "disgust": (
        ("9 nose wrinkler", 0.9),
        ("mouth taken for a smile", 0.35),
        ("10 upper lip raiser", 0.75),
        ("7 lid tightener", 0.4),
        ("15 lip corner depressor", 0.3),
        ("16 lower lip depressor", 0.3),
        ("17 chin raiser", 0.3),
    ),
    "fear": (
        ("1 inner brow raiser", 0.9),
        ("1+4 grieving brow", 0.5),
        ("2 outer brow raiser", 0.5),
        ("5 upper lid raiser", 0.95),
        ("20 lip stretcher", 0.85),
        ("mouth taken for a smile", 0.3),
        ("26 jaw drop", 0.5),
        ("25 lips part", 0.3),
    ),
}
"""Units of an emotion, with the chance that a display of it contains the unit."""

BLENDS: tuple[tuple[str, str], ...] = (
    ("happy", "surprise"),
    ("sad", "anger"),
    ("sad", "fear"),
    ("anger", "disgust"),
    ("surprise", "fear"),
    ("disgust", "sad"),
)
"""Emotions that are shown together."""

# (chance, low, high): with that chance a face at rest has the shape between low and high.
REST: Mapping[str, tuple[float, float, float]] = {
    "browDown": (0.4, 0.0, 0.75),
    "browInnerUp": (0.65, 0.0, 0.7),
    "browOuterUp": (0.75, 0.0, 0.6),
    "eyeBlink": (1.0, 0.02, 0.3),
    "eyeLookDown": (1.0, 0.08, 0.5),
    "eyeLookUp": (1.0, 0.02, 0.12),
    "eyeSquint": (1.0, 0.02, 0.6),
    "eyeWide": (0.5, 0.0, 0.1),
    "jawOpen": (0.6, 0.0, 0.12),
    "mouthDimple": (0.7, 0.0, 0.1),
    "mouthFrown": (0.35, 0.0, 0.25),
    "mouthLowerDown": (0.6, 0.0, 0.25),
    "mouthPress": (1.0, 0.0, 0.25),
    "mouthPucker": (0.6, 0.0, 0.2),
    "mouthRollLower": (0.6, 0.0, 0.12),
    "mouthRollUpper": (0.7, 0.0, 0.12),
    "mouthShrugLower": (0.5, 0.0, 0.18),
    "mouthShrugUpper": (0.6, 0.0, 0.06),
    "mouthSmile": (0.5, 0.0, 0.28),
    "mouthStretch": (0.6, 0.0, 0.12),
    "mouthUpperUp": (0.5, 0.0, 0.18),
}
"""Faces at rest differ more between people than weak expressions do within one."""

VISEMES: Mapping[str, Mapping[str, float]] = {
    "open": {"jawOpen": 0.4, "mouthLowerDown": 0.55, "mouthUpperUp": 0.2},
    "spread": {
        "mouthSmile": 0.6,
        "mouthStretch": 0.25,
        "mouthUpperUp": 0.4,
        "mouthLowerDown": 0.3,
        "jawOpen": 0.1,
    },
    "rounded": {"mouthPucker": 0.8, "mouthFunnel": 0.15, "jawOpen": 0.1},
    "closed": {"mouthPress": 0.3, "mouthRollLower": 0.25, "mouthRollUpper": 0.15},
    "teeth": {"mouthUpperUp": 0.35, "mouthRollLower": 0.15, "mouthShrugUpper": 0.06},
}
"""Mouth shapes of speech at full strength. A spread mouth is a smile to the landmarker."""

EMPHASIS: Mapping[str, float] = {"browInnerUp": 0.85, "browOuterUp": 0.75, "browDown": 0.6}
"""Largest movement of the brows with which speakers stress words."""
