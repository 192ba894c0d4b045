"""One modular pipeline for every training, used under the names of the two stages."""

from typing import Literal

from kedro.pipeline import Node, Pipeline

from igl_dt.pipelines.training.nodes import train_reference, train_student, train_teachers

TrainingName = Literal["teacher_pretraining", "student_learning"]
_DATA = ["class_names", "manifest", "labeled", "unlabeled", "val", "run_context"]


def create_pipeline(name: TrainingName) -> Pipeline:
    """Make the pipeline of a stage, under a namespace of its name."""
    inputs = [f"params:{name}", *_DATA]
    if name == "teacher_pretraining":
        outputs = ["global_teacher", "local_teacher", "best_teachers", "history_teachers", "cost_teachers"]
        nodes = [Node(train_teachers, inputs, outputs, name="train_teachers_node", namespace=name)]
    else:
        student = ["student", "student_best", "other_networks", "history_student", "cost_student"]
        reference = ["reference_networks", "history_supervised", "cost_supervised"]
        teachers = ["global_teacher", "local_teacher"]
        nodes = [
            Node(train_student, [*inputs, *teachers], student, name="train_student_node", namespace=name),
            Node(train_reference, inputs, reference, name="train_reference_node", namespace=name),
        ]
    return Pipeline(nodes, tags=name)
