"""timm backbones as encoders."""

import difflib
import inspect
from pathlib import Path
from typing import Any

import timm
from timm.models import FeatureInfo, load_state_dict
from torch import nn

from igl_dt.networks.parameters import EncoderParameters


def build_encoder(parameters: EncoderParameters, key: str = "encoder", **timm_options: Any) -> nn.Module:
    """Build a timm backbone that returns the list of its stages' features, shallowest first.

    Args:
        parameters: Which backbone, how it is changed, and where its weights come from.
        key: Where ``parameters`` come from, for error messages.
        timm_options: What the network demands of the backbone; ``parameters.options`` must leave these alone.

    Returns:
        timm's feature extractor; its ``feature_info`` knows the features' channels and strides.

    Raises:
        ValueError: timm does not know the model, cannot take its features, or does not take an option; or the
            pretrained weights cannot be had, lack a tensor of the encoder, or have one that is unknown or misshapen.
    """
    if not timm.is_model(parameters.name):
        nearest = difflib.get_close_matches(parameters.name, timm.list_models(), n=5, cutoff=0.4)
        hint = f"; nearest names: {', '.join(nearest)}" if nearest else ""
        raise ValueError(f"{key}.name: timm knows no model {parameters.name!r}{hint}")
    if taken := sorted(parameters.options.keys() & timm_options.keys()):
        raise ValueError(f"{key}.options: remove {', '.join(taken)}, which the network sets itself")
    options = {**parameters.options, **timm_options}
    try:
        encoder = timm.create_model(parameters.name, features_only=True, **options)
    except Exception as error:  # timm checks neither names nor values: what it raises is whatever happens to fail first
        raise ValueError(
            f"{key}: timm cannot build {parameters.name!r} as a feature extractor with the options {options}: "
            f"{type(error).__name__}: {error}"
        ) from error
    if parameters.pretrained is not None:
        _load_pretrained(encoder, parameters.name, parameters.pretrained, options, f"{key}.pretrained")
    return encoder


def _load_pretrained(encoder: nn.Module, name: str, source: str, options: dict[str, Any], key: str) -> None:
    """Fill an encoder with the weights of a whole timm model: all of it, or a ValueError."""
    if source != "timm" and not Path(source).is_file():
        raise ValueError(f"{key}: there is no file {source}; give a .safetensors or .pth file, 'timm', or null")
    try:
        weights = timm.create_model(name, pretrained=True).state_dict() if source == "timm" else load_state_dict(source)
    except Exception as error:
        raise ValueError(f"{key}: {source} gives no weights of {name}: {type(error).__name__}: {error}") from error

    # The feature extractor is a cut-down model with other names. The whole model knows the names of the file, and timm
    # keeps beside its class the function that translates original checkpoints and resizes position biases.
    whole = timm.create_model(name, num_classes=0, **{k: v for k, v in options.items() if k != "out_indices"})
    translate = getattr(inspect.getmodule(type(whole)), "checkpoint_filter_fn", None)
    try:
        weights = translate(weights, whole) if translate else weights
    except Exception as error:
        raise ValueError(f"{key}: {source} does not fit {name}: {type(error).__name__}: {error}") from error

    classifiers = getattr(whole, "pretrained_cfg", {}).get("classifier") or ()
    prefixes = tuple(f"{module}." for module in ([classifiers] if isinstance(classifiers, str) else classifiers))
    known = whole.state_dict()
    problems = [f"{name} is unknown" for name in weights if name not in known and not name.startswith(prefixes)]
    found = {_flat(name): tensor for name, tensor in weights.items()}
    wanted = encoder.state_dict()
    for name, tensor in wanted.items():
        if _flat(name) in found:
            if found[_flat(name)].shape != tensor.shape:
                problems.append(f"{name} is {tuple(found[_flat(name)].shape)} instead of {tuple(tensor.shape)}")
            wanted[name] = found[_flat(name)]
        elif not name.endswith("num_batches_tracked"):  # old checkpoints lack this counter, which changes no result
            problems.append(f"{name} is missing")
    if problems:
        raise ValueError(
            f"{key}: {source} does not fit the encoder with the options {options}; {len(problems)} tensors are wrong, "
            f"the first: {'; '.join(problems[:4])}"
        )
    encoder.load_state_dict(wanted)


def channels_and_strides(encoder: nn.Module) -> tuple[list[int], list[int]]:
    """Channels of the features that an encoder returns, and the input's size over theirs."""
    assert isinstance(encoder.feature_info, FeatureInfo)
    return encoder.feature_info.channels(), encoder.feature_info.reduction()


def _flat(name: str) -> str:
    """Name of a tensor without what timm's feature extractors change: a wrapper's prefix, and dots to underscores."""
    return name.removeprefix("model.").removeprefix("body.").replace(".", "_")
