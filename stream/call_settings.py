"""What one call may set for itself: smoothing, sensitivity per label, and a pause.

Sent with the offer or later; the configuration of the server is what holds without.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field, ValidationError

from stream.errors import StreamError
from stream.sections import Section
from stream.smoothing import FilterName
from workers.filters import Float64

MAX_SENSITIVITY = 2.0
"""Logits by which a threshold may be moved to either side."""

Shift = Annotated[
    float, Field(ge=-MAX_SENSITIVITY, le=MAX_SENSITIVITY, allow_inf_nan=False, strict=False)
]


class SettingsError(StreamError):
    """Settings that a call cannot have."""


class CallSettings(Section):
    """Of one call; what is not given stays as it is."""

    smoothing: FilterName | None = None
    """Filter over time; None: that of the configuration."""
    sensitivity: dict[str, Shift] = Field(default_factory=dict, max_length=64)
    """Label -> logits by which its threshold is lowered (so more is said); 0: as trained."""
    paused: bool = False
    """Nothing is analysed: pictures are dropped and sound is replaced by silence."""

    def shifts(self, labels: Sequence[str]) -> Float64:
        """(C,) logits by which thresholds are lowered. Raises ``SettingsError``."""
        unknown = sorted(set(self.sensitivity) - set(labels))
        if unknown:
            raise SettingsError(
                f"settings: sensitivity of unknown labels: {', '.join(unknown)}",
                hint=f"the labels are {', '.join(labels)}",
            )
        return np.array([self.sensitivity.get(name, 0.0) for name in labels], np.float64)

    def changed(self, change: bytes) -> CallSettings:
        """These settings with what the JSON object `change` gives. Raises ``SettingsError``."""
        try:
            given = CallSettings.model_validate_json(change)
        except ValidationError as error:
            raise SettingsError(
                f"settings: {explain(error)}",
                hint='send any of {"smoothing", "sensitivity", "paused"}, see docs/serving.md',
            ) from None
        return self.model_copy(
            update={name: getattr(given, name) for name in given.model_fields_set}
        )


def explain(error: ValidationError) -> str:
    """What is wrong and where, without what was sent."""
    items = error.errors(include_input=False, include_url=False)
    return "; ".join(
        f"{'.'.join(str(part) for part in item['loc']) or 'body'}: {item['msg']}" for item in items
    )
