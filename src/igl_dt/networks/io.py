"""Weight files: safetensors with all that is needed to rebuild their network."""

import json
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor

from igl_dt.networks.base import SegmentationNetwork
from igl_dt.networks.pretrained import HUB
from igl_dt.networks.registry import rebuild_network
from igl_dt.utils.files import atomic_write, digest

FORMAT_VERSION = 2
"""Version 1 had ``network`` in place of ``architecture``, no ``mean`` and ``std``, and less provenance."""
ARCHITECTURES_OF_VERSION_1 = {"swin_unet": "swin_unet", "res_unet": "res_unet", "student": "deeplab_v3_plus"}
CLASSIFIER = "classifier."
"""What the names of a classifier's tensors begin with, in every architecture."""
PROVENANCE = {"fingerprint", "trained_by", "sizes", "compute", "pretrained_sha256"}
"""Attributes of a network that its weight file keeps."""
HUB_FILE = "model.safetensors"
"""Name of the weight file in a repository of the Hugging Face Hub."""
METADATA_KEY = "igl_dt"
"""The only key of the file's metadata: safetensors writes several keys in no fixed order."""


def save_network(network: SegmentationNetwork, path: str | Path) -> None:
    """Write a network's weights and configuration; equal networks give equal bytes.

    The write is atomic: to a temporary file in the same folder, which is then renamed.

    Args:
        network: The network, on any device.
        path: The .safetensors file; missing folders are created.
    """
    path = Path(path)
    provenance = {name: getattr(network, name) for name in PROVENANCE}
    header = json.dumps({"version": FORMAT_VERSION, **provenance, **network.configuration}, sort_keys=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    atomic_write(path, save(tensors, metadata={METADATA_KEY: header}))


def weight_file(value: str | None, key: str) -> Path:
    """Give the weight file that a parameter names, from the Hugging Face Hub where it says so.

    Args:
        value: The parameter's value: a path, or ``hf-hub:OWNER/NAME``, with ``@REVISION`` at will.
        key: Its name, for messages.

    Raises:
        ValueError: It is null, there is no such file, or it is neither in the hub's cache nor can it be downloaded.
    """
    if value is None:
        raise ValueError(
            f"{key} is not given: it names a .safetensors file of this project, or {HUB}OWNER/NAME, as in "
            f"--params={key}=PATH"
        )
    if value.startswith(HUB):
        repository, _, revision = value.removeprefix(HUB).partition("@")
        try:
            return Path(hf_hub_download(repository, HUB_FILE, revision=revision or None))
        except Exception as error:  # of the name, the network, the cache or the hub
            raise ValueError(
                f"{key}: {value} has no {HUB_FILE} that is in the cache or can be downloaded; download the file where "
                f"there is a network, and give its path. {type(error).__name__}: {error}"
            ) from error
    if not Path(value).is_file():
        raise ValueError(f"{key}: there is no file {value}")
    return Path(value)


def load_network(path: str | Path) -> SegmentationNetwork:
    """Rebuild a network from its weight file alone, in ``eval()`` mode and on the CPU.

    Nothing is downloaded, and torch's global generator is left as it was.

    Args:
        path: A file by ``save_network``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is truncated, is not a safetensors file, was not written by ``save_network``, has an
            unknown version, or its tensors do not fit its configuration.
    """
    configuration, tensors = _read(Path(path))
    try:
        with torch.random.fork_rng(devices=()):
            network = rebuild_network(configuration)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    _fill(network, tensors, str(path), "the file's own configuration")
    for name in PROVENANCE & configuration.keys():
        setattr(network, name, configuration[name])
    return network.eval()


def adopt_weights(network: SegmentationNetwork, source: str, key: str) -> bool:
    """Give a network the weights and the normalisation of another one's weight file.

    Where the classes differ, in number, name or order, the classifier stays as it is.

    Args:
        network: Of the same architecture and parameters, apart from the classes.
        source: The weight file, as ``weight_file`` takes it.
        key: The parameter that names it, for messages.

    Returns:
        Whether the classes are the same, so that the classifier's weights were taken too.

    Raises:
        ValueError: There is no such file, it was not written by this project, or a tensor is missing, unknown or of
            another shape.
    """
    path = weight_file(source, key)
    configuration, tensors = _read(path)
    same_classes = tuple(configuration.get("class_names", ())) == network.class_names
    if not same_classes:
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(CLASSIFIER)}
        tensors |= {name: tensor for name, tensor in network.state_dict().items() if name.startswith(CLASSIFIER)}
    _fill(network, tensors, f"{key}: {path}", f"{network.name} with these parameters")
    network.normalise_with(tuple(configuration["mean"]), tuple(configuration["std"]))
    network.pretrained_sha256 = {"init_from": digest(path.read_bytes())}
    return same_classes


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Give a weight file's configuration, of the current version, and its tensors."""
    if not path.is_file():
        raise FileNotFoundError(f"no weight file at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(METADATA_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not iterable itself)
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or not a safetensors file: {error}") from error
    try:
        configuration = json.loads(header) if header else {}
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: its header is not JSON: {error}") from error
    if not isinstance(configuration, dict) or "version" not in configuration:
        raise ValueError(f"{path} is a safetensors file, but not one of this project's networks")
    if configuration["version"] == 1:
        configuration["architecture"] = ARCHITECTURES_OF_VERSION_1.get(str(configuration.get("network")))
        configuration |= {"mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD}  # whatever the backbone
    elif configuration["version"] != FORMAT_VERSION:
        raise ValueError(
            f"{path} has format version {configuration['version']}; this code reads 1 to {FORMAT_VERSION}: "
            "a newer release of igl-dt is needed"
        )
    return configuration, tensors


def _fill(network: SegmentationNetwork, tensors: dict[str, Tensor], where: str, required_by: str) -> None:
    expected = network.state_dict()
    wrong = [
        name
        for name in sorted(expected.keys() | tensors.keys())
        if name not in expected
        or name not in tensors
        or (tensors[name].shape, tensors[name].dtype) != (expected[name].shape, expected[name].dtype)
    ]
    if wrong:
        raise ValueError(
            f"{where}: {len(wrong)} tensors are missing, unknown or not of the shape and dtype that {required_by} "
            f"requires, the first: {', '.join(wrong[:4])}"
        )
    network.load_state_dict(tensors)
