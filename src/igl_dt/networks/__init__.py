"""The two teachers and the student; the door to everything that needs timm."""

from typing import Any, Literal

from igl_dt.networks.base import NetworkOutput, NetworkParameters, SegmentationNetwork
from igl_dt.networks.deeplab_v3_plus import DeepLabV3Plus
from igl_dt.networks.res_unet import ResUnet
from igl_dt.networks.swin_unet import SwinUnet

__all__ = [
    "NetworkName",
    "NetworkOutput",
    "NetworkParameters",
    "SegmentationNetwork",
    "build_network",
    "rebuild_network",
]

NetworkName = Literal["swin_unet", "res_unet", "student"]

NETWORKS: dict[str, type[SegmentationNetwork]] = {
    network.name: network for network in (SwinUnet, ResUnet, DeepLabV3Plus)
}


def build_network(
    name: NetworkName, parameters: NetworkParameters, class_names: tuple[str, ...]
) -> SegmentationNetwork:
    """Build one of the three networks; random weights come from torch's global generator.

    Args:
        name: Which one, as ``networks`` parameters call it.
        parameters: Its parameters.
        class_names: Names of the N classes, by index.

    Raises:
        ValueError: The name is unknown, the parameters are those of another network, or the network refuses them.
    """
    if name not in NETWORKS:
        raise ValueError(f"there is no network {name!r}; there are {', '.join(NETWORKS)}")
    network = NETWORKS[name]
    if not isinstance(parameters, network.parameters_type):
        raise ValueError(
            f"network {name} is built from {network.parameters_type.__name__}, not from {type(parameters).__name__}"
        )
    return network(parameters, class_names)


def rebuild_network(configuration: dict[str, Any]) -> SegmentationNetwork:
    """Build a network from ``SegmentationNetwork.configuration``, with random weights.

    Raises:
        ValueError: The configuration is not that of a network, or the network refuses it.
    """
    try:
        name, parameters, class_names = (configuration[key] for key in ("network", "parameters", "class_names"))
        parameters_type = NETWORKS[name].parameters_type
    except (KeyError, TypeError) as error:
        raise ValueError(f"not the configuration of a network: {configuration!r}") from error
    return build_network(name, parameters_type.model_validate(parameters), tuple(class_names))
