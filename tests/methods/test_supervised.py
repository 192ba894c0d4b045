"""The reference: the loss against the ground truth, and nothing else."""

import pytest
import torch

from igl_dt.data.loading import Batch
from igl_dt.losses.parameters import SupervisedLossParameters
from igl_dt.methods.supervised import Supervised
from tiny import build_tiny_method


def test_its_only_term_is_the_supervised_loss(tiny_network, make_batch, by_hand) -> None:
    network, batch = tiny_network(1, channels=4), make_batch()
    terms = build_tiny_method(Supervised, {"some_role": network})(Batch(batch.images, batch.masks), step=3)
    assert terms.keys() == {"supervised"}
    with torch.no_grad():
        wanted = by_hand.cross_entropy(network(batch.images).logits, batch.masks)
    assert terms["supervised"].item() == pytest.approx(wanted, rel=1e-5)
    terms["supervised"].backward()
    assert all(parameter.grad.any() for parameter in network.parameters())


def test_its_loss_is_the_one_asked_for(tiny_network, make_batch, by_hand) -> None:
    network, batch = tiny_network(1, channels=4), make_batch()
    mined = SupervisedLossParameters(name="ohem", ohem_threshold=0.5, ohem_min_fraction=1e-9)
    with torch.no_grad():
        logits = network(batch.images).logits
        loss = build_tiny_method(Supervised, {"some_role": network}, None, mined)(batch, step=0)["supervised"].item()
    labels = batch.masks.long()
    true_class = logits.softmax(1).gather(1, labels.clamp(max=2).unsqueeze(1)).squeeze(1)
    hard = labels.masked_fill(true_class > 0.5, 255)
    assert loss == pytest.approx(by_hand.cross_entropy(logits, hard), rel=1e-5)


def test_the_network_is_trained_under_its_role_and_once(tiny_network) -> None:
    network = tiny_network(1, channels=4)
    method = build_tiny_method(Supervised, {"some_role": network})
    assert method.trained() == method.evaluated() == {"some_role": network}
    assert len(list(method.parameters())) == len(list(network.parameters()))


def test_two_networks_do_not_learn_from_each_other(tiny_network, make_batch, by_hand) -> None:
    networks, batch = {"one": tiny_network(1), "other": tiny_network(2)}, make_batch()
    terms = build_tiny_method(Supervised, networks)(batch, step=0)
    assert terms.keys() == {"one.supervised", "other.supervised"}
    for role, network in networks.items():
        with torch.no_grad():
            wanted = by_hand.cross_entropy(network(batch.images).logits, batch.masks)
        assert terms[f"{role}.supervised"].item() == pytest.approx(wanted, rel=1e-5)
    terms["one.supervised"].backward()
    assert all(parameter.grad.any() for parameter in networks["one"].parameters())
    assert all(parameter.grad is None for parameter in networks["other"].parameters())
