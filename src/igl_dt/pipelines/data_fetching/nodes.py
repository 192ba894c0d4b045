"""Nodes of ``data_fetching``."""

from pathlib import Path

from igl_dt.data.parameters import DatasetParameters, FetchingParameters


def download_images(fetching: FetchingParameters, dataset: DatasetParameters) -> None:
    """Download the archives and unpack them into the data set's folder, where they are not there yet."""
    from igl_dt.data.download import fetch_archives

    fetch_archives(fetching, Path(dataset.root))
