"""Evaluation of a weight file on any split of the data set."""

from pathlib import Path
from typing import Any

import pandas as pd

from igl_dt.data.datasets import DataError
from igl_dt.data.manifest import read_manifest
from igl_dt.evaluation.evaluator import evaluate_network, score_evaluation, tabulate_images
from igl_dt.inference.parameters import WeightsEvaluationParameters
from igl_dt.inference.predict import warn_of_other_sizes
from igl_dt.networks.io import load_network, weight_file
from igl_dt.runtime.context import RunContext
from igl_dt.utils.files import digest


def evaluate_weights(
    parameters: WeightsEvaluationParameters, context: RunContext
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Evaluate a weight file on the images of a split.

    Args:
        parameters: Weight file and split.
        context: Data set, evaluation, device and precision.

    Returns:
        The scores of ``score_evaluation`` together with what was evaluated: ``weights`` (sha256 of the file),
        ``architecture``, ``trained_by``, ``fingerprint``, ``split``, ``images`` (how many). And the mean IoU of each
        image (``id``, ``miou``).

    Raises:
        DataError: The classes of the weights are not those of the data set, or the split has no images with masks.
        ValueError: The weight file is not given, does not exist, or was not written by this project.
    """
    path = weight_file(parameters.weights, "weights_evaluation.weights")
    network = load_network(path)
    dataset, checked = context.dataset, context.runtime.checked_files
    manifest = read_manifest(dataset, None if checked is None else Path(checked))
    if network.class_names != manifest.class_names:
        raise DataError(
            f"{path} predicts the classes {', '.join(network.class_names)}, but the data set in {dataset.root} has "
            f"{', '.join(manifest.class_names)}: both must have the same classes in the same order"
        )
    masked = manifest.samples.dropna(subset="mask")
    rows = masked[masked["split"] == parameters.split]
    if rows.empty:
        counts = masked["split"].value_counts().to_dict()
        raise DataError(
            f"weights_evaluation.split: the data set in {dataset.root} has no images with masks in "
            f"{parameters.split}; it has {counts}"
        )
    warn_of_other_sizes(network, dataset)
    evaluation = evaluate_network(network, rows, context)
    evaluated = {
        "weights": digest(path.read_bytes()),
        "architecture": network.name,
        "trained_by": network.trained_by,
        "fingerprint": network.fingerprint,
        "split": parameters.split,
        "images": len(rows),
    }
    return evaluated | score_evaluation(evaluation), tabulate_images({"miou": evaluation})
