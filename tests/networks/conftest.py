"""Networks small enough to be built and run in a blink."""

import pytest
import torch

from igl_dt.networks import SegmentationNetwork, build_network
from igl_dt.networks.architectures.deeplab_v3_plus import DeepLabV3PlusParameters
from igl_dt.networks.architectures.res_unet import ResUnetParameters
from igl_dt.networks.architectures.swin_unet import SwinUnetParameters

CLASSES = ("sky", "road", "tree")
SWIN = {
    "name": "swin_tiny_patch4_window7_224",
    "options": {"embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4, "img_size": 64},
}
RESNET = {
    "name": "resnet18",
    "options": {"channels": [8, 8, 16, 16], "stem_type": "deep", "stem_width": 4},
}
VARIANTS = {
    "swin_unet": ("swin_unet", SwinUnetParameters(encoder=SWIN)),
    "swin_unet, convolutional": ("swin_unet", SwinUnetParameters(encoder=SWIN, stem="convolutional", refine=True)),
    "res_unet": ("res_unet", ResUnetParameters(encoder=RESNET, decoder_channels=(16, 12, 8, 6))),
    "res_unet, pre-activation": (
        "res_unet",
        ResUnetParameters(encoder=RESNET, decoder_channels=(8, 6), block="pre_activation"),
    ),
    "student": ("student", DeepLabV3PlusParameters(encoder=RESNET, channels=16)),
    "student, stride 32": ("student", DeepLabV3PlusParameters(encoder=RESNET, channels=16, output_stride=32)),
}


@pytest.fixture(params=VARIANTS)
def network(request: pytest.FixtureRequest) -> SegmentationNetwork:
    """Each network in turn, in training mode, with all its weights random."""
    torch.manual_seed(0)
    network = build_network(*VARIANTS[request.param], CLASSES)
    for parameter in network.parameters():
        if not parameter.any():  # biases, and timm's last batch norms of residual branches, start as zero
            torch.nn.init.normal_(parameter, std=0.1)
    return network


@pytest.fixture
def images() -> torch.Tensor:
    """Two images of 64×64."""
    return torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
