"""Mean Teacher: consistency on labelled and unlabelled images, plain and with CutMix, and the average."""

import copy

import pytest
import torch

from igl_dt.data.parameters import AugmentationParameters
from igl_dt.methods.mean_teacher import MeanTeacher, MeanTeacherParameters


@pytest.mark.parametrize("cutmix", [False, True])
def test_losses_are_those_of_the_specification(normed_network, make_batch, make_method, by_hand, cutmix) -> None:
    network, batch = normed_network(1), make_batch(cutmix, count=3)
    method = make_method(MeanTeacher, {"student": network}).train()
    method.average.load_state_dict(normed_network(2).state_dict())
    own, average = copy.deepcopy(network), copy.deepcopy(method.average).train()
    boxes = batch.cutmix[0] if cutmix else torch.zeros_like(batch.padding)
    with torch.no_grad():
        known, unknown = own(batch.images).logits, own(by_hand.mix(batch.weak, boxes)).logits
        target = average(batch.images).logits.softmax(1), average(batch.weak).logits.softmax(1)
    squares = [(known.softmax(1) - target[0]) ** 2, (unknown.softmax(1) - by_hand.mix(target[1], boxes)) ** 2]
    mean = sum(square.sum().item() for square in squares) / sum(square.numel() for square in squares)
    wanted = {"supervised": by_hand.cross_entropy(known, batch.masks), "consistency": 100 * mean}

    terms = method(batch, 0)
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(wanted, rel=1e-9)
    for module, reference in ((network, own), (method.average, average)):
        for name, tensor in reference.state_dict().items():
            torch.testing.assert_close(module.state_dict()[name], tensor, rtol=1e-12, atol=1e-12)
    sum(terms.values()).backward()
    assert all(parameter.grad is None for parameter in method.average.parameters())


def test_the_average_follows_parameters_and_keeps_its_own_statistics(normed_network, make_method) -> None:
    network = normed_network(1)
    method = make_method(MeanTeacher, {"student": network})
    before = copy.deepcopy(method.average.state_dict())
    network.load_state_dict(normed_network(2).state_dict())
    with torch.no_grad():
        network.shallow[1].running_mean.fill_(9.0)
    method.after_step(0)
    parameters = dict(network.named_parameters())
    for name, tensor in method.average.state_dict().items():
        if name in parameters:
            torch.testing.assert_close(tensor, 0.99 * before[name] + 0.01 * parameters[name].detach())
        else:
            assert torch.equal(tensor, before[name]), name


def test_boxes_are_its_own_choice(normed_network, make_method) -> None:
    given = AugmentationParameters(crop_size=(8, 8), cutmix_probability=0.5, strong_unlabeled=True)
    for probability in (0.0, 1.0):
        method = make_method(MeanTeacher, {"student": normed_network(1)}, cutmix_probability=probability)
        changed = method.augmentation(given)
        assert changed.cutmix_probability == probability
        assert not changed.strong_unlabeled
    assert MeanTeacherParameters().cutmix_probability == 0
