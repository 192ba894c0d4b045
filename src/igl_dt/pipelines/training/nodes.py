"""Nodes of the training pipelines: each adapts the catalog to one library function, ``train``."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from igl_dt.data.splits import choose_pseudo_label_probe
from igl_dt.pipelines import Network
from igl_dt.runtime.context import RunContext
from igl_dt.training.parameters import StudentLearningParameters, TeacherPretrainingParameters, TrainingParameters

if TYPE_CHECKING:
    from igl_dt.training.trainer import TrainingResult


def train_teachers(
    teacher_pretraining: TeacherPretrainingParameters,
    class_names: list[str],
    manifest: pd.DataFrame,
    labeled: pd.DataFrame,
    unlabeled: pd.DataFrame,
    val: pd.DataFrame,
    run_context: RunContext,
) -> tuple[Network, Network, dict[str, Network], pd.DataFrame, dict[str, Any]]:
    """Train the two teachers.

    Returns:
        Both with their last or best weights; both with their best weights; the history; what it cost.
    """
    tables = (manifest, labeled, unlabeled, val)
    result = _train("teacher_pretraining", teacher_pretraining, class_names, tables, run_context)
    take = result.best if teacher_pretraining.keep == "best" else result.networks.__getitem__
    best = {f"{name}_best": result.best(name) for name in result.networks}
    return take("global_teacher"), take("local_teacher"), best, result.history, result.cost


def train_student(
    student_learning: StudentLearningParameters,
    class_names: list[str],
    manifest: pd.DataFrame,
    labeled: pd.DataFrame,
    unlabeled: pd.DataFrame,
    val: pd.DataFrame,
    run_context: RunContext,
    global_teacher: Network | None,
    local_teacher: Network | None,
) -> tuple[Network, Network, dict[str, Network], pd.DataFrame, dict[str, Any]]:
    """Train the student.

    Gives it with its last and its best weights, the method's other networks, the history, and what it cost.
    """
    teachers = {"global_teacher": global_teacher, "local_teacher": local_teacher}
    tables = (manifest, labeled, unlabeled, val)
    result = _train("student_learning", student_learning, class_names, tables, run_context, teachers)
    others = {name: network for name, network in result.networks.items() if name != "student"}
    others |= {f"{name}_best": result.best(name) for name in others}
    return result.networks["student"], result.best("student"), others, result.history, result.cost


def train_reference(
    student_learning: StudentLearningParameters,
    class_names: list[str],
    manifest: pd.DataFrame,
    labeled: pd.DataFrame,
    unlabeled: pd.DataFrame,
    val: pd.DataFrame,
    run_context: RunContext,
) -> tuple[dict[str, Network], pd.DataFrame, dict[str, Any]]:
    """Train the supervised baseline: the student's network on labelled images alone.

    It starts from the student's initial weights and sees the same labelled crops in the same order, so that what
    differs is what the teachers and the unlabelled images bring. Gives nothing where it is switched off.
    """
    if not student_learning.reference:
        return {}, pd.DataFrame({"step": []}), {}
    parameters, tables = student_learning.as_reference(), (manifest, labeled, unlabeled, val)
    result = _train("reference", parameters, class_names, tables, run_context, stream="student_learning")
    networks = {"supervised": result.networks["supervised"], "supervised_best": result.best("supervised")}
    return networks, result.history, result.cost


def _train(
    name: str,
    parameters: TrainingParameters,
    class_names: list[str],
    tables: tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame],
    context: RunContext,
    teachers: dict[str, Network | None] | None = None,
    stream: str | None = None,
) -> "TrainingResult":
    from igl_dt.training.trainer import TrainingData, create_method, train

    manifest, labeled, unlabeled, val = tables
    count = parameters.pseudo_label_probe_size
    probe = choose_pseudo_label_probe(manifest, unlabeled, count) if count else None
    there = {role: network for role, network in (teachers or {}).items() if network is not None}
    method = create_method(parameters, class_names, context.seed, there, stream or name)
    return train(method, TrainingData(labeled, unlabeled, val, probe), parameters, context, name, stream)
