"""Optimisers and schedules: per network, per group, as a function of the step."""

from torch import nn, optim

from igl_dt.training.parameters import OptimizerParameters


def build_optimizer(network: nn.Module, parameters: OptimizerParameters) -> optim.Optimizer:
    """Make a network's optimiser: backbone and head apart, and no weight decay on norms and biases.

    The backbone is what lies in a submodule called ``encoder``. Swin's tables of relative positions count as biases, as
    in its reference implementation. Each group keeps its peak rate as ``peak_lr``.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            decayed = parameter.ndim > 1 and not name.endswith("relative_position_bias_table")
            groups.setdefault(("encoder" in name.split("."), decayed), []).append(parameter)
    options = []
    for (backbone, decayed), members in sorted(groups.items()):
        rate = parameters.learning_rate * (parameters.backbone_lr_mult if backbone else 1.0)
        decay = parameters.weight_decay if decayed else 0.0
        options.append({"params": members, "lr": rate, "peak_lr": rate, "weight_decay": decay})
    if parameters.name == "adamw":
        return optim.AdamW(options, betas=(parameters.momentum, 0.999), fused=True)
    # The fused form fails where some parameters had a gradient before and others have their first one now.
    return optim.SGD(options, momentum=parameters.momentum)


def rate_factor(step: int, steps: int, parameters: OptimizerParameters) -> float:
    """Give the share of the peak rate at a step: linear warm-up, then poly, (1 - step/steps)^power [family]."""
    warmup = min(1.0, (step + 1) / (parameters.warmup_steps + 1))
    return float(warmup * (1 - step / steps) ** parameters.poly_power)


def set_rates(optimizer: optim.Optimizer, factor: float) -> None:
    """Set each group's rate to this share of its peak."""
    for group in optimizer.param_groups:
        group["lr"] = factor * group["peak_lr"]
