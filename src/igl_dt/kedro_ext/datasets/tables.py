"""Tables that need not be there."""

import pandas as pd
from kedro_datasets.pandas import CSVDataset


class HistoryDataset(CSVDataset):
    """A history of a training; one that has not been run is loaded as a table without rows."""

    def load(self) -> pd.DataFrame:
        """Read the table."""
        return super().load() if self.exists() else pd.DataFrame({"step": []})
