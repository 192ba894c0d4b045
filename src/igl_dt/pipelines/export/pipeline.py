"""Pipeline ``export``: a network as an ONNX file, from a weight file; no part of the main job."""

from kedro.pipeline import Node, Pipeline

from igl_dt.pipelines.export.nodes import export_network


def create_pipeline() -> Pipeline:
    """Make the pipeline."""
    return Pipeline(
        [
            Node(
                export_network,
                inputs=["params:export", "params:dataset"],
                outputs=None,
                name="export_network_node",
                namespace="export",
            )
        ],
        tags="export",
    )
