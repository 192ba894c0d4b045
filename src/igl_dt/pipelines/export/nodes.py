"""Nodes of ``export``."""

from igl_dt.data.parameters import DatasetParameters
from igl_dt.inference.parameters import ExportParameters


def export_network(export: ExportParameters, dataset: DatasetParameters) -> None:
    """Write a weight file's network as ONNX."""
    from igl_dt.inference.export_onnx import export_network

    export_network(export, dataset)
