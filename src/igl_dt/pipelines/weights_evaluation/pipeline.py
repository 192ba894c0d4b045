"""Pipeline ``weights_evaluation``: any weight file measured on any data set of its classes; no part of the main job."""

from kedro.pipeline import Node, Pipeline

from igl_dt.pipelines.weights_evaluation.nodes import measure_weights


def create_pipeline() -> Pipeline:
    """Make the pipeline."""
    return Pipeline(
        [
            Node(
                measure_weights,
                inputs=["params:measuring", "params:dataset", "params:evaluation", "params:runtime", "params:seed"],
                outputs=["weights_metrics", "weights_picture_scores"],
                name="measure_weights_node",
                namespace="weights_evaluation",
            )
        ],
        tags="weights_evaluation",
    )
