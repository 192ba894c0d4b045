"""Nodes of ``weights_evaluation``."""

from typing import Any

import pandas as pd

from igl_dt.parameters import DatasetParameters, EvaluationParameters, MeasuringParameters, RuntimeParameters


def measure_weights(
    measuring: MeasuringParameters,
    dataset: DatasetParameters,
    evaluation: EvaluationParameters,
    runtime: RuntimeParameters,
    seed: int,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Measure a weight file on the pictures of a split."""
    from igl_dt.stages import Surroundings, measure_weights

    return measure_weights(measuring, Surroundings(dataset, evaluation, runtime, seed))
