"""Figures that say which result they show."""

import io
from typing import Any

from kedro.io.core import DatasetError, get_filepath_str
from kedro_datasets.matplotlib import MatplotlibDataset


class FigureDataset(MatplotlibDataset):
    """A Matplotlib figure as PNG: its label goes into the file as ``Fingerprint``, and no date and no version do.

    The same figure is therefore the same bytes. What is loaded is the file's bytes.
    """

    def load(self) -> bytes:
        """Read the PNG file."""
        try:
            return bytes(self._fs.cat_file(get_filepath_str(self._get_load_path(), self._protocol)))
        except OSError as error:
            raise DatasetError(f"{self._filepath} cannot be read: {error}") from error

    def _save_to_fs(self, full_key_path: str, plot: Any) -> None:
        buffer = io.BytesIO()
        metadata = {"Software": None, "Fingerprint": plot.get_label()}
        plot.savefig(buffer, **{"format": "png", **self._save_args, "metadata": metadata})
        with self._fs.open(full_key_path, **self._fs_open_args_save) as file:
            file.write(buffer.getvalue())
