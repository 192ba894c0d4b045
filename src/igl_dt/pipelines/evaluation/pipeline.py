"""Pipeline ``evaluation``: every network measured on the same images in the same way."""

from kedro.pipeline import Node, Pipeline

from igl_dt.pipelines.evaluation.nodes import (
    collect_scores,
    evaluate_network,
    evaluate_references,
    predict_examples,
    select_eval_split,
)


def create_pipeline() -> Pipeline:
    """Make the pipeline."""
    measured = ["measured", "params:dataset", "params:evaluation", "params:runtime"]
    evaluations = [
        Node(
            evaluate_network,
            inputs=[network, *measured, "params:seed"],
            outputs=[f"confusion_{network}", f"evaluation_{network}"],
            name=f"evaluate_{network}_node",
            namespace="evaluation",
        )
        for network in ("swin_unet", "res_unet", "student", "student_best")
    ]
    return Pipeline(
        [
            Node(
                select_eval_split,
                inputs=["val", "test"],
                outputs="measured",
                name="select_eval_split_node",
                namespace="evaluation",
            ),
            *evaluations,
            Node(
                evaluate_references,
                inputs=["reference_networks", *measured, "params:seed"],
                outputs="reference_evaluations",
                name="evaluate_references_node",
                namespace="evaluation",
            ),
            Node(
                collect_scores,
                inputs=[
                    "evaluation_student",
                    "evaluation_student_best",
                    "evaluation_swin_unet",
                    "evaluation_res_unet",
                    "reference_evaluations",
                ],
                outputs=["metrics", "image_scores"],
                name="collect_scores_node",
                namespace="evaluation",
            ),
            Node(
                predict_examples,
                inputs=[
                    "student",
                    "swin_unet",
                    "res_unet",
                    "reference_networks",
                    "image_scores",
                    *measured,
                    "params:reporting",
                    "params:seed",
                ],
                outputs="examples",
                name="predict_examples_node",
                namespace="evaluation",
            ),
        ],
        tags="evaluation",
    )
