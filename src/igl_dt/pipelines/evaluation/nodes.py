"""Nodes of ``evaluation``."""

from typing import Any

import pandas as pd
from PIL import Image

from igl_dt.parameters import DatasetParameters, EvaluationParameters, ReportingParameters, RuntimeParameters
from igl_dt.pipelines import Network


def choose_measured(val: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """Take the test pictures where there are any, else the validation pictures."""
    return test if len(test) else val


def evaluate_network(
    network: Network,
    measured: pd.DataFrame,
    dataset: DatasetParameters,
    evaluation: EvaluationParameters,
    runtime: RuntimeParameters,
    seed: int,
) -> pd.DataFrame:
    """Count how the network predicts the pixels of the measured pictures."""
    from igl_dt.stages import Surroundings, evaluate_network

    return evaluate_network(network, measured, Surroundings(dataset, evaluation, runtime, seed)).reset_index()


def evaluate_references(
    networks: dict[str, Network],
    measured: pd.DataFrame,
    dataset: DatasetParameters,
    evaluation: EvaluationParameters,
    runtime: RuntimeParameters,
    seed: int,
) -> dict[str, pd.DataFrame]:
    """Count the same for the networks trained on labels alone."""
    return {
        name: evaluate_network(network, measured, dataset, evaluation, runtime, seed)
        for name, network in networks.items()
    }


def collect_metrics(
    student: pd.DataFrame,
    student_best: pd.DataFrame,
    swin_unet: pd.DataFrame,
    res_unet: pd.DataFrame,
    references: dict[str, pd.DataFrame],
) -> dict[str, Any]:
    """Turn confusion matrices into mIoU, IoU per class and accuracies."""
    from igl_dt.stages import score_confusion

    confusions = {"student": student, "student_best": student_best, "swin_unet": swin_unet, "res_unet": res_unet}
    confusions |= references
    return {name: score_confusion(confusion.set_index("truth")) for name, confusion in confusions.items()}


def predict_examples(
    student: Network,
    swin_unet: Network,
    res_unet: Network,
    references: dict[str, Network],
    measured: pd.DataFrame,
    dataset: DatasetParameters,
    evaluation: EvaluationParameters,
    runtime: RuntimeParameters,
    reporting: ReportingParameters,
    seed: int,
) -> dict[str, Image.Image]:
    """Predict a few pictures, spread evenly over the measured ones, with every network."""
    from igl_dt.stages import Surroundings, predict_examples

    networks = {"swin_unet": swin_unet, "res_unet": res_unet, "student": student}
    networks |= {"supervised": references["supervised"]} if references else {}
    surroundings = Surroundings(dataset, evaluation, runtime, seed)
    examples = predict_examples(networks, measured, reporting.examples, surroundings)
    return {name: Image.fromarray(array) for name, array in examples.items()}
