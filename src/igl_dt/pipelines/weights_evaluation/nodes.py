"""Nodes of ``weights_evaluation``."""

from typing import Any

import pandas as pd

from igl_dt.data.parameters import DatasetParameters
from igl_dt.inference.parameters import WeightsEvaluationParameters
from igl_dt.runtime.parameters import EvaluationParameters, RuntimeParameters


def evaluate_weights(
    weights_evaluation: WeightsEvaluationParameters,
    dataset: DatasetParameters,
    evaluation: EvaluationParameters,
    runtime: RuntimeParameters,
    seed: int,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Measure a weight file on the images of a split."""
    from igl_dt.stages import Surroundings, evaluate_weights

    return evaluate_weights(weights_evaluation, Surroundings(dataset, evaluation, runtime, seed))
