"""CPS: the terms are those of the equation, and no gradient flows through a pseudo-label."""

import math

import pytest
import torch
from torch import nn

from igl_dt.data.loading import Batch
from igl_dt.data.parameters import AugmentationParameters
from igl_dt.losses.parameters import SupervisedLossParameters
from igl_dt.methods.base import MethodSetup
from igl_dt.methods.cps import CpsParameters, CrossPseudoSupervision
from igl_dt.methods.supervised import Supervised

OTHER = {"global_teacher": "local_teacher", "local_teacher": "global_teacher"}


@pytest.fixture
def networks(tiny_network) -> dict[str, nn.Module]:
    return {"global_teacher": tiny_network(1, channels=4), "local_teacher": tiny_network(2, channels=5)}


def make(networks: dict[str, nn.Module], **parameters: object) -> CrossPseudoSupervision:
    setup = MethodSetup(CpsParameters(**parameters), networks, {}, SupervisedLossParameters(), steps=100)
    return CrossPseudoSupervision(setup)


def expected(networks: dict[str, nn.Module], batch: Batch, weight: float, on_labeled: bool, by_hand) -> dict:
    """L_sup and L_cps of each teacher, from the equation."""
    terms, boxes = {}, batch.cutmix[0] if batch.cutmix else None
    with torch.no_grad():
        known = {name: network(batch.images).logits for name, network in networks.items()}
        clean = {name: network(batch.weak).logits for name, network in networks.items()}
        mixed_images = by_hand.mix(batch.weak, boxes)
        guessed = {name: network(mixed_images).logits for name, network in networks.items()}
    padding = by_hand.mix(batch.padding, boxes)
    for name, other in OTHER.items():
        labels = by_hand.labels(by_hand.mix(clean[other], boxes), padding)
        crossed = guessed[name]
        if on_labeled:
            labels = torch.cat([by_hand.labels(known[other], batch.masks == 255), labels])
            crossed = torch.cat([known[name], crossed])
        terms[f"{name}.supervised"] = by_hand.cross_entropy(known[name], batch.masks)
        terms[f"{name}.cross_pseudo"] = weight * by_hand.cross_entropy(crossed, labels)
    return terms


@pytest.mark.parametrize("on_labeled", [False, True])
@pytest.mark.parametrize("cutmix", [False, True])
def test_terms_are_those_of_the_equation(networks, make_batch, by_hand, cutmix: bool, on_labeled: bool) -> None:
    batch = make_batch(cutmix)
    terms = make(networks, cps_weight=1.5, cps_on_labeled=on_labeled)(batch, step=0)
    wanted = expected(networks, batch, 1.5, on_labeled, by_hand)
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(wanted, rel=1e-5)
    assert all(term.shape == () for term in terms.values())


def test_the_options_make_a_difference(networks, make_batch) -> None:
    values = {
        make(networks, cps_on_labeled=on_labeled)(make_batch(cutmix), 0)["global_teacher.cross_pseudo"].item()
        for cutmix in (False, True)
        for on_labeled in (False, True)
    }
    assert len(values) == 4


def test_the_strong_view_plays_no_part(networks, make_batch) -> None:
    method = make(networks)
    assert method(make_batch(strong=True), 0) == method(make_batch(strong=False), 0)


@pytest.mark.parametrize("on_labeled", [False, True])
@pytest.mark.parametrize("cutmix", [False, True])
@pytest.mark.parametrize("name", OTHER)
def test_each_teachers_terms_train_that_teacher_alone(networks, make_batch, name, cutmix, on_labeled) -> None:
    terms = make(networks, cps_on_labeled=on_labeled)(make_batch(cutmix), step=0)
    (terms[f"{name}.cross_pseudo"] + terms[f"{name}.supervised"]).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in networks[name].parameters())
    assert all(parameter.grad is None for parameter in networks[OTHER[name]].parameters())


def test_the_weight_ramps_up(networks, make_batch) -> None:
    method, batch = make(networks, cps_weight=2.0, ramp_up_steps=10), make_batch()
    at = [method(batch, step) for step in (0, 5, 10, 50)]
    full = at[-1]["local_teacher.cross_pseudo"].item()
    shares = [terms["local_teacher.cross_pseudo"].item() / full for terms in at]
    assert shares == pytest.approx([math.exp(-5), math.exp(-5 / 4), 1, 1], rel=1e-5)
    assert len({terms["local_teacher.supervised"].item() for terms in at}) == 1


def test_half_precision_gives_every_parameter_a_gradient(networks, make_batch) -> None:
    """Autocast keeps the weights that it has cast, also those cast within ``no_grad``."""
    with torch.autocast("cpu", torch.bfloat16):
        terms = make(networks)(make_batch(), step=0)
        assert all(term.dtype == torch.float32 for term in terms.values())
    sum(terms.values()).backward()
    for network in networks.values():
        assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())


def test_a_single_network_gets_a_second_one(networks) -> None:
    assert CrossPseudoSupervision.extra_networks(["student"]) == {"second_student": "student"}
    assert CrossPseudoSupervision.extra_networks(networks) == {}
    method = make(networks)
    assert method.trained() == networks == method.evaluated()
    with pytest.raises(ValueError, match="cps trains two networks, not 1"):
        make({"student": networks["global_teacher"]})


def test_boxes_are_the_trainings_unless_it_has_its_own(networks) -> None:
    given = AugmentationParameters(crop_size=(8, 8), strong_unlabeled=True)
    assert make(networks).augmentation(given) == AugmentationParameters(crop_size=(8, 8))
    changed = make(networks, cutmix_probability=1.0, cutmix_boxes=3).augmentation(given)
    assert changed == AugmentationParameters(crop_size=(8, 8), cutmix_probability=1.0, cutmix_boxes=3)


def test_each_direction_has_a_weight_of_its_own(networks, make_batch) -> None:
    plain = make(networks)(make_batch(), 0)
    weighted = make(networks, direction_weights={"local_teacher": 0.1})(make_batch(), 0)
    assert weighted["local_teacher.cross_pseudo"].item() == pytest.approx(
        0.1 * plain["local_teacher.cross_pseudo"].item()
    )
    assert weighted["global_teacher.cross_pseudo"].equal(plain["global_teacher.cross_pseudo"])
    with pytest.raises(ValueError, match="direction_weights names 'student'"):
        make(networks, direction_weights={"student": 0.1})


def test_the_first_steps_are_supervised_training(networks, make_batch, make_method) -> None:
    batch = make_batch()
    method = make(networks, supervised_steps=10, ramp_up_steps=20)
    plain = make_method(Supervised, networks)(batch, 0)
    assert {name: term.item() for name, term in method(batch, 9).items()} == {
        name: term.item() for name, term in plain.items()
    }
    later = make(networks, ramp_up_steps=20)
    for step in (10, 25, 40):
        assert method(batch, step) == later(batch, step - 10)
