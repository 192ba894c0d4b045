"""Every parameter is in one group, with the rate and the decay that are its due."""

import pytest
import torch
from torch import nn

from igl_dt.methods.igl_dt import IglDt
from igl_dt.training.optimizer import build_optimizer, rate_factor, set_rates
from igl_dt.training.parameters import OptimizerParameters
from tiny import NETWORKS, build_tiny_method


def parameters(**changes: object) -> OptimizerParameters:
    return OptimizerParameters(**{"learning_rate": 0.1, "backbone_lr_mult": 0.25, "weight_decay": 0.01} | changes)


def group_of(optimizer: torch.optim.Optimizer) -> dict[int, dict]:
    """Give the group of each parameter, by its identity; fail where a parameter is there twice."""
    found = [(id(parameter), group) for group in optimizer.param_groups for parameter in group["params"]]
    assert len(found) == len(dict(found))
    return dict(found)


@pytest.mark.parametrize("optimizer_name", ["adamw", "sgd"])
@pytest.mark.parametrize("role", NETWORKS)
def test_every_parameter_is_in_the_group_that_its_name_and_shape_say(real_network, role, optimizer_name) -> None:
    network = real_network(role)
    groups = group_of(build_optimizer(network, parameters(name=optimizer_name)))
    assert groups.keys() == {id(parameter) for parameter in network.parameters()}
    norms = {
        id(parameter)
        for module in network.modules()
        if isinstance(module, (nn.BatchNorm2d, nn.LayerNorm))
        for parameter in module.parameters()
    }
    assert norms
    for path, parameter in network.named_parameters():
        group = groups[id(parameter)]
        assert group["lr"] == group["peak_lr"] == (0.025 if path.startswith("encoder.") else 0.1), path
        undecayed = id(parameter) in norms or path.endswith((".bias", ".relative_position_bias_table"))
        assert group["weight_decay"] == (0.0 if undecayed else 0.01), path


def test_the_student_is_trained_with_its_projections_and_without_the_teachers(real_network) -> None:
    networks = {role: real_network(role) for role in NETWORKS}
    method = build_tiny_method(IglDt, {"student": networks["student"]}, networks, global_map="features")
    groups = group_of(build_optimizer(method.trained()["student"], parameters()))
    expected = {*networks["student"].parameters(), *method.projections.parameters()}
    assert groups.keys() == {id(parameter) for parameter in expected}
    for path, parameter in networks["student"].named_parameters():
        assert groups[id(parameter)]["peak_lr"] == (0.025 if path.startswith("encoder.") else 0.1)
    assert {groups[id(parameter)]["peak_lr"] for parameter in method.projections.parameters()} == {0.1}


def test_frozen_parameters_are_left_out(tiny_network) -> None:
    network = tiny_network()
    network.encoder.requires_grad_(False)
    groups = group_of(build_optimizer(network, parameters()))
    assert groups.keys() == {id(parameter) for parameter in network.classifier.parameters()}


def test_the_optimisers_are_those_asked_for(tiny_network) -> None:
    adamw = build_optimizer(tiny_network(), parameters(name="adamw", momentum=0.8))
    assert isinstance(adamw, torch.optim.AdamW)
    assert adamw.defaults["fused"]
    assert all(group["betas"] == (0.8, 0.999) for group in adamw.param_groups)
    sgd = build_optimizer(tiny_network(), parameters(name="sgd", momentum=0.7))
    assert isinstance(sgd, torch.optim.SGD)
    assert all(group["momentum"] == 0.7 for group in sgd.param_groups)


def test_the_rate_falls_from_its_peak_almost_to_zero() -> None:
    poly = parameters(poly_power=0.9)
    assert rate_factor(0, 100, poly) == 1
    assert rate_factor(50, 100, poly) == pytest.approx(0.5**0.9)
    assert rate_factor(99, 100, poly) == pytest.approx(0.01**0.9)
    assert {rate_factor(step, 100, parameters(poly_power=0)) for step in range(100)} == {1.0}


def test_the_warm_up_is_linear_and_starts_above_zero() -> None:
    warm = parameters(warmup_steps=9, poly_power=0)
    assert [rate_factor(step, 100, warm) for step in (0, 4, 8, 9, 10)] == pytest.approx([0.1, 0.5, 0.9, 1, 1])
    both = parameters(warmup_steps=9, poly_power=1)
    assert rate_factor(4, 100, both) == pytest.approx(0.5 * 0.96)


def test_rates_are_shares_of_each_groups_peak(tiny_network) -> None:
    optimizer = build_optimizer(tiny_network(), parameters())
    for factor in (0.5, 0.2):  # of the peak, not of the rate before
        set_rates(optimizer, factor)
        assert {group["lr"] for group in optimizer.param_groups} == {factor * 0.1, factor * 0.025}
