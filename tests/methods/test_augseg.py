"""AugSeg: adaptive pasting, one forward, a mean over all pixels."""

import copy
import math

import pytest
import torch

from igl_dt.data.parameters import AugmentationParameters
from igl_dt.methods.augseg import AugSeg, AugSegParameters, confidence_of_images, random_boxes

THRESHOLD = 0.7


def test_losses_are_those_of_the_specification(normed_network, make_batch, make_method, by_hand) -> None:
    network, batch = normed_network(1), make_batch(cutmix=False, count=3)
    method = make_method(AugSeg, {"student": network}, confidence_threshold=THRESHOLD, unlabeled_weight=0.5).train()
    method.average.load_state_dict(normed_network(2).state_dict())
    own, average = copy.deepcopy(network), copy.deepcopy(method.average).eval()
    with torch.no_grad():
        probabilities = average(batch.weak).logits.softmax(1)
    confidence, labels = probabilities.max(1)
    labels[batch.padding] = 255

    torch.manual_seed(4)  # what the method draws, in its order
    order = torch.randperm(3)
    from_labeled, from_unlabeled = random_boxes(3, 6, 8, 8.0, 2.0), random_boxes(3, 6, 8, 4.0, 4.0)
    chance = torch.rand(3)
    trust = confidence_of_images(probabilities.log())
    helped = [batch.strong[0].clone(), labels.clone(), confidence.clone()]
    for image in range(3):
        if chance[image] > trust[image]:
            box = from_labeled[image]
            helped[0][image][:, box] = batch.images[order[image]][:, box]
            helped[1][image][box] = batch.masks[order[image]][box].long()
            helped[2][image][box] = 1.0
    mixed = [batch.strong[0].clone(), labels.clone(), confidence.clone()]
    for image in range(3):
        for part, source in zip(mixed, helped, strict=True):
            part[image][..., from_unlabeled[image]] = source[order[image]][..., from_unlabeled[image]]
    with torch.no_grad():
        logits = own(torch.cat([batch.images, mixed[0]])).logits
    nowhere, all_pixels = mixed[1] == 255, mixed[1].numel()
    share = (~nowhere).sum().item() / all_pixels
    loss = share * by_hand.confident_loss(logits[3:], mixed[1], mixed[2], nowhere, THRESHOLD)
    wanted = {"supervised": by_hand.cross_entropy(logits[:3], batch.masks), "strong_view": 0.5 * loss}

    torch.manual_seed(4)
    terms = method(batch, 0)
    assert from_labeled.any()
    assert from_unlabeled.any()
    assert 0 < share < 1
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(wanted, rel=1e-9)


def test_confidence_is_high_where_one_class_is_certain() -> None:
    logits = torch.stack([torch.zeros(4, 2, 2), torch.tensor([50.0, 0, 0, 0])[:, None, None].expand(4, 2, 2)])
    assert confidence_of_images(logits).tolist() == pytest.approx([0, 1], abs=1e-6)
    p = [0.7, 0.2, 0.1]
    entropy = -sum(x * math.log(x) for x in p) / math.log(3)
    logits = torch.tensor(p).log()[None, :, None, None].expand(1, 3, 5, 5)
    assert confidence_of_images(logits).item() == pytest.approx(0.7 * (1 - entropy), rel=1e-5)


def test_boxes_are_of_one_size_and_cut_off_at_the_border() -> None:
    torch.manual_seed(0)
    for _ in range(20):
        boxes = random_boxes(6, 40, 30, 4.0, 4.0)
        sides = [(int(box.any(1).sum()), int(box.any(0).sum())) for box in boxes]
        assert all(int(box.sum()) == height * width for box, (height, width) in zip(boxes, sides, strict=True))
        assert max(height for height, _ in sides) <= 40
        assert max(width for _, width in sides) <= 30
    assert len({tuple(box.flatten().tolist()) for box in boxes}) > 1, "each image has a box of its own"


def test_the_average_is_a_copy_in_the_first_epoch_and_then_follows(normed_network, make_method) -> None:
    method = make_method(AugSeg, {"student": normed_network(1)})
    method.before_training(3, lambda network: {})
    own = method.network.state_dict()
    for step in range(4):
        before = {name: tensor.clone() for name, tensor in method.average.state_dict().items()}
        method.network.load_state_dict(normed_network(2 + step).state_dict())
        method.after_step(step)
        for name, tensor in method.average.state_dict().items():
            if step < 3:
                assert torch.equal(tensor, own[name])
            elif tensor.is_floating_point():
                torch.testing.assert_close(tensor, 0.75 * before[name] + 0.25 * own[name])
    assert AugSegParameters().ema_decay == 0.999
    assert AugSegParameters().confidence_threshold == 0.95


def test_strong_views_are_random_operations(normed_network, make_method) -> None:
    method = make_method(AugSeg, {"student": normed_network(1)})
    changed = method.augmentation(AugmentationParameters(crop_size=(8, 8)))
    assert changed.strong.random_operations == 3
    assert changed.strong_unlabeled
    assert changed.cutmix_probability == 0
