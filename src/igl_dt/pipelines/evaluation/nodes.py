"""Nodes of ``evaluation``."""

from typing import Any

import pandas as pd
from PIL import Image

from igl_dt.data.parameters import DatasetParameters
from igl_dt.pipelines import Evaluation, Network
from igl_dt.reporting.parameters import ReportingParameters
from igl_dt.runtime.parameters import EvaluationParameters, RuntimeParameters


def select_eval_split(val: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """Take the test images where there are any, else the validation images."""
    return test if len(test) else val


def evaluate_network(
    network: Network,
    measured: pd.DataFrame,
    dataset: DatasetParameters,
    evaluation: EvaluationParameters,
    runtime: RuntimeParameters,
    seed: int,
) -> tuple[pd.DataFrame, Evaluation]:
    """Measure how the network predicts the measured images; the confusion matrix comes apart too, to be kept."""
    from igl_dt.stages import Surroundings, evaluate_network

    result = evaluate_network(network, measured, Surroundings(dataset, evaluation, runtime, seed))
    return result.confusion.reset_index(), result


def evaluate_references(
    networks: dict[str, Network],
    measured: pd.DataFrame,
    dataset: DatasetParameters,
    evaluation: EvaluationParameters,
    runtime: RuntimeParameters,
    seed: int,
) -> dict[str, Evaluation]:
    """Measure the same of the networks trained on labels alone."""
    return {
        name: evaluate_network(network, measured, dataset, evaluation, runtime, seed)[1]
        for name, network in networks.items()
    }


def collect_scores(
    student: Evaluation,
    student_best: Evaluation,
    swin_unet: Evaluation,
    res_unet: Evaluation,
    references: dict[str, Evaluation],
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Turn counts into the scores of each network, and tell each image's mean IoU by those with last weights."""
    from igl_dt.stages import score_evaluation, tabulate_images

    evaluations = {"student": student, "student_best": student_best, "swin_unet": swin_unet, "res_unet": res_unet}
    evaluations |= references
    metrics = {name: score_evaluation(evaluation) for name, evaluation in evaluations.items()}
    last = {name: evaluation for name, evaluation in evaluations.items() if not name.endswith("_best")}
    return metrics, tabulate_images(last)


def predict_examples(
    student: Network,
    swin_unet: Network,
    res_unet: Network,
    references: dict[str, Network],
    image_scores: pd.DataFrame,
    measured: pd.DataFrame,
    dataset: DatasetParameters,
    evaluation: EvaluationParameters,
    runtime: RuntimeParameters,
    reporting: ReportingParameters,
    seed: int,
) -> dict[str, Image.Image]:
    """Predict a few images, from the student's best to its worst, with every network."""
    from igl_dt.stages import Surroundings, predict_examples

    networks = {"swin_unet": swin_unet, "res_unet": res_unet, "student": student}
    networks |= {"supervised": references["supervised"]} if references else {}
    surroundings = Surroundings(dataset, evaluation, runtime, seed)
    scores = image_scores.set_index("id")["student"]
    examples = predict_examples(networks, measured, scores, reporting.examples, surroundings)
    return {name: Image.fromarray(array) for name, array in examples.items()}
