"""Metrics as a test reads them."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families


def value(metrics: str, name: str, **labels: str) -> float:
    """Sum of the samples of that name and these labels; 0 where there are none."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    )
