"""Networks small enough to train in a test, and methods on them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from igl_dt.losses.parameters import SupervisedLossParameters
from igl_dt.methods.base import Method, MethodSetup
from igl_dt.networks.base import NetworkOutput, SegmentationNetwork
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


class TwoConvolutions(nn.Module):
    """A network without norms, so that what it predicts for an image does not depend on the others of a batch.

    Logits depend on a pixel's neighbours, so that mixing images and mixing logits give different results.
    """

    def __init__(self, seed: int = 0, channels: int = 6, stride: int = 1) -> None:
        super().__init__()
        self.feature_channels, self.stride, self.class_names = channels, stride, CLASSES
        self.fingerprint = None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = nn.Conv2d(3, channels, 3, padding=1)
            self.classifier = nn.Conv2d(channels, len(CLASSES), 3, padding=1)
        nn.init.normal_(self.classifier.weight, std=0.5, generator=torch.Generator().manual_seed(seed))

    def forward(self, images: Tensor) -> NetworkOutput:
        features = 4 * self.encoder(images.float() / 128 - 1)
        return NetworkOutput(self.classifier(features), F.avg_pool2d(features, self.stride))


def build_tiny_method(
    kind: type[Method],
    networks: Mapping[str, nn.Module],
    teachers: Mapping[str, nn.Module] | None = None,
    supervised_loss: SupervisedLossParameters | None = None,
    steps: int = 4,
    **parameters: Any,
) -> Any:
    """Build a method on networks, from its parameters by name."""
    loss = supervised_loss or SupervisedLossParameters()
    return kind(MethodSetup(kind.parameters_type(**parameters), networks, teachers or {}, loss, steps))  # type: ignore[arg-type]
