"""ResUnet, the paper's teacher for local detail."""

from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from igl_dt.networks.base import NetworkOutput, SegmentationNetwork
from igl_dt.networks.encoder import build_encoder, channels_and_strides
from igl_dt.networks.parameters import EncoderParameters, NetworkParameters


class ResUnetParameters(NetworkParameters):
    """U-Net of residual blocks (Zhang et al. 2018)."""

    encoder: EncoderParameters
    """Any timm ResNet."""
    decoder_channels: tuple[PositiveInt, ...] = (256, 128, 64, 32)
    """Channels of the residual decoder blocks, deepest first; one per encoder stage but the deepest, at most."""
    block: Literal["post_activation", "pre_activation"] = "post_activation"
    """Residual decoder block of He et al. 2016a, or the pre-activation one that Zhang et al. 2018 use."""


class ResUnet(SegmentationNetwork):
    """U-Net (Ronneberger et al. 2015) of residual blocks (Zhang et al. 2018, "Deep Residual U-Net") on a timm ResNet.

    The decoder doubles the resolution once per entry of ``decoder_channels``, which also sets the encoder's depth: k
    decoder blocks use the encoder's k + 1 shallowest stages, of strides 2 to 2^(k + 1). Features are the last block's,
    of stride 2; logits are upsampled bilinearly from there.
    """

    name = "res_unet"
    parameters_type = ResUnetParameters

    def __init__(self, parameters: ResUnetParameters, class_names: tuple[str, ...], key: str = "network") -> None:
        """Build the network.

        Raises:
            ValueError: The encoder has too few stages, or their strides are not 2, 4, 8, ….
        """
        stages = len(parameters.decoder_channels) + 1
        try:
            encoder = build_encoder(parameters.encoder, f"{key}.encoder", out_indices=tuple(range(stages)))
        except ValueError as error:
            whole = build_encoder(parameters.encoder, f"{key}.encoder")  # fails too where other things are to blame
            raise ValueError(
                f"{key}.decoder_channels has {stages - 1} entries, but {parameters.encoder.name} allows for "
                f"{len(channels_and_strides(whole)[0]) - 1} at most, one per stage but the deepest: {error}"
            ) from error
        super().__init__(parameters, class_names, encoder, key)
        channels, strides = channels_and_strides(encoder)
        if strides != [2 ** (index + 1) for index in range(stages)]:
            raise ValueError(
                f"{key}.encoder.name: the stages of {parameters.encoder.name} have strides {strides}, but this U-Net "
                "needs 2, 4, 8, …; take a ResNet"
            )
        block = PostActivationBlock if parameters.block == "post_activation" else PreActivationBlock
        widths = [channels[-1], *parameters.decoder_channels]
        self.decoder = nn.ModuleList(
            block(fan_in + skip, fan_out)
            for fan_in, skip, fan_out in zip(widths[:-1], reversed(channels[:-1]), widths[1:], strict=True)
        )
        self.classifier = nn.Conv2d(widths[-1], self.num_classes, 1)
        self.feature_channels = widths[-1]
        self.size_multiple = strides[-1]

    def encode_normalised(self, images: Tensor) -> list[Tensor]:
        """See the base class."""
        features: list[Tensor] = self.encoder(images)
        return features

    def decode_padded(self, features: list[Tensor], size: tuple[int, int]) -> NetworkOutput:
        """See the base class."""
        *skips, x = features
        for block in self.decoder:
            skip = skips.pop()
            x = F.interpolate(x, size=skip.shape[2:], mode="bilinear", align_corners=False)
            x = block(torch.cat((x, skip), dim=1))
        logits = F.interpolate(self.classifier(x), size=size, mode="bilinear", align_corners=False)
        return NetworkOutput(logits, x)


class PostActivationBlock(nn.Module):
    """Residual block of He et al. 2016a: the activation follows the addition."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        """Two 3×3 convolutions, and a 1×1 convolution as shortcut."""
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.shortcut = nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """B×C×H×W to B×D×H×W."""
        return F.relu(self.residual(x) + self.shortcut(x))


class PreActivationBlock(nn.Module):
    """Residual block of He et al. 2016b, as Zhang et al. 2018 use it: norm and activation precede each convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        """Two 3×3 convolutions, and a 1×1 convolution as shortcut."""
        super().__init__()
        self.residual = nn.Sequential(
            nn.BatchNorm2d(in_channels),
            nn.ReLU(),
            nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        )
        self.shortcut = nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """B×C×H×W to B×D×H×W."""
        total: Tensor = self.residual(x) + self.shortcut(x)
        return total
