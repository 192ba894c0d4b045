"""PrevMatch: snapshots at new best scores, their random ensemble, and the schedule of its weight."""

import copy

import pytest
import torch

from igl_dt.methods.prevmatch import PrevMatch, PrevMatchParameters
from igl_dt.methods.unimatch import UniMatch


def test_without_snapshots_it_is_unimatch(normed_network, make_batch, make_method) -> None:
    batch, terms = make_batch(views=2, count=3), []
    for kind in (UniMatch, PrevMatch):
        method = make_method(kind, {"student": normed_network(1)}, confidence_threshold=0.7).train()
        torch.manual_seed(0)
        terms.append({name: term.item() for name, term in method(batch, 50).items()})
    assert terms[0] == terms[1]


@pytest.mark.parametrize(("step", "weight"), [(0, 0.0), (25, 0.5), (50, 1.0), (75, 0.5), (100, 0.0)])
def test_losses_are_those_of_the_specification(normed_network, make_batch, make_method, by_hand, step, weight) -> None:
    batch, network = make_batch(views=2, count=3), normed_network(1)
    parameters = {"confidence_threshold": 0.7, "previous_threshold": 0.6}
    method = make_method(PrevMatch, {"student": network}, **parameters).train()
    for seed in (2, 3):
        network.load_state_dict(normed_network(seed).state_dict())
        method.after_validation(1, {"student": seed / 10})
    network.load_state_dict(normed_network(1).state_dict())
    plain = make_method(UniMatch, {"student": copy.deepcopy(network)}, confidence_threshold=0.7).train()

    torch.manual_seed(6)
    previous = method.ensemble_logits(batch.weak)
    drawn = torch.get_rng_state()
    predicted = copy.deepcopy(plain).predict(batch)  # drops the channels that the method will drop
    torch.set_rng_state(drawn)
    wanted = {name: term.item() * 2 / (2 + weight) for name, term in plain(batch, step).items()}
    confidence, labels = previous.softmax(1).max(1)
    for view, boxes in enumerate(batch.cutmix):
        mixed = [by_hand.mix(x, boxes) for x in (labels, confidence, batch.padding)]
        loss = by_hand.confident_loss(predicted.strong[view].detach(), *mixed, 0.6)
        wanted[f"previous_strong_view_{view + 1}"] = 0.25 * weight * loss / (2 + weight)
    loss = by_hand.confident_loss(predicted.perturbed.detach(), labels, confidence, batch.padding, 0.6)
    wanted["previous_feature_view"] = 0.5 * weight * loss / (2 + weight)

    torch.manual_seed(6)
    terms = {name: term.item() for name, term in method(batch, step).items()}
    assert terms == pytest.approx(wanted, rel=1e-9)


def test_snapshots_are_of_new_best_scores_and_the_oldest_goes(normed_network, make_method) -> None:
    network = normed_network(1)
    method = make_method(PrevMatch, {"student": network}, snapshots=2)
    for step, score in enumerate([0.2, 0.1, 0.3, 0.3, 0.4]):
        torch.nn.init.constant_(network.classifier.bias, step)
        method.after_validation(step, {"student": score})
    assert [snapshot.classifier.bias[0].item() for snapshot in method.snapshots] == [4, 2]
    again = make_method(PrevMatch, {"student": normed_network(2)}, snapshots=2)
    again.load_state_dict(method.state_dict())
    assert (again.taken, again.best) == (3, 0.4)


def test_the_ensemble_is_a_random_weighted_mean_of_up_to_three(normed_network, make_method, monkeypatch) -> None:
    method = make_method(PrevMatch, {"student": normed_network(1)}, snapshots=5)
    for seed in range(4):
        method.network.load_state_dict(normed_network(seed).state_dict())
        method.after_validation(0, {"student": seed / 10})
    images = torch.randint(0, 256, (1, 3, 6, 8), dtype=torch.uint8)
    with torch.no_grad():
        each = torch.stack([snapshot.eval()(images).logits.flatten() for snapshot in list(method.snapshots)[:4]])
    members = set()
    for seed in range(40):
        torch.manual_seed(seed)
        logits = method.ensemble_logits(images).flatten()
        weights = torch.linalg.lstsq(each.T, logits.unsqueeze(1)).solution.flatten()
        assert weights.sum().item() == pytest.approx(1, abs=1e-6)
        assert weights.min() > -1e-9
        members.add(tuple((weights > 1e-9).tolist()))
    assert {sum(used) for used in members} == {1, 2, 3}
    assert len(members) > 8


def test_published_values() -> None:
    parameters = PrevMatchParameters()
    assert (parameters.snapshots, parameters.ensemble, parameters.previous_threshold) == (8, 3, 0.9)
