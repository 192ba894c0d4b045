"""What every segmentation network has in common: normalising, padding, cropping, and knowing how to be rebuilt."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from igl_dt.utils.parameters import Parameters

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class NetworkOutput(NamedTuple):
    """What a network says about B images of H×W pixels."""

    logits: Tensor
    """B×N×H×W float: class logits at the size of the input (Z)."""
    features: Tensor
    """B×C×h×w float: decoder features just before the classifier (F); h = ⌈H / stride⌉, w = ⌈W / stride⌉."""


class SegmentationNetwork(nn.Module, ABC):
    """Base of the networks: a timm backbone as ``encoder``, a decoder, and a 1×1 convolution as ``classifier``.

    A subclass builds its modules in ``__init__``, where it also sets ``feature_channels`` and ``size_multiple``, and
    says in ``segment`` what it does with normalised images. Images of any size are taken. All is computed in
    channels-last layout, which is faster on the CPU; the output has that layout too.
    """

    name: ClassVar[str]
    """Name of the architecture, by which parameters choose it and weight files record it."""
    parameters_type: ClassVar[type[Parameters]]
    """What the network is built from."""
    encoder: nn.Module
    """The backbone: its parameters, and no others, are named ``encoder.*``."""
    feature_channels: int
    """C of ``NetworkOutput.features``."""
    size_multiple: int
    """Height and width that ``segment`` gets are multiples of this."""
    fingerprint: str | None = None
    """Digest of the parameters, images and initial weights that it was trained with; None where it was not."""
    configuration: dict[str, Any]
    """What ``rebuild_network`` needs, as JSON-able values; without ``pretrained``, whose place trained weights take."""
    mean: Tensor
    std: Tensor

    def __init__(self, parameters: Parameters, class_names: tuple[str, ...], key: str = "network") -> None:
        """Keep what is needed to rebuild the network.

        Args:
            parameters: The network's parameters.
            class_names: Names of the N classes, by index.
            key: Where the parameters come from, for messages.

        Raises:
            ValueError: There are no classes.
        """
        super().__init__()
        if not class_names:
            raise ValueError(f"{key}: class_names is empty, a network needs at least one class")
        self.class_names = tuple(class_names)
        self.num_classes = len(class_names)
        settings = parameters.model_dump(mode="json")
        settings["encoder"]["pretrained"] = None
        self.configuration = {"architecture": self.name, "parameters": settings, "class_names": list(class_names)}
        self.register_buffer("mean", 255 * torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    @abstractmethod
    def segment(self, images: Tensor) -> NetworkOutput:
        """Segment images that are normalised and whose size is a multiple of ``size_multiple``.

        Args:
            images: B×3×H×W float, channels-last.

        Returns:
            Logits B×N×H×W and features B×C×h×w where h divides H and w divides W.
        """

    def forward(self, images: Tensor) -> NetworkOutput:
        """Segment images of any size.

        They are normalised with ImageNet's mean and standard deviation, and where needed padded on the right and at the
        bottom by repeating their border; what the padding adds is cut off again from logits and features.

        Args:
            images: B×3×H×W RGB, uint8, or float with values of 0 to 255.

        Returns:
            Logits B×N×H×W and features B×C×⌈H / stride⌉×⌈W / stride⌉.

        Raises:
            ValueError: The images have another shape or dtype.
        """
        if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape:
            raise ValueError(f"networks take images of shape B×3×H×W, at least 1×3×1×1; got {tuple(images.shape)}")
        if images.dtype != torch.uint8 and not images.is_floating_point():
            raise ValueError(f"networks take images as uint8, or as float with values 0 to 255; got {images.dtype}")
        height, width = images.shape[2:]
        bottom, right = -height % self.size_multiple, -width % self.size_multiple
        images = (images.to(self.mean.dtype, memory_format=torch.channels_last) - self.mean) / self.std
        if not (bottom or right):
            return self.segment(images)
        padded = self.segment(F.pad(images, (0, right, 0, bottom), mode="replicate"))

        def crop(maps: Tensor) -> Tensor:
            row_stride, column_stride = (height + bottom) // maps.shape[2], (width + right) // maps.shape[3]
            return maps[..., : -(-height // row_stride), : -(-width // column_stride)]

        return NetworkOutput(crop(padded.logits), crop(padded.features))
