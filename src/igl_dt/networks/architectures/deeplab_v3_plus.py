"""DeepLabV3+, the field's standard student."""

from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt
from timm.layers.format import Format
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.segmentation.deeplabv3 import ASPP

from igl_dt.networks.base import NetworkOutput, SegmentationNetwork
from igl_dt.networks.encoder import build_encoder, channels_and_strides
from igl_dt.networks.parameters import EncoderParameters, NetworkParameters


class DeepLabV3PlusParameters(NetworkParameters):
    """DeepLabV3+ (Chen et al. 2018)."""

    encoder: EncoderParameters
    """Any timm backbone with features."""
    output_stride: Literal[8, 16, 32] = 16
    """Input size over the size of the deepest features; below 32 the last stages are dilated."""
    atrous_rates: tuple[PositiveInt, PositiveInt, PositiveInt] | None = None
    """Dilations of the spatial pyramid; null: 6, 12, 18, and twice that at output stride 8, as in the paper."""
    channels: PositiveInt = 256
    """Width of the pyramid and the decoder."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Probability with which the pyramid's outputs are dropped in training; 0.5 in torchvision, 0 in UniMatch
    [family]."""


LOW_LEVEL_CHANNELS = 48
"""Width that the stride-4 features are projected to, as in the paper."""


class DeepLabV3Plus(SegmentationNetwork):
    """DeepLabV3+ (Chen et al. 2018): atrous spatial pyramid on the deepest features, refined with those of stride 4.

    The decoder's two 3×3 convolutions are plain rather than depthwise separable, as in the networks that the field
    compares on VOC and Cityscapes (UniMatch and others) [family]. Features are their output, of stride 4; logits are
    upsampled bilinearly from there.
    """

    name = "deeplab_v3_plus"
    parameters_type = DeepLabV3PlusParameters

    def __init__(self, parameters: DeepLabV3PlusParameters, class_names: tuple[str, ...], key: str = "network") -> None:
        """Build the network.

        Raises:
            ValueError: The backbone cannot have this output stride, or has no features of stride 4.
        """
        super().__init__(parameters, class_names, _build_encoder(parameters, key), key)
        channels, strides = channels_and_strides(self.encoder)
        self.low_level = strides.index(4)
        rates = parameters.atrous_rates or ((12, 24, 36) if parameters.output_stride == 8 else (6, 12, 18))
        self.pyramid = ASPP(channels[-1], rates, parameters.channels)
        self.pyramid.project[-1] = nn.Dropout(parameters.dropout)
        self.low_level_projection = nn.Sequential(
            nn.Conv2d(channels[self.low_level], LOW_LEVEL_CHANNELS, 1, bias=False),
            nn.BatchNorm2d(LOW_LEVEL_CHANNELS),
            nn.ReLU(),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(parameters.channels + LOW_LEVEL_CHANNELS, parameters.channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(parameters.channels),
            nn.ReLU(),
            nn.Conv2d(parameters.channels, parameters.channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(parameters.channels),
            nn.ReLU(),
        )
        self.classifier = nn.Conv2d(parameters.channels, self.num_classes, 1)
        self.feature_channels = parameters.channels
        self.size_multiple = strides[-1]
        self.encoder_is_channels_last = getattr(self.encoder, "output_fmt", Format.NCHW) == Format.NHWC

    def encode_normalised(self, images: Tensor) -> list[Tensor]:
        """See the base class: features of stride 4, and the deepest."""
        stages = self.encoder(images)
        features = [stages[self.low_level], stages[-1]]
        return [maps.permute(0, 3, 1, 2) for maps in features] if self.encoder_is_channels_last else features

    def decode_padded(self, features: list[Tensor], size: tuple[int, int]) -> NetworkOutput:
        """See the base class.

        Raises:
            ValueError: In training, the batch holds one image: the pyramid's pooled branch normalises one value per
                channel and image over the batch.
        """
        low_level, deep = features
        if self.training and len(deep) == 1:
            raise ValueError(
                "DeepLabV3+ cannot be trained on one image at a time: its pyramid's pooled branch normalises "
                "one value per image over the batch; make batch_size / gradient_accumulation_steps, and "
                "batch_size / runtime.shards, at least 2"
            )
        x = F.interpolate(self.pyramid(deep), size=low_level.shape[2:], mode="bilinear", align_corners=False)
        x = self.decoder(torch.cat((x, self.low_level_projection(low_level)), dim=1))
        logits = F.interpolate(self.classifier(x), size=size, mode="bilinear", align_corners=False)
        return NetworkOutput(logits, x)


def _build_encoder(parameters: DeepLabV3PlusParameters, key: str) -> nn.Module:
    """Build the backbone with the demanded output stride."""
    stride = parameters.output_stride
    if stride == 32:  # the backbones' own; not every backbone accepts the option
        encoder = build_encoder(parameters.encoder, f"{key}.encoder")
    else:
        try:
            encoder = build_encoder(parameters.encoder, f"{key}.encoder", output_stride=stride)
        except ValueError as error:
            build_encoder(parameters.encoder, f"{key}.encoder")  # fails too where the stride is not to blame
            raise ValueError(
                f"{key}.output_stride: {parameters.encoder.name} cannot have {stride}, 32 leaves it as it is: {error}"
            ) from error
    _, strides = channels_and_strides(encoder)
    if strides[-1] != stride:
        raise ValueError(
            f"{key}.output_stride is {stride}, but the deepest features of {parameters.encoder.name} with the options "
            f"{parameters.encoder.options} have stride {strides[-1]}"
        )
    if 4 not in strides:
        raise ValueError(
            f"{key}.encoder.name: the features of {parameters.encoder.name} have strides {strides}, but DeepLabV3+ "
            "needs those of stride 4"
        )
    return encoder
