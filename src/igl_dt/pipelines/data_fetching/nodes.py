"""Nodes of ``data_fetching``."""

from pathlib import Path

from igl_dt.data.parameters import DatasetParameters, FetchingParameters


def download_images(fetching: FetchingParameters, dataset: DatasetParameters) -> None:
    """Download the recipe's archives and unpack them into the data set's folder, as far as they are not there."""
    from igl_dt.data.download import fetch_archives

    fetch_archives(fetching, Path(dataset.root))
