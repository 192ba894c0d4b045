"""The reference: the loss against the ground truth, and nothing else."""

import pytest
import torch

from igl_dt.data.loading import Batch
from igl_dt.losses.parameters import SupervisedLossParameters
from igl_dt.methods import Supervised


def test_its_only_term_is_the_supervised_loss(tiny_network, make_batch, by_hand) -> None:
    network, batch = tiny_network(1, channels=4), make_batch()
    terms = Supervised("some_name", network, SupervisedLossParameters())(Batch(batch.images, batch.masks), step=3)
    assert terms.keys() == {"supervised"}
    with torch.no_grad():
        wanted = by_hand.cross_entropy(network(batch.images).logits, batch.masks)
    assert terms["supervised"].item() == pytest.approx(wanted, rel=1e-5)
    terms["supervised"].backward()
    assert all(parameter.grad.any() for parameter in network.parameters())


def test_its_loss_is_the_one_asked_for(tiny_network, make_batch, by_hand) -> None:
    network, batch = tiny_network(1, channels=4), make_batch()
    mined = SupervisedLossParameters(name="ohem", ohem_threshold=0.5, ohem_min_kept=1)
    with torch.no_grad():
        logits = network(batch.images).logits
        loss = Supervised("some_name", network, mined)(batch, step=0)["supervised"].item()
    labels = batch.masks.long()
    true_class = logits.softmax(1).gather(1, labels.clamp(max=2).unsqueeze(1)).squeeze(1)
    hard = labels.masked_fill(true_class > 0.5, 255)
    assert loss == pytest.approx(by_hand.cross_entropy(logits, hard), rel=1e-5)


def test_the_network_is_trained_under_its_name_and_once(tiny_network) -> None:
    network = tiny_network(1, channels=4)
    method = Supervised("some_name", network, SupervisedLossParameters())
    assert method.trained() == method.networks == {"some_name": network}
    assert len(list(method.parameters())) == len(list(network.parameters()))
