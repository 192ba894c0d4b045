"""Nodes of ``weights_evaluation``."""

from typing import Any

import pandas as pd

from igl_dt.inference.parameters import WeightsEvaluationParameters
from igl_dt.runtime.context import RunContext


def evaluate_weights(
    weights_evaluation: WeightsEvaluationParameters, run_context: RunContext
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Evaluate a weight file on the images of a split."""
    from igl_dt.inference.evaluate_weights import evaluate_weights

    return evaluate_weights(weights_evaluation, run_context)
