"""Pipeline ``prediction``: masks for new images, from a weight file; no part of the main job."""

from kedro.pipeline import Node, Pipeline

from igl_dt.pipelines.prediction.nodes import predict_images


def create_pipeline() -> Pipeline:
    """Make the pipeline."""
    return Pipeline(
        [
            Node(
                predict_images,
                inputs=["params:prediction", "params:dataset", "params:evaluation", "params:runtime"],
                outputs=None,
                name="predict_images_node",
                namespace="prediction",
            )
        ],
        tags="prediction",
    )
