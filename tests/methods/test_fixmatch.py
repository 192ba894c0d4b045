"""FixMatch: its losses are those of the specification, in the specified order of forwards."""

import copy

import pytest
import torch

from igl_dt.data.parameters import AugmentationParameters
from igl_dt.methods.fixmatch import FixMatch, FixMatchParameters

THRESHOLD = 0.7


def expected(network, batch, by_hand, threshold):
    """Compute both losses, and the batch-norm statistics that the forwards leave."""
    network = copy.deepcopy(network)
    boxes = batch.cutmix[0] if batch.cutmix else torch.zeros_like(batch.padding)
    with torch.no_grad():
        partner = network.eval()(batch.weak).logits.softmax(1).max(1)
        network.train()
        logits = network(torch.cat([batch.images, batch.weak])).logits
        strong = network(by_hand.mix(batch.strong[0], boxes)).logits
    confidence, labels = logits[3:].softmax(1).max(1)
    partners = [torch.stack([part[index - 1] for index in range(3)]) for part in partner]
    confidence, labels = (by_hand.paste(x, boxes, y) for x, y in zip((confidence, labels), partners, strict=True))
    ignored = by_hand.mix(batch.padding, boxes)
    assert 0.1 < (confidence >= THRESHOLD).double().mean() < 0.9
    loss = by_hand.confident_loss(strong, labels, confidence, ignored, threshold)
    known = by_hand.cross_entropy(logits[:3], batch.masks)
    return {"supervised": known / 2, "strong_view": loss / 2}, network.state_dict()


@pytest.mark.parametrize("threshold", [0.0, THRESHOLD])
@pytest.mark.parametrize("cutmix", [False, True])
def test_losses_are_those_of_the_specification(
    normed_network, make_batch, make_method, by_hand, cutmix, threshold
) -> None:
    network, batch = normed_network(1), make_batch(cutmix, count=3)
    wanted, statistics = expected(network, batch, by_hand, threshold)
    method = make_method(FixMatch, {"student": network}, confidence_threshold=threshold).train()
    terms = method(batch, 0)
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(wanted, rel=1e-9)
    assert network.training
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, statistics[name], rtol=1e-12, atol=1e-12)


def test_no_gradient_flows_through_labels(normed_network, make_batch, make_method) -> None:
    batch = make_batch(count=3)
    method = make_method(FixMatch, {"student": normed_network(1)}, confidence_threshold=0.0).train()
    outputs = []
    method.network.shallow.register_forward_hook(lambda _, __, output: outputs.append(output))
    loss = method(batch, 0)["strong_view"]
    partner, weak, strong = outputs
    assert not partner.requires_grad
    gradients = torch.autograd.grad(loss, [weak, strong], allow_unused=True)
    assert gradients[0] is None
    assert gradients[1].any()


def test_one_network_and_strong_views(normed_network, make_method) -> None:
    with pytest.raises(ValueError, match="fixmatch trains one network, not 2: a, b"):
        make_method(FixMatch, {"a": normed_network(1), "b": normed_network(2)})
    method = make_method(FixMatch, {"student": normed_network(1)})
    assert method.augmentation(AugmentationParameters(crop_size=(8, 8))).strong_unlabeled
    assert FixMatchParameters().confidence_threshold == 0.95
