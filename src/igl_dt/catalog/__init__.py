"""Kedro datasets of our own."""

from igl_dt.catalog.networks import NetworkDataset, NetworkFolderDataset

__all__ = ["NetworkDataset", "NetworkFolderDataset"]
