"""MGD-style distillation: all losses of both teachers in every step."""

import copy

import pytest
import torch
from torch.nn import functional as F

from igl_dt.methods.mgd import Mgd, MgdParameters

TEACHERS = ("global_teacher", "local_teacher")


@pytest.mark.parametrize("cutmix", [False, True])
@pytest.mark.parametrize(("step", "weight"), [(0, None), (1, 0.25)])
def test_losses_are_those_of_the_specification(
    normed_network, make_batch, make_method, by_hand, cutmix, step, weight
) -> None:
    network, batch = normed_network(1), make_batch(cutmix, count=3)
    teachers = {role: normed_network(seed) for seed, role in enumerate(TEACHERS, start=2)}
    options = {"local_regions": 2, "labeled_pseudo_label_weight": weight}
    method = make_method(Mgd, {"student": network}, teachers, **options).train()
    own = copy.deepcopy(network)
    boxes = batch.cutmix[0] if cutmix else torch.zeros_like(batch.padding)
    mixed, padding = by_hand.mix(batch.weak, boxes), by_hand.mix(batch.padding, boxes)
    with torch.no_grad():
        unknown, features = own(mixed)
        known = own(batch.images).logits
        deep, wide = (teachers[role](mixed) for role in TEACHERS)
        wanted = {"supervised": by_hand.cross_entropy(known, batch.masks)}
        for role in TEACHERS:
            labels = by_hand.labels(teachers[role](batch.images).logits, batch.masks == 255)
            wanted[f"labeled_pseudo_label.{role}"] = (weight or 1) * by_hand.cross_entropy(known, labels)
            labels = by_hand.labels(by_hand.mix(teachers[role](batch.weak).logits, boxes), padding)
            wanted[f"unlabeled_pseudo_label.{role}"] = by_hand.cross_entropy(unknown, labels)
    pooled = (unknown.mean(dim=(2, 3)) - deep.logits.mean(dim=(2, 3))).abs()
    wanted["global_context"] = 0.084 * pooled.sum().item() / pooled.numel()
    squares = []
    for image in range(3):
        ours, theirs = (F.adaptive_avg_pool2d(x[image], 2).flatten(1) for x in (features, wide.features))
        for i in range(4):
            for j in range(4):
                one = F.cosine_similarity(ours[:, i], ours[:, j], dim=0)
                squares.append((one - F.cosine_similarity(theirs[:, i], theirs[:, j], dim=0)).item() ** 2)
    wanted["local_regional"] = 100 * sum(squares) / len(squares)

    terms = {name: term.item() for name, term in method(batch, step).items()}
    assert terms.pop("local_regional") == pytest.approx(
        wanted.pop("local_regional"), rel=1e-3
    )  # its lengths have a floor
    assert terms == pytest.approx(wanted, rel=1e-9)
    for name, tensor in own.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], tensor, rtol=1e-12, atol=1e-12)


def test_published_values() -> None:
    assert MgdParameters().model_dump() == {
        "pseudo_label_weight": 1.0,
        "labeled_pseudo_label_weight": None,
        "global_weight": 0.084,
        "local_weight": 100.0,
        "local_regions": 7,
        "cutmix_probability": 1.0,
        "cutmix_boxes": 3,
        "cutmix_area": (0.25, 0.5),
    }
