"""Quality of the labels that networks give to unlabelled images: for the record only, no training uses it."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from igl_dt.evaluation.inference import predict_probabilities
from igl_dt.runtime.parameters import CONFIDENT, EvaluationParameters
from igl_dt.utils.parameters import IGNORE_INDEX


def measure_pseudo_labels(
    networks: Mapping[str, nn.Module],
    images: Iterable[tuple[Tensor, Tensor | None]],
    parameters: EvaluationParameters,
) -> dict[str, float]:
    """Compare predictions of whole images with the hidden truth and with each other [ours].

    The networks run in evaluation mode, as teachers do, and each submodule's mode is restored afterwards. Nothing is
    random. Autocast is up to the caller.

    Args:
        networks: by name, all on one device; see :func:`igl_dt.evaluation.inference.predict_probabilities`.
        images: Pairs of an image (3×H×W uint8) and its hidden truth (H×W, integer class ids, 255 = not counted), or
            None where it has none: then all pixels count, but not for the accuracy.
        parameters: How an image is predicted.

    Returns:
        Shares of the counted pixels, between 0 and 1: ``pseudo_label_accuracy.<network>``, labelled correctly (absent
        where no image has a truth); ``pseudo_label_confident.<network>``, labelled with a probability of at least 0.9;
        ``pseudo_label_agreement``, labelled alike by all networks (absent where there is one). Empty if no pixel
        counts.
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
    agreement = {"pseudo_label_agreement": agreeing / counted} if counted and len(networks) > 1 else {}
    return accuracies | shares | agreement
