"""What a report is made from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from igl_dt.reporting.networks import NetworksInfo, is_teacher, label_all, last_weights, main_network
from igl_dt.reporting.scores import Metrics


@dataclass(frozen=True)
class Run:
    """The results of a run, as the catalog holds them."""

    metrics: Metrics
    """``metrics.json``: scores by network, in the order of display."""
    split_summary: Mapping[str, Any]
    """Counts, classes without labels, digests and names of the lists."""
    networks_info: NetworksInfo
    """By network: architecture, method, fingerprint and multiply-adds."""
    histories: Mapping[str, pd.DataFrame]
    """By training; see ``igl_dt.reporting.figures.history.Histories``."""
    run_manifest: Mapping[str, Mapping[str, Any]]
    """``run_manifest.json``: how each stage was run; stages may be missing."""
    figures: Mapping[str, bytes]
    """PNG files by name: see ``igl_dt.reporting.gallery``; any may be missing."""
    costs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By fingerprint of a training: ``seconds``, ``images_per_second`` and ``peak_memory_mib``; any may be missing."""

    @property
    def evaluated(self) -> str:
        """The split that the scores are of: ``test`` or ``val``."""
        return "test" if self.split_summary["images"]["test"] else "val"

    @property
    def main(self) -> str:
        """The network that the run is about."""
        return main_network(self.metrics)

    @property
    def teachers(self) -> list[str]:
        """Networks with scores that the main one learned from; where that is not recorded: all teachers."""
        compute = self.networks_info.get(self.main, {}).get("compute") or {}
        return [] if compute.get("teachers") == 0 else [name for name in last_weights(self.metrics) if is_teacher(name)]

    def label(self, network: str) -> str:
        """Give a network's name for readers."""
        return label_all([network], self.networks_info)[network]
