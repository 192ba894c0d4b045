"""The supervised baseline: the loss against the ground truth, and nothing else."""

import pytest
import torch

from igl_dt.data.loading import Batch
from igl_dt.losses.parameters import SupervisedLossParameters
from igl_dt.methods.supervised import Supervised


def test_its_only_term_is_the_supervised_loss(tiny_network, make_batch, make_method, by_hand) -> None:
    network, batch = tiny_network(1, channels=4), make_batch()
    terms = make_method(Supervised, {"some_name": network})(Batch(batch.images, batch.masks), step=3)
    assert terms.keys() == {"supervised"}
    with torch.no_grad():
        wanted = by_hand.cross_entropy(network(batch.images).logits, batch.masks)
    assert terms["supervised"].item() == pytest.approx(wanted, rel=1e-5)
    terms["supervised"].backward()
    assert all(parameter.grad.any() for parameter in network.parameters())


def test_its_loss_is_the_one_asked_for(tiny_network, make_batch, make_method, by_hand) -> None:
    network, batch = tiny_network(1, channels=4), make_batch()
    mined = SupervisedLossParameters(name="ohem", ohem_threshold=0.5, ohem_min_fraction=0.001)
    with torch.no_grad():
        logits = network(batch.images).logits
        loss = make_method(Supervised, {"some_name": network}, loss=mined)(batch, step=0)["supervised"].item()
    labels = batch.masks.long()
    true_class = logits.softmax(1).gather(1, labels.clamp(max=2).unsqueeze(1)).squeeze(1)
    hard = labels.masked_fill(true_class > 0.5, 255)
    assert loss == pytest.approx(by_hand.cross_entropy(logits, hard), rel=1e-5)


def test_the_network_is_trained_under_its_name_and_once(tiny_network, make_method) -> None:
    network = tiny_network(1, channels=4)
    method = make_method(Supervised, {"some_name": network})
    assert method.trained() == method.evaluated() == {"some_name": network}
    assert len(list(method.parameters())) == len(list(network.parameters()))


def test_two_networks_do_not_see_each_other(tiny_network, make_batch, make_method) -> None:
    networks = {"a": tiny_network(1, channels=4), "b": tiny_network(2, channels=4)}
    terms = make_method(Supervised, networks)(make_batch(), step=0)
    assert terms.keys() == {"a.supervised", "b.supervised"}
    terms["a.supervised"].backward()
    assert all(parameter.grad is None for parameter in networks["b"].parameters())
