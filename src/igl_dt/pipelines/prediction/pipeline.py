"""Pipeline ``prediction``: masks for new pictures, from a weight file; no part of the main job."""

from kedro.pipeline import Node, Pipeline

from igl_dt.pipelines.prediction.nodes import predict_pictures


def create_pipeline() -> Pipeline:
    """Make the pipeline."""
    return Pipeline(
        [
            Node(
                predict_pictures,
                inputs=["params:prediction", "params:dataset", "params:evaluation", "params:runtime"],
                outputs="prediction_table",
                name="predict_pictures_node",
                namespace="prediction",
            )
        ],
        tags="prediction",
    )
