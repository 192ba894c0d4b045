"""SwinUnet, the paper's teacher for global context."""

import copy
import itertools
import math
from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from igl_dt.networks.base import NetworkOutput, SegmentationNetwork
from igl_dt.networks.encoder import build_encoder, channels_and_strides
from igl_dt.networks.parameters import EncoderParameters
from igl_dt.utils.parameters import Parameters


class SwinUnetParameters(Parameters):
    """U-Net of Swin blocks (Cao et al. 2021)."""

    encoder: EncoderParameters
    """Any timm Swin Transformer."""
    decoder_depth: PositiveInt = 2
    """Swin blocks per decoder stage; they start from the encoder's weights of the same resolution."""
    stem: Literal["patches", "convolutional"] = "patches"
    """How images become tokens: timm's linear patch embedding, or pairs of 3×3 convolutions [ours], which learn from
    scratch far faster."""
    refine: bool = False
    """A 3×3 convolution before the classifier [ours]."""
    head_channels: PositiveInt | None = None
    """Channels at full resolution; null: those of the encoder's first stage, as in the reference. Fewer are faster
    [ours]."""


class SwinUnet(SegmentationNetwork):
    """U-Net of Swin blocks (Cao et al. 2021, "Swin-Unet") around a Swin Transformer of timm, version 1 or 2.

    The decoder mirrors the encoder: patch expanding, the encoder's features of the same resolution joined by a linear
    layer, Swin blocks, and so on up to the resolution of the patches; a last expansion leads to pixels. The decoder's
    blocks start as copies of the encoder's first ones of the same resolution, pretrained or not. Features have the size
    of the input and as many channels as the first stage.

    The skip connections carry the stages' outputs, as timm returns them (the original uses their inputs) [ours].
    ``stem`` and ``refine`` are additions that let it learn from scratch [ours]; the convolutional stem follows Xiao et
    al. 2021, "Early convolutions help transformers see better", and has no pretrained weights. With ``refine``, the
    features are the output of its convolution.
    """

    name = "swin_unet"
    parameters_type = SwinUnetParameters

    def __init__(self, parameters: SwinUnetParameters, class_names: tuple[str, ...], key: str = "network") -> None:
        """Build the network.

        Raises:
            ValueError: The encoder is no Swin Transformer, its stages are too shallow for ``decoder_depth``, or its
                patches have a size that a convolutional stem cannot have.
        """
        encoder = build_encoder(parameters.encoder, f"{key}.encoder", strict_img_size=False)
        super().__init__(parameters, class_names, encoder, key)
        channels, strides = channels_and_strides(self.encoder)
        patch_size = strides[0]
        stages = [stage for name, stage in self.encoder.named_children() if name.startswith("layers_")]
        blocks = [list(stage.blocks) for stage in stages if isinstance(stage.blocks, nn.Sequential | nn.ModuleList)]
        if len(blocks) != len(channels):
            raise ValueError(f"{key}.encoder.name: {parameters.encoder.name!r} is not built like a Swin Transformer")
        depth = parameters.decoder_depth
        if depth > (most := min((len(stage) for stage in blocks[:-1]), default=depth)):
            raise ValueError(
                f"{key}.decoder_depth is {depth}, but must be at most {most}: "
                "the decoder's blocks start as copies of the encoder's, and one of its stages has no more"
            )
        if parameters.stem == "convolutional":
            if patch_size < 2 or patch_size & (patch_size - 1):
                raise ValueError(f"{key}.stem: a convolutional stem needs a patch size of 2, 4, 8, …; got {patch_size}")
            self.encoder.patch_embed = ConvolutionalStem(patch_size, channels[0])

        self.norm = nn.LayerNorm(channels[-1])
        self.decoder = nn.ModuleList(
            DecoderStage(channels[index + 1], channels[index], blocks[index][:depth])
            for index in reversed(range(len(channels) - 1))
        )
        self.expand_norm = nn.LayerNorm(channels[0])
        width = parameters.head_channels or channels[0]
        self.expand = PatchExpanding(channels[0], width, patch_size)
        self.refine = (
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
            if parameters.refine
            else nn.Identity()
        )
        self.classifier = nn.Conv2d(width, self.num_classes, 1)
        self.feature_channels = width
        self.size_multiple = strides[-1]

    def encode_normalised(self, images: Tensor) -> list[Tensor]:
        """See the base class."""
        return [tokens.permute(0, 3, 1, 2) for tokens in self.encoder(images)]  # B×H×W×C in Swin Transformers

    def decode_padded(self, features: list[Tensor], size: tuple[int, int]) -> NetworkOutput:
        """See the base class; the features' size is that of the images already."""
        *skips, x = [maps.permute(0, 2, 3, 1) for maps in features]
        x = self.norm(x)
        for stage in self.decoder:
            x = stage(x, skips.pop())
        x = self.refine(self.expand(self.expand_norm(x)).permute(0, 3, 1, 2))
        return NetworkOutput(self.classifier(x), x)


class PatchExpanding(nn.Module):
    """B×H×W×C to B×sH×sW×D: a linear layer, a pixel shuffle, and layer normalisation."""

    def __init__(self, in_channels: int, out_channels: int, scale: int) -> None:
        """Expand each token into scale × scale tokens."""
        super().__init__()
        self.scale = scale
        self.linear = nn.Linear(in_channels, scale * scale * out_channels, bias=False)
        self.norm = nn.LayerNorm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Expand."""
        batch, height, width, _ = x.shape
        x = self.linear(x).view(batch, height, width, self.scale, self.scale, -1)
        x = x.transpose(2, 3).reshape(batch, height * self.scale, width * self.scale, -1)
        expanded: Tensor = self.norm(x)
        return expanded


class DecoderStage(nn.Module):
    """Patch expanding to twice the resolution, the skip connection, and Swin blocks copied from the encoder."""

    def __init__(self, in_channels: int, out_channels: int, blocks: list[nn.Module]) -> None:
        """Build one stage; ``blocks`` are copied."""
        super().__init__()
        self.expand = PatchExpanding(in_channels, out_channels, 2)
        self.join = nn.Linear(2 * out_channels, out_channels)
        self.blocks = nn.Sequential(*copy.deepcopy(blocks))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """From B×H×W×C and a skip of B×2H×2W×D to B×2H×2W×D."""
        joined: Tensor = self.blocks(self.join(torch.cat((self.expand(x), skip), dim=-1)))
        return joined


class ConvolutionalStem(nn.Module):
    """Images to tokens by 3×3 convolutions, in place of timm's patch embedding."""

    def __init__(self, patch_size: int, channels: int) -> None:
        """Build log2(patch_size) pairs of convolutions, the first of a pair with stride 2, each pair twice as wide."""
        super().__init__()
        depth = int(math.log2(patch_size))
        widths = [3] + [channels // 2 ** (depth - 1 - index) for index in range(depth)]
        layers: list[nn.Module] = []
        for fan_in, fan_out in itertools.pairwise(widths):
            layers += [nn.Conv2d(fan_in, fan_out, 3, 2, 1, bias=False), nn.BatchNorm2d(fan_out), nn.ReLU()]
            layers += [nn.Conv2d(fan_out, fan_out, 3, 1, 1, bias=False), nn.BatchNorm2d(fan_out), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(channels)

    def forward(self, images: Tensor) -> Tensor:
        """B×3×H×W to B×H/patch×W/patch×C."""
        tokens: Tensor = self.norm(self.convolutions(images).permute(0, 2, 3, 1))
        return tokens
