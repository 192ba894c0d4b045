"""Nodes of ``student_learning``."""

import pandas as pd

from igl_dt.data.parameters import DatasetParameters
from igl_dt.kedro_ext.parameters import StudentLearningParameters
from igl_dt.networks.architectures.deeplab_v3_plus import DeepLabV3PlusParameters
from igl_dt.pipelines import Network
from igl_dt.runtime.parameters import EvaluationParameters, RuntimeParameters


def initialize_student(parameters: DeepLabV3PlusParameters, class_names: list[str], seed: int) -> Network:
    """Build the student's network."""
    from igl_dt.stages import initialize_network

    return initialize_network("student", parameters, class_names, seed)


def learn_student(
    student: Network,
    swin_unet: Network,
    res_unet: Network,
    labeled: pd.DataFrame,
    unlabeled: pd.DataFrame,
    val: pd.DataFrame,
    parameters: StudentLearningParameters,
    dataset: DatasetParameters,
    evaluation: EvaluationParameters,
    runtime: RuntimeParameters,
    seed: int,
) -> tuple[Network, Network, pd.DataFrame]:
    """Train the student between its two frozen teachers: global and local learning take turns."""
    from igl_dt.stages import Surroundings, learn_student

    surroundings = Surroundings(dataset, evaluation, runtime, seed)
    learned = learn_student(student, swin_unet, res_unet, labeled, unlabeled, val, parameters, surroundings)
    return learned.last, learned.best, learned.history


def learn_reference(
    student: Network,
    labeled: pd.DataFrame,
    val: pd.DataFrame,
    parameters: StudentLearningParameters,
    dataset: DatasetParameters,
    evaluation: EvaluationParameters,
    runtime: RuntimeParameters,
    seed: int,
) -> tuple[dict[str, Network], pd.DataFrame]:
    """Train the student's network on the labelled images alone; nothing where the parameters switch it off."""
    from igl_dt.stages import Surroundings, learn_reference

    if not parameters.reference:
        return {}, pd.DataFrame({"step": []})
    surroundings = Surroundings(dataset, evaluation, runtime, seed)
    learned = learn_reference(student, labeled, val, parameters, surroundings)
    return {"supervised": learned.last, "supervised_best": learned.best}, learned.history


def collect_fingerprints(
    swin_unet: Network, res_unet: Network, student: Network, references: dict[str, Network]
) -> dict[str, str | None]:
    """Say by which parameters, images and initial weights each network came about."""
    networks = {"swin_unet": swin_unet, "res_unet": res_unet, "student": student, **references}
    return {name: network.fingerprint for name, network in networks.items() if not name.endswith("_best")}
