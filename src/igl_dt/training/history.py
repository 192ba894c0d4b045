"""The losses of a training, as a table."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch
from torch import Tensor

ROWS = 100
"""Approximate number of rows in a history."""


class NonFiniteLossError(ValueError):
    """A loss is NaN or infinite."""


class LossHistory:
    """Collects losses without waiting for the device, and turns them into rows of means."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self._pending: list[tuple[int, list[str], Tensor]] = []

    def add(self, step: int, losses: Mapping[str, Tensor]) -> None:
        """Take the losses of a step, or of a part of it."""
        self._pending.append((step, list(losses), torch.stack([loss.detach() for loss in losses.values()])))

    def flush(self, done: int) -> dict[str, float]:
        """Append and return the row of the steps since the last one; more values may be added to it.

        Raises:
            NonFiniteLossError: a loss is NaN or infinite.
        """
        sums: dict[str, list[float]] = {}
        for step, names, tensor in self._pending:
            values = dict(zip(names, tensor.tolist(), strict=True))
            if not all(map(math.isfinite, values.values())):
                shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
                raise NonFiniteLossError(f"a loss is not finite at step {step}: {shown}")
            for name, value in values.items():
                sums.setdefault(name, []).append(value)
        self._pending.clear()
        row = {"step": done} | {name: sum(values) / len(values) for name, values in sorted(sums.items())}
        self.rows.append(row)
        return row

    def table(self) -> pd.DataFrame:
        """Give all rows; a value that a row lacks is empty."""
        columns = dict.fromkeys(name for row in self.rows for name in row)
        return pd.DataFrame(self.rows, columns=list(columns))

    def state_dict(self) -> dict[str, Any]:
        """Give what a resumed training needs."""
        return {"rows": self.rows, "pending": self._pending}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put it back."""
        self.rows, self._pending = state["rows"], state["pending"]
