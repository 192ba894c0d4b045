"""Tables and records that need not be there."""

from typing import Any

import pandas as pd
from kedro_datasets.json import JSONDataset
from kedro_datasets.pandas import CSVDataset


class HistoryDataset(CSVDataset):
    """A history of a training; one that has not been run is loaded as a table without rows."""

    def load(self) -> pd.DataFrame:
        """Read the table."""
        return super().load() if self.exists() else pd.DataFrame({"step": []})


class CostDataset(JSONDataset):
    """What a training cost; one that has not been run on this machine is loaded as an empty record."""

    def load(self) -> dict[str, Any]:
        """Read the record."""
        return super().load() if self.exists() else {}
