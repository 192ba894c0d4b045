"""Pipeline ``evaluation``: every network evaluated on the same images in the same way."""

from kedro.pipeline import Node, Pipeline

from igl_dt.pipelines.evaluation.nodes import (
    collect_networks,
    evaluate_networks,
    predict_examples,
    select_eval_split,
)


def create_pipeline() -> Pipeline:
    """Make the pipeline."""
    return Pipeline(
        [
            Node(
                select_eval_split,
                inputs=["val", "test"],
                outputs="eval_split",
                name="select_eval_split_node",
                namespace="evaluation",
            ),
            Node(
                collect_networks,
                inputs=[
                    "student",
                    "student_best",
                    "other_networks",
                    "global_teacher",
                    "local_teacher",
                    "reference_networks",
                ],
                outputs=["networks", "networks_info"],
                name="collect_networks_node",
                namespace="evaluation",
            ),
            Node(
                evaluate_networks,
                inputs=["networks", "eval_split", "run_context"],
                outputs=["metrics", "miou", "image_scores", "confusion_matrices"],
                name="evaluate_networks_node",
                namespace="evaluation",
            ),
            Node(
                predict_examples,
                inputs=["networks", "image_scores", "eval_split", "run_context", "params:reporting"],
                outputs="examples",
                name="predict_examples_node",
                namespace="evaluation",
            ),
        ],
        tags="evaluation",
    )
