"""SwinUnet, the paper's teacher for global context."""

import copy
import itertools
import math
from typing import Any, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from igl_dt.networks.base import NetworkOutput, SegmentationNetwork
from igl_dt.networks.encoder import build_encoder, channels_and_strides
from igl_dt.networks.parameters import EncoderParameters, NetworkParameters


class SwinUnetParameters(NetworkParameters):
    """U-Net of Swin blocks (Cao et al. 2021)."""

    encoder: EncoderParameters
    """Any timm Swin Transformer."""
    decoder_depth: PositiveInt = 2
    """Swin blocks per decoder stage; they start from the encoder's weights of the same resolution."""
    stem: Literal["patches", "convolutional", "pyramid"] = "patches"
    """How images become tokens: timm's linear patch embedding; ``convolutional``: pairs of 3×3 convolutions [ours],
    which learn from scratch far faster; ``pyramid``: a convolutional backbone [ours], which can be pretrained where the
    Swin Transformer cannot."""
    stem_encoder: EncoderParameters | None = None
    """The backbone of a ``pyramid`` stem: any timm backbone with features of the stride of the patches."""
    refine: bool = False
    """A 3×3 convolution before the classifier [ours]."""
    head_channels: PositiveInt | None = None
    """Channels at full resolution; null: those of the encoder's first stage, as in the reference. Fewer are faster
    [ours]."""


LARGEST_STEM_STRIDE = 16
"""Deeper features of a pyramid stem are not used."""


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

    With ``stem: pyramid``, a convolutional backbone replaces the patch embedding [ours]: its features of the patches'
    stride, projected, become the tokens, and those of each deeper stage's stride, up to 16, are projected and added to
    the stage's input after patch merging. So the network can start from ImageNet weights where there are none of the
    Swin Transformer. Images are normalised as that backbone expects.
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
        if parameters.encoder.freeze and parameters.stem != "patches":
            raise ValueError(f"{key}.encoder.freeze: a frozen encoder needs `stem: patches`, not {parameters.stem}")
        if parameters.stem == "convolutional":
            if patch_size < 2 or patch_size & (patch_size - 1):
                raise ValueError(f"{key}.stem: a convolutional stem needs a patch size of 2, 4, 8, …; got {patch_size}")
            self.encoder.patch_embed = ConvolutionalStem(patch_size, channels[0])
        self.stem_is_pyramid = parameters.stem == "pyramid"
        if self.stem_is_pyramid:
            if parameters.stem_encoder is None:
                raise ValueError(f"{key}.stem_encoder is missing: `stem: pyramid` needs a backbone")
            self.encoder.patch_embed = PyramidStem(parameters.stem_encoder, channels, strides, f"{key}.stem_encoder")
            self.add_backbone("encoder.patch_embed.backbone", parameters.stem_encoder, "stem_encoder")

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
        stages = self._stages_on_pyramid(images) if self.stem_is_pyramid else self.encoder(images)
        return [tokens.permute(0, 3, 1, 2) for tokens in stages]  # B×H×W×C in Swin Transformers

    def _stages_on_pyramid(self, images: Tensor) -> list[Tensor]:
        """Run the encoder as timm does, with the pyramid's tokens added to the stages' inputs after patch merging."""
        encoder: Any = self.encoder
        x, *additions = encoder.patch_embed(images)
        outputs = []
        for index, stage in enumerate(stage for name, stage in encoder.named_children() if name != "patch_embed"):
            x = stage.downsample(x)
            if 0 < index <= len(additions):
                x = x + additions[index - 1]
            for block in stage.blocks:
                x = block(x)
            outputs.append(x)
        return outputs

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
        self.blocks = nn.Sequential(*copy.deepcopy(blocks)).requires_grad_(True).train()  # even of a frozen encoder

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


class PyramidStem(nn.Module):
    """Images to tokens for several stages, by a convolutional backbone, in place of timm's patch embedding [ours]."""

    def __init__(self, parameters: EncoderParameters, channels: list[int], strides: list[int], key: str) -> None:
        """Build the backbone, and a projection to each stage's width.

        Args:
            parameters: The backbone's parameters.
            channels: Channels of the Swin Transformer's stages.
            strides: Their strides.
            key: Where ``parameters`` come from, for messages.

        Raises:
            ValueError: The backbone has no features of the first stage's stride.
        """
        super().__init__()
        # timm's "getter" leaves out the layers beyond the deepest feature, whatever the backbone.
        whole: Any = build_encoder(parameters.model_copy(update={"pretrained": None}), key, feature_cls="getter")
        _, available = channels_and_strides(whole)
        common = [stride for stride in strides if stride in available and stride <= LARGEST_STEM_STRIDE]
        if strides[0] not in common:
            raise ValueError(
                f"{key}.name: the features of {parameters.name} have strides {available}, but the stem needs those of "
                f"stride {strides[0]}, the patch size"
            )
        common = [stride for stride, expected in zip(strides, common, strict=False) if stride == expected]
        indices = tuple(whole.feature_info.out_indices[available.index(stride)] for stride in common)
        self.backbone = build_encoder(parameters, key, feature_cls="getter", out_indices=indices)
        widths, _ = channels_and_strides(self.backbone)
        self.projections = nn.ModuleList(
            nn.Sequential(nn.Linear(width, stage_width, bias=False), nn.LayerNorm(stage_width))
            for width, stage_width in zip(widths, channels, strict=False)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """B×3×H×W to B×h×w×C, for the first stages; a 1×1 convolution is a linear layer on tokens."""
        features = self.backbone(images)
        return [
            projection(maps.permute(0, 2, 3, 1)) for projection, maps in zip(self.projections, features, strict=True)
        ]
