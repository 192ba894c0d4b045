"""Dual Teacher: turns, mixing, weights of the losses, and averages that restart."""

import copy

import pytest
import torch

from igl_dt.data.parameters import AugmentationParameters
from igl_dt.methods.augseg import random_boxes
from igl_dt.methods.dual_teacher import DualTeacher, DualTeacherParameters, half_of_the_classes

THRESHOLD = 0.7


@pytest.mark.parametrize("turn", [0, 1])
def test_losses_are_those_of_the_specification(normed_network, make_batch, make_method, by_hand, turn) -> None:
    network, batch = normed_network(1), make_batch(cutmix=False, count=3)
    method = make_method(DualTeacher, {"student": network}, confidence_threshold=THRESHOLD).train()
    method.before_training(10, lambda network: {})
    for seed, average in enumerate(method.averages.values(), start=2):
        average.load_state_dict(normed_network(seed).state_dict())
    step = 10 * turn
    own, average = copy.deepcopy(network), copy.deepcopy(method.averages[f"student_ema_{turn + 1}"]).train()
    with torch.no_grad():
        confidence, labels = average(batch.weak).logits.softmax(1).max(1)
    labels[batch.padding] = 255
    confident = (confidence >= THRESHOLD) & ~batch.padding

    torch.manual_seed(1)  # what the method draws, in its order
    order = torch.randperm(3)
    other = random_boxes(3, 6, 8, 4.0, 4.0) if turn == 0 else ~half_of_the_classes(labels)
    mixed, target, sure = (by_hand.paste(x, other, x[order]) for x in (batch.strong[0], labels, confident))
    with torch.no_grad():
        logits = own(torch.cat([batch.images, mixed])).logits
        unmixed = own(batch.strong[0]).logits
    total = 0.0
    for image in range(3):
        share = confident[image].double().mean() if turn == 0 else sure.double().mean()
        total += share.item() * by_hand.cross_entropy(logits[3 + image : 4 + image], target[image : image + 1])
    wanted = {
        "supervised": by_hand.cross_entropy(logits[:3], batch.masks),
        "mixed": total / 3,
        "consistency": 0.2 * by_hand.confident_loss(unmixed, labels, confidence, batch.padding, THRESHOLD),
    }

    torch.manual_seed(1)
    terms = {name: term.item() for name, term in method(batch, step).items()}
    assert other.any()
    assert 0 < confident.double().mean() < 1
    assert turn == 0 or sure.double().mean() != confident.double().mean()
    assert terms == pytest.approx(wanted, rel=1e-9)


def test_half_of_the_classes_of_each_image() -> None:
    labels = torch.tensor([[[0, 1], [2, 255]], [[3, 3], [3, 3]], [[0, 1], [2, 3]]])
    for seed in range(10):
        torch.manual_seed(seed)
        selected = half_of_the_classes(labels)
        assert [labels[i][selected[i]].unique().numel() for i in range(3)] == [1, 0, 2]
        assert not selected[labels == 255].any()


def test_averages_take_turns_and_start_anew(normed_network, make_method) -> None:
    network = normed_network(1)
    method = make_method(DualTeacher, {"student": network})
    method.before_training(5, lambda network: {})
    values = [7.0, 7.0]
    for average in method.averages.values():
        torch.nn.init.constant_(average.classifier.bias, 7.0)
        torch.nn.init.constant_(average.shallow[1].running_mean, 7.0)
    for step in range(25):
        torch.nn.init.constant_(network.classifier.bias, float(step))
        method.after_step(step)
        turn, decay = step // 5 % 2, min(1 - 1 / (step % 5 + 1), 0.99)
        values[turn] = decay * values[turn] + (1 - decay) * step
        now = [average.classifier.bias[0].item() for average in method.averages.values()]
        assert now == pytest.approx(values, rel=1e-9)
    assert all(average.shallow[1].running_mean.eq(7).all() for average in method.averages.values())
    assert set(method.evaluated()) == {"student", "student_ema_1", "student_ema_2"}


def test_published_values(normed_network, make_method) -> None:
    assert DualTeacherParameters().model_dump() == {
        "confidence_threshold": 0.95,
        "consistency_weight": 0.2,
        "ema_decay": 0.99,
    }
    method = make_method(DualTeacher, {"student": normed_network(1)})
    changed = method.augmentation(AugmentationParameters(crop_size=(8, 8)))
    assert changed.strong_unlabeled
    assert changed.cutmix_probability == 0
