"""Nodes of ``evaluation``."""

import logging
from typing import Any

import pandas as pd
from PIL import Image

from igl_dt.pipelines import Network
from igl_dt.reporting.networks import last_weights
from igl_dt.reporting.parameters import ReportingParameters
from igl_dt.runtime.context import RunContext

logger = logging.getLogger(__name__)


def select_eval_split(val: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """Take the test images where there are any, else the validation images."""
    return test if len(test) else val


def collect_networks(
    student: Network,
    student_best: Network,
    other_networks: dict[str, Network],
    global_teacher: Network | None,
    local_teacher: Network | None,
    reference_networks: dict[str, Network],
) -> tuple[dict[str, Network], dict[str, dict[str, Any]]]:
    """Collect the networks that there are, in the order of tables and figures, and what each is.

    Those of other classes than the student's, which an earlier run has left, are none of them.
    """
    networks = {
        "student": student,
        "student_best": student_best,
        **other_networks,
        "global_teacher": global_teacher,
        "local_teacher": local_teacher,
        **reference_networks,
    }
    networks = {name: network for name, network in networks.items() if network is not None}
    for name in [name for name, network in networks.items() if network.class_names != student.class_names]:
        logger.warning("%s is left out: it was trained for other classes than the student", name)
        del networks[name]
    info = {
        name: {
            "architecture": network.name,
            "trained_by": network.trained_by,
            "fingerprint": network.fingerprint,
            "compute": network.compute,
        }
        for name, network in networks.items()
    }
    return networks, info


def evaluate_networks(
    networks: dict[str, Network], eval_split: pd.DataFrame, run_context: RunContext
) -> tuple[dict[str, Any], dict[str, float], pd.DataFrame, dict[str, pd.DataFrame]]:
    """Evaluate every network on the same images: all scores, its mIoU, each image's mIoU, and confusion matrices."""
    from igl_dt.evaluation import evaluator

    evaluations = evaluator.evaluate_networks(networks, eval_split, run_context)
    metrics = {name: evaluator.score_evaluation(evaluation) for name, evaluation in evaluations.items()}
    last = {name: evaluations[name] for name in last_weights(evaluations)}
    matrices = {name: evaluation.confusion.reset_index() for name, evaluation in evaluations.items()}
    miou = {name: scores["miou"] for name, scores in metrics.items()}
    return metrics, miou, evaluator.tabulate_images(last), matrices


def predict_examples(
    networks: dict[str, Network],
    image_scores: pd.DataFrame,
    eval_split: pd.DataFrame,
    run_context: RunContext,
    reporting: ReportingParameters,
) -> dict[str, Image.Image]:
    """Predict a few images, from the student's best to its worst, with every network's last weights."""
    from igl_dt.inference.examples import predict_examples

    last = {name: networks[name] for name in last_weights(networks)}
    scores = image_scores.set_index("id")["student"]
    examples = predict_examples(last, eval_split, scores, reporting.examples, run_context)
    return {name: Image.fromarray(array) for name, array in examples.items()}
