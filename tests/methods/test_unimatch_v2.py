"""UniMatch V2: labels by the average, complementary channels, reversed partners, and the average's schedule."""

import copy

import pytest
import torch

from igl_dt.methods.unimatch_v2 import UniMatchV2, UniMatchV2Parameters, complementary_dropout

THRESHOLD = 0.7


def test_losses_are_those_of_the_specification(normed_network, make_batch, make_method, by_hand) -> None:
    network, batch = normed_network(1), make_batch(views=2, count=3)
    method = make_method(UniMatchV2, {"student": network}, confidence_threshold=THRESHOLD, exempt=0.4).train()
    method.average.load_state_dict(normed_network(2).state_dict())  # otherwise the two are equal at first
    own, average, flipped = copy.deepcopy(network), copy.deepcopy(method.average), [2, 1, 0]
    with torch.no_grad():
        confidence, labels = average.eval()(batch.weak).logits.softmax(1).max(1)
        known = own(batch.images).logits
        views = [
            by_hand.paste(view, boxes, view[flipped]) for view, boxes in zip(batch.strong, batch.cutmix, strict=True)
        ]
        encoded = own.encode(torch.cat(views))
        torch.manual_seed(3)
        masked = complementary_dropout(encoded.features, 0.4)
        strong = own.decode(encoded._replace(features=masked)).logits
    wanted = {"supervised": by_hand.cross_entropy(known, batch.masks) / 2}
    for view, boxes in enumerate(batch.cutmix):
        loss = by_hand.confident_loss(
            strong[3 * view : 3 * view + 3],
            by_hand.paste(labels, boxes, labels[flipped]),
            by_hand.paste(confidence, boxes, confidence[flipped]),
            by_hand.paste(batch.padding, boxes, batch.padding[flipped]),
            THRESHOLD,
        )
        wanted[f"strong_view_{view + 1}"] = loss / 2 / 2

    before = copy.deepcopy(method.average.state_dict())
    torch.manual_seed(3)
    terms = method(batch, 0)
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(wanted, rel=1e-9)
    for name, tensor in own.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], tensor, rtol=1e-12, atol=1e-12)
    assert all(torch.equal(tensor, before[name]) for name, tensor in method.average.state_dict().items())


def test_the_average_follows_parameters_and_statistics(normed_network, make_method) -> None:
    network = normed_network(1)
    method = make_method(UniMatchV2, {"student": network})
    average = {name: torch.full_like(tensor, 7.0) for name, tensor in method.average.state_dict().items()}
    method.average.load_state_dict(average)
    draw = torch.Generator().manual_seed(0)
    for step in range(400):
        with torch.no_grad():
            for tensor in network.state_dict().values():
                tensor.copy_(torch.randn(tensor.shape, generator=draw, dtype=torch.float64))
        method.after_step(step)
        decay = min(1 - 1 / (step + 1), 0.996)
        for name, tensor in network.state_dict().items():
            average[name] = decay * average[name] + (1 - decay) * tensor if tensor.is_floating_point() else tensor
    assert any(name.endswith("running_var") for name in average)
    for name, tensor in method.average.state_dict().items():
        torch.testing.assert_close(tensor, average[name], rtol=1e-9, atol=1e-12)
    assert method.evaluated() == {"student": network, "student_ema": method.average}
    assert set(method.trained()) == {"student"}
    assert not any(parameter.requires_grad for parameter in method.average.parameters())


def test_channels_are_complementary_and_half_of_the_pairs_exempt() -> None:
    torch.manual_seed(0)
    masks = complementary_dropout([torch.ones(8, 50, 2, 3), torch.ones(8, 20, 1, 1)], 0.5)
    exempt = []
    for mask in masks:
        first, second = mask.chunk(2)
        assert torch.equal(first + second, torch.full_like(first, 2.0))
        assert mask.amin(dim=(2, 3)).equal(mask.amax(dim=(2, 3)))
        untouched = first.flatten(1).eq(1).all(dim=1)
        assert untouched.sum() == 2
        assert set(first[~untouched].unique().tolist()) == {0.0, 2.0}
        exempt.append(untouched)
    assert torch.equal(*exempt), "the same images for all features"


def test_published_values() -> None:
    assert UniMatchV2Parameters().model_dump() == {"confidence_threshold": 0.95, "ema_decay": 0.996, "exempt": 0.5}
