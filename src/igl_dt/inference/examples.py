"""Example images with the predictions of several networks."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch

from igl_dt.data.loading import ImageReader
from igl_dt.evaluation.evaluator import moved
from igl_dt.evaluation.inference import predict_classes
from igl_dt.networks.base import SegmentationNetwork
from igl_dt.runtime.context import RunContext
from igl_dt.runtime.determinism import autocast, configure_torch


def predict_examples(
    networks: Mapping[str, SegmentationNetwork],
    rows: pd.DataFrame,
    scores: pd.Series,
    count: int,
    context: RunContext,
) -> dict[str, np.ndarray]:
    """Predict a few images, spread evenly from the best to the worst score.

    Args:
        networks: By name; each is returned to its own device.
        rows: Rows of the manifest; all have masks.
        scores: Score of each image, by id. Images with NaN are shown only if there are no others; ties are broken by
            id.
        count: Number of images, at most. 3: the best, the median and the worst.
        context: Data set, evaluation, device and precision.

    Returns:
        ``image/<number>``: the image (H×W×3 uint8); ``truth/<number>``: its mask; ``<network>/<number>``: the
        predictions (both H×W uint8 class ids). Numbered from 1.
    """
    scored = scores.dropna() if scores.notna().any() else scores
    ranked = scored.sort_index().sort_values(ascending=False, kind="stable").index
    positions = np.unique(np.linspace(0, len(ranked) - 1, count).round().astype(int))
    reader, examples = ImageReader(context.dataset), {}
    for number, row in enumerate(rows.set_index("id").loc[ranked[positions]].itertuples(), start=1):
        examples[f"image/{number}"], examples[f"truth/{number}"] = (
            reader.image(str(row.image)),
            reader.mask(str(row.mask)),
        )
    device = configure_torch(context.runtime)
    for name, network in networks.items():
        with moved(network, device), autocast(device, context.runtime):
            for number in range(1, len(positions) + 1):
                image = torch.from_numpy(examples[f"image/{number}"]).permute(2, 0, 1).unsqueeze(0)
                prediction = predict_classes(network, image, context.evaluation)
                examples[f"{name}/{number}"] = prediction[0].byte().cpu().numpy()
    return examples
