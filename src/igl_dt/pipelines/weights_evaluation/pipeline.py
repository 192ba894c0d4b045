"""Pipeline ``weights_evaluation``: a weight file evaluated on a data set of its classes; not part of the main job."""

from kedro.pipeline import Node, Pipeline

from igl_dt.pipelines.weights_evaluation.nodes import evaluate_weights


def create_pipeline() -> Pipeline:
    """Make the pipeline."""
    return Pipeline(
        [
            Node(
                evaluate_weights,
                inputs=["params:weights_evaluation", "run_context"],
                outputs=["weights_metrics", "weights_image_scores"],
                name="evaluate_weights_node",
                namespace="weights_evaluation",
            )
        ],
        tags="weights_evaluation",
    )
