"""The pipelines by name."""

from kedro.pipeline import Pipeline

from igl_dt.pipelines import (
    data_fetching,
    data_splitting,
    evaluation,
    export,
    prediction,
    reporting,
    study,
    training,
    weights_evaluation,
)


def stages() -> dict[str, Pipeline]:
    """Make the stages of a run, in their order."""
    return {
        "data_splitting": data_splitting.create_pipeline(),
        "teacher_pretraining": training.create_pipeline("teacher_pretraining"),
        "student_learning": training.create_pipeline("student_learning"),
        "evaluation": evaluation.create_pipeline(),
        "reporting": reporting.create_pipeline(),
    }


def register_pipelines() -> dict[str, Pipeline]:
    """Make the pipelines that Kedro runs and shows; ``full``, the main job, is all stages."""
    full = sum(stages().values(), Pipeline([]))
    others = {
        "prediction": prediction.create_pipeline(),
        "weights_evaluation": weights_evaluation.create_pipeline(),
        "export": export.create_pipeline(),
        "study": study.create_pipeline(),
        "data_fetching": data_fetching.create_pipeline(),
    }
    return stages() | {"full": full, "__default__": full} | others
