"""How good the labels are that networks give to unlabelled images: a measurement, from which nothing learns."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from igl_dt.evaluation.inference import predict_probabilities
from igl_dt.runtime.parameters import EvaluationParameters
from igl_dt.utils.parameters import IGNORE_INDEX

CONFIDENT = 0.9
"""Probability from which on a pseudo-label is called confident, in reports alone."""


def measure_pseudo_labels(
    networks: Mapping[str, nn.Module],
    images: Iterable[tuple[Tensor, Tensor | None]],
    parameters: EvaluationParameters,
) -> dict[str, float]:
    """Compare what networks say of whole images with the hidden truth and with each other [ours].

    The networks are in evaluation mode meanwhile, as teachers of a student are, and each part has its own mode again
    afterwards. Nothing is drawn at random. Autocast is the caller's business.

    Args:
        networks: by name, all on one device; see :func:`igl_dt.evaluation.inference.predict_probabilities`.
        images: Pairs of an image (3×H×W uint8) and its hidden truth (H×W, integer class ids, pixels of 255 are not
            counted), or None where there is none: then all its pixels are counted, but for no accuracy.
        parameters: How an image is predicted.

    Returns:
        Shares of the counted pixels, between 0 and 1: ``pseudo_label_accuracy.<network>`` that the network labels
        rightly (absent where no image has a truth), ``pseudo_label_confident.<network>`` to which it gives a
        probability of at least 0.9, ``pseudo_label_agreement`` that all networks label alike. Empty without pixels.
    """
    right, confident = dict.fromkeys(networks, 0), dict.fromkeys(networks, 0)
    agreeing = counted = known = 0
    for image, truth in images:
        predicted = {
            name: predict_probabilities(network, image.unsqueeze(0), parameters)[0].max(dim=0)
            for name, network in networks.items()
        }
        first, *others = (labels for _, labels in predicted.values())
        counts = torch.ones_like(first, dtype=torch.bool)
        if truth is not None:
            truth = truth.to(first.device)
            counts = truth != IGNORE_INDEX
            known += int(counts.sum())
            for name, (_, labels) in predicted.items():
                right[name] += int((labels == truth).sum())  # no class has the id of an ignored pixel
        for name, (probabilities, _) in predicted.items():
            confident[name] += int((counts & (probabilities >= CONFIDENT)).sum())
        counted += int(counts.sum())
        for labels in others:
            counts = counts & (labels == first)
        agreeing += int(counts.sum())
    accuracies = {f"pseudo_label_accuracy.{name}": hits / known for name, hits in right.items() if known}
    shares = {f"pseudo_label_confident.{name}": pixels / counted for name, pixels in confident.items() if counted}
    return accuracies | shares | ({"pseudo_label_agreement": agreeing / counted} if counted else {})
