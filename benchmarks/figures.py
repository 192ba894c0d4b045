"""What a benchmark finds: figures with their spread and limit, as rows of one table and in one file."""

import json
import platform
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from igl_dt.kedro_ext.provenance import find_commit
from igl_dt.runtime.determinism import instruction_sets

RESULTS = Path(__file__).with_name("results.json")
"""The committed figures, by subject and name."""
MEASURED_ON = "measured on"
"""Key of each subject's machine in the file. Seconds compare on one machine alone, ratios mostly on others too."""
ROW = "{:<10}  {:<52}  {:>12}  {:>19}  {:>8}  {:>8}  {:>12}"
HEADER = ROW.format("subject", "figure", "median", "quartiles", "limit", "of limit", "committed")


class Figure(NamedTuple):
    """One thing that was measured."""

    name: str
    value: float
    """The median, where it was measured several times."""
    spread: tuple[float, float] | None = None
    """The quartiles of what ``value`` is the median of."""
    limit: float | None = None
    at_least: bool = False
    """Whether the limit is the lowest value that is good enough, not the highest."""

    @property
    def of_limit(self) -> float | None:
        """The ratio to the limit: at most 1 where it is kept. None without a limit."""
        if self.limit is None:
            return None
        return self.limit / self.value if self.at_least else self.value / self.limit

    @property
    def is_within_limit(self) -> bool:
        """Whether the limit, if any, is kept."""
        return self.of_limit is None or self.of_limit <= 1

    def as_json(self) -> dict[str, Any]:
        """Give what ``RESULTS`` has of it."""
        content: dict[str, Any] = {"value": round_figure(self.value)}
        if self.spread is not None:
            content["quartiles"] = [round_figure(edge) for edge in self.spread]
        if self.limit is not None:
            content |= {"limit": self.limit, "of_limit": round_figure(self.of_limit or 0.0)}
        return content

    def row(self, subject: str, committed: dict[str, Any]) -> str:
        """Give its row of the table, beside the committed figure of the same name."""
        before = committed.get(subject, {}).get(self.name)
        limit = None if self.limit is None else f"{'≥' if self.at_least else '≤'} {self.limit:g}"
        spread = None if self.spread is None else f"{show(self.spread[0])} – {show(self.spread[1])}"
        of_limit = None if self.of_limit is None else f"{self.of_limit:.3f}"
        cells = (show(self.value), spread, limit, of_limit, None if before is None else show(before["value"]))
        return ROW.format(subject, self.name, *("" if cell is None else cell for cell in cells)).rstrip()


def median(name: str, values: Sequence[float], limit: float | None = None, at_least: bool = False) -> Figure:
    """Give the median of some measurements with their quartiles."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
    return Figure(name, middle, (low, high), limit, at_least)


def round_figure(value: float) -> float:
    """Four digits after the point; whole numbers as they are."""
    return value if isinstance(value, int) else round(value, 4)


def show(value: float) -> str:
    """Give a figure in a few characters."""
    return f"{value:.3e}" if value >= 1e6 else f"{value:.4g}"


def describe_machine() -> str:
    """Name the processor, its instruction sets, torch and the commit that is checked out."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.*)$", info.read_text("utf-8"), re.MULTILINE) if info.is_file() else []
    machine, commit = names[0] if names else platform.machine(), find_commit(RESULTS.parents[1])["commit"]
    return f"{machine} ({' '.join(instruction_sets())}), torch {torch.__version__}, commit {commit}"


def read_results() -> dict[str, Any]:
    """Give the committed figures; none where there are none yet."""
    return json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}


def write_results(subject: str, figures: Sequence[Figure]) -> None:
    """Replace a subject's figures in the file, and where they were measured."""
    content = read_results() | {
        subject: {MEASURED_ON: describe_machine()} | {figure.name: figure.as_json() for figure in figures}
    }
    RESULTS.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
