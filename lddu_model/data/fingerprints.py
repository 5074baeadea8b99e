"""Known counts of data sets, so that a mistake in joining labels is found before training.

Rows that are shifted by one, a label list of length six that is read as six labels, or a file of
another release all change how many labels are positive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lddu_model.data.conversion import Count
from lddu_model.errors import DataError


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Numbers of a known release; `positives` may leave out splits of which none is known."""

    name: str
    samples: Mapping[str, int]
    positives: Mapping[str, int]

    def differences(self, found: Mapping[str, Count]) -> list[str]:
        """One line per count that differs."""
        lines = []
        for split, expected in self.samples.items():
            samples = found[split].samples if split in found else 0
            if samples != expected:
                lines.append(f"{split} has {samples:,} samples, not {expected:,}")
        for split, expected in self.positives.items():
            positives = found[split].positives if split in found else 0
            if positives != expected:
                shown = "no labels" if positives is None else f"{positives:,} positive labels"
                lines.append(f"{split} has {shown}, not {expected:,}")
        return lines


_MOSEI = {"train": 16_326, "validation": 1_871, "test": 4_659}

MOSEI = (
    Fingerprint(
        "CMU-MOSEI, label table (averaged annotation > 0)",
        _MOSEI,
        {"train": 22_453, "validation": 2_523, "test": 6_333},
    ),
    Fingerprint("CMU-MOSEI, tgt lists of the release", _MOSEI, {"test": 6_300}),
)

M3ED_INSIDE = {
    "utterance": (
        Fingerprint(
            "M3ED-INSIDE, utterances", {"train": 7_867, "validation": 1_189, "test": 1_774}, {}
        ),
    ),
    "dialogue": (
        Fingerprint("M3ED-INSIDE, dialogues", {"train": 656, "validation": 121, "test": 174}, {}),
    ),
}
"""By protocol."""


def identify(known: Sequence[Fingerprint], found: Mapping[str, Count], where: str) -> str:
    """The name of the fingerprint that `found` has; otherwise an error that says what differs."""
    for fingerprint in known:
        if not fingerprint.differences(found):
            return fingerprint.name
    lines = [
        f"{fingerprint.name}: {'; '.join(fingerprint.differences(found))}" for fingerprint in known
    ]
    raise DataError(
        f"{where}: the counts are those of no known release\n  " + "\n  ".join(lines),
        "check that file and labels are of the same release; --part accepts a part of a set",
    )
