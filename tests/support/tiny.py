"""Networks small enough to train in a test."""

from igl_dt.networks.base import SegmentationNetwork
from igl_dt.networks.parameters import NetworkChoice
from igl_dt.networks.registry import build_network

CLASSES = ("road", "tree", "pole")
SWIN = {
    "name": "swin_tiny_patch4_window7_224",
    "options": {"embed_dim": 24, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4},
}
RESNET = {"name": "resnet18", "options": {"channels": [8, 16, 32, 64], "stem_type": "deep", "stem_width": 8}}
NETWORKS = {
    "global_teacher": NetworkChoice(architecture="swin_unet", swin_unet={"encoder": SWIN, "decoder_depth": 1}),
    "local_teacher": NetworkChoice(architecture="res_unet", res_unet={"encoder": RESNET, "decoder_channels": [16, 8]}),
    "student": NetworkChoice(architecture="deeplab_v3_plus", deeplab_v3_plus={"encoder": RESNET, "channels": 16}),
}


def tiny_network(role: str, class_names: tuple[str, ...] = CLASSES) -> SegmentationNetwork:
    """Build the network of a role; random weights come from torch's global generator."""
    return build_network(NETWORKS[role], class_names, role)
