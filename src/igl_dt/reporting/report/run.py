"""What a report is made from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from igl_dt.reporting.figures.style import SERIES


@dataclass(frozen=True)
class Run:
    """What a run has left, as the catalog has it."""

    metrics: Mapping[str, Mapping[str, Any]]
    """``metrics.json``: scores by network."""
    split_summary: Mapping[str, Any]
    """Counts, classes without labels, digests and names of the lists."""
    fingerprints: Mapping[str, str | None]
    """By network."""
    histories: Mapping[str, pd.DataFrame]
    """Of ``teachers``, ``student`` and ``supervised``; without rows where nothing was trained."""
    manifest: Mapping[str, Mapping[str, Any]]
    """``run_manifest.json``: by stage how it was run; stages may be missing."""
    figures: Mapping[str, bytes]
    """PNG files by name: see ``igl_dt.reporting.report.rendering``."""

    @property
    def measured(self) -> str:
        """Which images the scores are of."""
        return "test" if self.split_summary["images"]["test"] else "val"


def name_network(network: str) -> str:
    """Give a network's name for readers."""
    known = SERIES.get(network.removesuffix("_best"))
    title = known.title if known else network.removesuffix("_best")
    return f"{title}, best validation" if network.endswith("_best") else title


def name_briefly(network: str) -> str:
    """Give a teacher's name where it is said that it is a teacher."""
    return name_network(network).removesuffix(" (teacher)")
