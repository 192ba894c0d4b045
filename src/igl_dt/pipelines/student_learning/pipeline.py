"""Pipeline ``student_learning``: the student between two teachers, and the reference it is compared with."""

from kedro.pipeline import Node, Pipeline

from igl_dt.pipelines.student_learning.nodes import (
    collect_fingerprints,
    initialize_student,
    learn_reference,
    learn_student,
)


def create_pipeline() -> Pipeline:
    """Make the pipeline."""
    parameters = ["params:student_learning", "params:dataset", "params:evaluation", "params:runtime", "params:seed"]
    return Pipeline(
        [
            Node(
                initialize_student,
                inputs=["params:networks.student", "class_names", "params:seed"],
                outputs="initial_student",
                name="initialize_student_node",
                namespace="student_learning",
            ),
            Node(
                learn_student,
                inputs=[
                    "initial_student",
                    "swin_unet",
                    "res_unet",
                    "labeled",
                    "unlabeled",
                    "val",
                    *parameters,
                ],
                outputs=["student", "student_best", "history_student"],
                name="learn_student_node",
                namespace="student_learning",
            ),
            Node(
                learn_reference,
                inputs=["initial_student", "labeled", "val", *parameters],
                outputs=["reference_networks", "history_supervised"],
                name="learn_reference_node",
                namespace="student_learning",
            ),
            Node(
                collect_fingerprints,
                inputs=["swin_unet", "res_unet", "student", "reference_networks"],
                outputs="fingerprints",
                name="collect_fingerprints_node",
                namespace="student_learning",
            ),
        ],
        tags="student_learning",
    )
