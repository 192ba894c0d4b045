"""Titles of scores, for tables and reports."""

from collections.abc import Mapping
from typing import Any

Metrics = Mapping[str, Mapping[str, Any]]
"""``metrics.json``: the scores of each network, in the order in which networks are shown."""

_TITLES = {
    "miou": "mIoU",
    "pixel_accuracy": "Pixel accuracy",
    "mean_class_accuracy": "Mean class accuracy",
    "miou_present": "mIoU of classes present",
    "boundary_miou": "Boundary mIoU",
}
"""In the order of display; any other score is called by its key."""


def score_titles(metrics: Metrics) -> dict[str, str]:
    """Give the titles of all scores that any network has, by key; a score is a float between 0 and 1."""
    values = [item for scores in metrics.values() for item in scores.items()]
    keys = dict.fromkeys(key for key, value in values if isinstance(value, float) and 0 <= value <= 1)
    known = {key: title for key, title in _TITLES.items() if key in keys}
    return known | {key: key.replace("_", " ").capitalize() for key in keys if key not in known}
