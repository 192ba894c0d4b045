"""Tables and records that need not be there, or must not be cut off."""

import io
from pathlib import Path
from typing import Any

import pandas as pd
from kedro_datasets.json import JSONDataset
from kedro_datasets.pandas import CSVDataset

from igl_dt.utils.files import atomic_write


class HistoryDataset(CSVDataset):
    """A history of a training; one that has not been run is loaded as a table without rows."""

    def load(self) -> pd.DataFrame:
        """Read the table."""
        return super().load() if self.exists() else pd.DataFrame({"step": []})


class RecordDataset(CSVDataset):
    """A table that is written whole or not at all, as the next run keeps rows of it."""

    def save(self, data: pd.DataFrame) -> None:
        """Write the table."""
        buffer = io.StringIO(newline="")
        data.to_csv(buffer, **self._save_args)
        atomic_write(Path(str(self._filepath)), buffer.getvalue().encode())


class CostDataset(JSONDataset):
    """What a training cost; one that has not been run on this machine is loaded as an empty record."""

    def load(self) -> dict[str, Any]:
        """Read the record."""
        return super().load() if self.exists() else {}
