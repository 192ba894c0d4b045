"""timm backbones as encoders."""

import difflib
from typing import Any

import timm
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import FeatureInfo
from torch import nn

from igl_dt.networks.parameters import EncoderParameters
from igl_dt.networks.pretrained import load_pretrained


def build_encoder(parameters: EncoderParameters, key: str = "encoder", **timm_options: Any) -> nn.Module:
    """Build a timm backbone that returns the list of its stages' features, shallowest first.

    Args:
        parameters: Which backbone, how it is changed, and where its weights come from.
        key: Where ``parameters`` come from, for error messages.
        timm_options: What the network sets itself; ``parameters.options`` must not contain them.

    Returns:
        timm's feature extractor; its ``feature_info`` has the features' channels and strides.

    Raises:
        ValueError: timm has no such model, cannot extract its features, or rejects an option; or the pretrained weights
            are not available, lack a tensor of the encoder, or have one that is unknown or of another shape.
    """
    check_backbone(parameters.name, f"{key}.name")
    if taken := sorted(parameters.options.keys() & timm_options.keys()):
        raise ValueError(f"{key}.options: remove {', '.join(taken)}, which the network sets itself")
    options = {**parameters.options, **timm_options}
    try:
        encoder = timm.create_model(parameters.name, features_only=True, **options)
    except Exception as error:  # timm validates no options: anything may be raised
        raise ValueError(
            f"{key}: timm cannot build {parameters.name!r} as a feature extractor with the options {options}: "
            f"{type(error).__name__}: {error}"
        ) from error
    load_pretrained(encoder, parameters, options, f"{key}.pretrained")
    return encoder


def check_backbone(name: str, key: str) -> None:
    """Raise a ValueError, with the nearest names, where timm has no such model."""
    if not timm.is_model(name):
        nearest = difflib.get_close_matches(name, timm.list_models(), n=5, cutoff=0.4)
        hint = f"; nearest names: {', '.join(nearest)}" if nearest else ""
        raise ValueError(f"{key}: timm has no model {name!r}{hint}")


def channels_and_strides(encoder: nn.Module) -> tuple[list[int], list[int]]:
    """Channels and strides of the features that an encoder returns."""
    assert isinstance(encoder.feature_info, FeatureInfo)
    return encoder.feature_info.channels(), encoder.feature_info.reduction()


def mean_and_std(encoder: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of RGB values of 0 to 1 that a timm backbone's weights were trained with."""
    configuration: dict[str, Any] = getattr(encoder, "pretrained_cfg", None) or {}
    mean, std = configuration.get("mean", IMAGENET_DEFAULT_MEAN), configuration.get("std", IMAGENET_DEFAULT_STD)
    return tuple(mean), tuple(std)
