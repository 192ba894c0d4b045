"""Pipeline ``student_learning``: the student between two teachers, and the reference it is compared with."""

from kedro.pipeline import Node, Pipeline

from igl_dt.pipelines.student_learning.nodes import initialize_student, learn_reference, learn_student


def create_pipeline() -> Pipeline:
    """Make the pipeline."""
    parameters = ["params:student_learning", "params:dataset", "params:evaluation", "params:runtime", "params:seed"]
    return Pipeline(
        [
            Node(
                initialize_student,
                inputs=["params:networks.student", "class_names", "params:seed"],
                outputs="student.initial_network",
                name="initialize_network_node",
                namespace="student",
            ),
            Node(
                learn_student,
                inputs=[
                    "student.initial_network",
                    "swin_unet.network",
                    "res_unet.network",
                    "labeled",
                    "unlabeled",
                    "val",
                    *parameters,
                ],
                outputs=["student.network", "student.best_network", "history_student"],
                name="learn_student_node",
            ),
            Node(
                learn_reference,
                inputs=["student.initial_network", "labeled", "val", *parameters],
                outputs=["reference_networks", "history_supervised"],
                name="learn_reference_node",
            ),
        ],
        tags="student_learning",
    )
