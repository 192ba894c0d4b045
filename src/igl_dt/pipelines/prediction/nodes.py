"""Nodes of ``prediction``."""

import pandas as pd

from igl_dt.data.parameters import DatasetParameters
from igl_dt.inference.parameters import PredictionParameters
from igl_dt.runtime.parameters import EvaluationParameters, RuntimeParameters


def predict_images(
    prediction: PredictionParameters,
    dataset: DatasetParameters,
    evaluation: EvaluationParameters,
    runtime: RuntimeParameters,
) -> pd.DataFrame:
    """Write a mask and an overlay for every image of a folder, and a table of what is in them."""
    from igl_dt.inference.predict import predict_folder

    return predict_folder(prediction, dataset.image_size, evaluation, runtime)
