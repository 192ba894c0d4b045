"""Nodes of ``prediction``."""

from igl_dt.data.parameters import DatasetParameters
from igl_dt.inference.parameters import PredictionParameters
from igl_dt.runtime.parameters import EvaluationParameters, RuntimeParameters


def predict_images(
    prediction: PredictionParameters,
    dataset: DatasetParameters,
    evaluation: EvaluationParameters,
    runtime: RuntimeParameters,
) -> None:
    """Write a mask and an overlay for every image, and a table of what is in them, into the output folder."""
    from igl_dt.inference.predict import predict_images

    predict_images(prediction, dataset, evaluation, runtime)
