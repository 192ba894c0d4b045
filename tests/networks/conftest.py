"""Tiny networks: every architecture of the project, and some of segmentation-models-pytorch's."""

from copy import deepcopy
from functools import cache
from typing import Any

import pytest
import torch

from igl_dt.networks.base import SegmentationNetwork
from igl_dt.networks.parameters import NetworkChoice
from igl_dt.networks.registry import build_network

CLASSES = ("sky", "road", "tree")
SWIN = {
    "name": "swin_tiny_patch4_window7_224",
    "options": {"embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4, "img_size": 64},
}
RESNET = {
    "name": "resnet18",
    "options": {"channels": [8, 8, 16, 16], "stem_type": "deep", "stem_width": 4},
}
SWIN_OF_4_STAGES = {
    "name": "swin_tiny_patch4_window7_224",
    "options": {
        "embed_dim": 8,
        "depths": [1] * 4,
        "num_heads": [1, 2, 2, 2],
        "window_size": 4,
        "strict_img_size": False,
    },
}
VIT: dict[str, Any] = {"name": "test_vit", "options": {"dynamic_img_size": True}}
DPT = {"decoder_intermediate_channels": [8, 8, 16, 16], "decoder_fusion_channels": 16}


def choice(architecture: str, **parameters: object) -> NetworkChoice:
    return NetworkChoice.model_validate({"architecture": architecture, architecture: parameters})


VARIANTS = {
    "swin_unet": (choice("swin_unet", encoder=SWIN), 1),
    "swin_unet, convolutional": (choice("swin_unet", encoder=SWIN, stem="convolutional", refine=True), 1),
    "res_unet": (choice("res_unet", encoder=RESNET, decoder_channels=[16, 12, 8, 6]), 2),
    "res_unet, pre-activation": (
        choice("res_unet", encoder=RESNET, decoder_channels=[8, 6], block="pre_activation"),
        2,
    ),
    "deeplab_v3_plus": (choice("deeplab_v3_plus", encoder=RESNET, channels=16), 4),
    "deeplab_v3_plus, stride 32": (choice("deeplab_v3_plus", encoder=RESNET, channels=16, output_stride=32), 4),
    "unet": (choice("unet", encoder=RESNET, options={"decoder_channels": [16, 16, 8, 8, 4]}), 1),
    "segformer": (choice("segformer", encoder=SWIN_OF_4_STAGES, options={"decoder_segmentation_channels": 16}), 4),
    "dpt": (choice("dpt", encoder=VIT, options=DPT), 2),
    "dpt, patches of 14": (
        choice("dpt", encoder=VIT | {"options": VIT["options"] | {"patch_size": 14, "img_size": 28}}, options=DPT),
        14 / 8,
    ),
}
"""Each network, and the stride of its features."""


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def stride(variant: str) -> float:
    return VARIANTS[variant][1]


@pytest.fixture
def network(variant: str) -> SegmentationNetwork:
    """Each network in turn, in training mode, with all its weights random."""
    network = deepcopy(_build(variant))
    torch.manual_seed(0)
    return network


@cache
def _build(variant: str) -> SegmentationNetwork:
    torch.manual_seed(0)
    network = build_network(VARIANTS[variant][0], CLASSES)
    for parameter in network.parameters():
        if not parameter.any():  # biases, and timm's last batch norms of residual branches, start as zero
            torch.nn.init.normal_(parameter, std=0.1)
    return network


@pytest.fixture
def images() -> torch.Tensor:
    """Two images of 64×64."""
    return torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
