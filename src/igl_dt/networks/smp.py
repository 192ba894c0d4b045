"""The architectures of segmentation-models-pytorch, around timm backbones."""

import math
from functools import cache
from typing import Any, ClassVar

import segmentation_models_pytorch as smp
from pydantic import Field
from segmentation_models_pytorch.base.initialization import initialize_decoder
from segmentation_models_pytorch.decoders.dpt.decoder import DPTDecoder
from torch import Tensor, nn
from torch.nn import functional as F

from igl_dt.networks.base import NetworkOutput, SegmentationNetwork
from igl_dt.networks.encoder import check_backbone
from igl_dt.networks.parameters import EncoderParameters, NetworkParameters
from igl_dt.networks.pretrained import load_pretrained

RESERVED = {
    "activation": "logits are needed",
    "aux_params": "there is no classification head",
    "classes": "the data set has them",
    "decoder_readout": "features are maps, without class tokens",
    "encoder_name": "encoder.name sets it",
    "encoder_weights": "encoder.pretrained sets it",
    "in_channels": "images are RGB",
}
"""Arguments of segmentation-models-pytorch's that are not for users to set, and why."""
FIRST_FEATURE = {"FPN": -4, "PAN": 2, "UPerNet": 2, "PSPNet": -1, "DeepLabV3": -1, "DeepLabV3Plus": 2}
"""Index of the first feature that a decoder reads, where it is not the first one that there is."""


class SmpParameters(NetworkParameters):
    """An architecture of segmentation-models-pytorch."""

    encoder: EncoderParameters
    """The timm backbone. To accept images of any size, Swin Transformers need ``options: {strict_img_size: false}``,
    and Vision Transformers ``options: {dynamic_img_size: true}``."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the architecture's class, such as ``decoder_segmentation_channels`` or ``encoder_depth``."""


class SmpNetwork(SegmentationNetwork):
    """A network of segmentation-models-pytorch, split into its encoder and decoder; one subclass per architecture.

    Features are the decoder's output; the classifier is the segmentation head. PAN pools the deepest features three
    times and so needs images of at least 8 times their stride.
    """

    parameters_type = SmpParameters
    encoder: Any
    decoder: nn.Module
    classifier: nn.Module
    model_class: ClassVar[type[nn.Module]]
    """segmentation-models-pytorch's class."""
    fixed_options: ClassVar[dict[str, Any]] = {}
    """Arguments that are set for this architecture."""

    def __init__(self, parameters: SmpParameters, class_names: tuple[str, ...], key: str = "network") -> None:
        """Build the network.

        Raises:
            ValueError: ``options`` has a reserved argument, or segmentation-models-pytorch rejects an option, the
                backbone, or their combination.
        """
        backbone = parameters.encoder
        if reserved := sorted(parameters.options.keys() & RESERVED.keys()):
            reasons = "; ".join(f"{name}: {RESERVED[name]}" for name in reserved)
            raise ValueError(f"{key}.options: remove {', '.join(reserved)} ({reasons})")
        if shared := sorted(parameters.options.keys() & backbone.options.keys()):
            raise ValueError(f"{key}: {', '.join(shared)} set both in options and in encoder.options")
        check_backbone(backbone.name, f"{key}.encoder.name")
        options = {**parameters.options, **backbone.options, **self.fixed_options}
        try:
            model: Any = self.model_class(
                encoder_name=f"tu-{backbone.name}", encoder_weights=None, classes=len(class_names), **options
            )
        except Exception as error:  # options are not validated: anything may be raised
            raise ValueError(
                f"{key}: segmentation-models-pytorch cannot build {self.model_class.__name__} around "
                f"{backbone.name!r} with the options {options}: {type(error).__name__}: {error}"
            ) from error
        load_pretrained(model.encoder.model, backbone, backbone.options, f"{key}.encoder.pretrained")
        for name in ("pretrained_cfg", "pretrained_sha256"):
            setattr(model.encoder, name, getattr(model.encoder.model, name, None))
        super().__init__(parameters, class_names, model.encoder, key)
        self.decoder = model.decoder
        self.classifier = model.segmentation_head
        first = next(module for module in self.classifier.modules() if isinstance(module, nn.Conv2d))
        self.feature_channels = first.in_channels
        self._set_up_sizes(key)

    def _set_up_sizes(self, key: str) -> None:
        """Set ``size_multiple`` and what ``decode_padded`` needs."""
        self.size_multiple = self.encoder.output_stride
        # The library's lists of features start with the images, unless the backbone has features of stride 1, and an
        # empty map of stride 2 where the backbone starts at stride 4.
        all_channels = self.encoder.out_channels
        present = 0 if self.encoder._is_vgg_style else 2 if self.encoder._is_transformer_style else 1
        first = range(len(all_channels))[FIRST_FEATURE.get(self.model_class.__name__, 0)]
        self.blank_channels = all_channels[: max(first, present)]

    def encode_normalised(self, images: Tensor) -> list[Tensor]:
        """See the base class; only what the decoder reads."""
        return list(self.encoder(images)[len(self.blank_channels) :])

    def decode_padded(self, features: list[Tensor], size: tuple[int, int]) -> NetworkOutput:
        """See the base class."""
        blank = features[0].new_zeros(())  # decoders use the size alone of what precedes the features that they read
        before = [
            blank.expand(len(features[0]), channels, size[0] // 2**index, size[1] // 2**index)
            for index, channels in enumerate(self.blank_channels)
        ]
        return self._classify(self.decoder([*before, *features]), size)

    def _classify(self, x: Tensor, size: tuple[int, int]) -> NetworkOutput:
        logits = self.classifier(x)
        if logits.shape[2:] != size:
            logits = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        return NetworkOutput(logits, x)


class DptNetwork(SmpNetwork):
    """DPT (Ranftl et al. 2021) around a Vision Transformer, without the class token, as in UniMatch V2.

    Patches of any size: DINOv2's of 14 pixels are decoded as those of 16 are, and the logits resized to the images.
    With ``encoder.options: {dynamic_img_size: true}``, images of any size are accepted, their positions resized.
    ``img_size`` there resizes those of pretrained weights once, to the training crop, padded to ``size_multiple``: else
    it is done in every step, for which there is no deterministic CUDA kernel if they are trained.
    """

    fixed_options: ClassVar[dict[str, Any]] = {"decoder_readout": "ignore", "num_classes": 0}

    def _set_up_sizes(self, key: str) -> None:
        """Set ``size_multiple`` so that the decoder's maps, of stride 4, 8, 16, … for patches of 16, fit together."""
        patch, levels = self.encoder.output_strides[-1], len(self.encoder.output_strides)
        as_if = 2 ** round(math.log2(patch))
        if as_if != patch:  # segmentation-models-pytorch's decoder would upsample by fractions, rounded down
            blocks: Any = self.decoder.reassemble_blocks
            intermediate = [block.project_to_out_channel.out_channels for block in blocks]
            self.decoder = DPTDecoder(
                self.encoder.out_channels,
                [as_if] * levels,
                readout="ignore",
                intermediate_channels=intermediate,
                fusion_channels=self.feature_channels,
            )
            initialize_decoder(self.decoder)
        self.size_multiple = patch * max(1, 2 ** (levels + 1) // as_if)

    def encode_normalised(self, images: Tensor) -> list[Tensor]:
        """See the base class."""
        features, _ = self.encoder(images)
        return list(features)

    def decode_padded(self, features: list[Tensor], size: tuple[int, int]) -> NetworkOutput:
        """See the base class."""
        return self._classify(self.decoder(features, [None] * len(features)), size)


@cache
def smp_architectures() -> dict[str, type[SegmentationNetwork]]:
    """Give segmentation-models-pytorch's architectures by its own names, such as ``segformer`` and ``upernet``."""
    return {
        name: type(
            model_class.__name__,
            (DptNetwork if model_class is smp.DPT else SmpNetwork,),
            {"name": name, "model_class": model_class, "__module__": __name__},
        )
        for name, model_class in smp.MODEL_ARCHITECTURES_MAPPING.items()
    }


def __getattr__(name: str) -> type[SegmentationNetwork]:
    """Find an architecture's class by its name, as unpickling does in another process."""
    for architecture in smp_architectures().values():
        if architecture.__name__ == name:
            return architecture
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
