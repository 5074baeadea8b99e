"""Faces in pictures: landmarks, expression, pose and quality, followed from frame to frame."""

from __future__ import annotations

from workers.face_features import FEATURE_NAMES, FoundFace

__all__ = ["FEATURE_NAMES", "FoundFace"]
