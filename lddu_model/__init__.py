"""Multi-label emotion recognition from face, voice and words, with an honest variance.

    model = lddu_model.load("lddu_model/checkpoints/live-v1")
    prediction = model.predict([Sample(features, mask)])

torch is loaded with the first use of ``create`` or ``load``, not with this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lddu_model.spec import FeatureSpec, ModalitySpec, Prediction, Sample

if TYPE_CHECKING:
    from lddu_model.api import Model, create, use_threads
    from lddu_model.checkpoint import load

__all__ = [
    "FeatureSpec",
    "ModalitySpec",
    "Model",
    "Prediction",
    "Sample",
    "create",
    "load",
    "use_threads",
]


def __getattr__(name: str) -> Any:
    if name in ("Model", "create", "use_threads"):
        from lddu_model import api

        return getattr(api, name)
    if name == "load":
        from lddu_model.checkpoint import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
