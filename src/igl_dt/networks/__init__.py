"""The two teachers and the student; the door to everything that needs timm."""

from typing import Any, Literal

from igl_dt.networks.deeplab_v3_plus import DeepLabV3Plus
from igl_dt.networks.network import NetworkOutput, NetworkParameters, SegmentationNetwork
from igl_dt.networks.res_unet import ResUnet
from igl_dt.networks.swin_unet import SwinUnet
from igl_dt.parameters import DeepLabV3PlusParameters, ResUnetParameters, SwinUnetParameters

__all__ = ["NetworkOutput", "SegmentationNetwork", "build_network", "rebuild_network"]

NetworkName = Literal["swin_unet", "res_unet", "student"]


def build_network(name: NetworkName, parameters: NetworkParameters, class_names: tuple[str, ...]) -> SegmentationNetwork:
    """Build one of the three networks; random weights come from torch's global generator.

    Args:
        name: Which one, as ``networks`` parameters call it.
        parameters: Its parameters.
        class_names: Names of the N classes, by index.

    Raises:
        ValueError: The name is unknown, the parameters are those of another network, or the network refuses them.
    """
    match name, parameters:
        case "swin_unet", SwinUnetParameters():
            return SwinUnet(parameters, class_names)
        case "res_unet", ResUnetParameters():
            return ResUnet(parameters, class_names)
        case "student", DeepLabV3PlusParameters():
            return DeepLabV3Plus(parameters, class_names)
    raise ValueError(
        f"there is no network {name!r} with {type(parameters).__name__}; there are swin_unet with SwinUnetParameters, "
        "res_unet with ResUnetParameters, and student with DeepLabV3PlusParameters"
    )


def rebuild_network(configuration: dict[str, Any]) -> SegmentationNetwork:
    """Build a network from ``SegmentationNetwork.configuration``, with random weights.

    Raises:
        ValueError: The configuration is not one of a network.
    """
    types = {"swin_unet": SwinUnetParameters, "res_unet": ResUnetParameters, "student": DeepLabV3PlusParameters}
    try:
        name = configuration["network"]
        parameters = types[name].model_validate(configuration["parameters"])
        class_names = tuple(configuration["class_names"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"not the configuration of a network: {configuration!r}") from error
    return build_network(name, parameters, class_names)
