"""What every segmentation network has in common: normalisation, padding, cropping, and a record to rebuild it from."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from igl_dt.networks.encoder import mean_and_std
from igl_dt.networks.parameters import EncoderParameters, NetworkParameters


class NetworkOutput(NamedTuple):
    """Output for B images of H×W pixels."""

    logits: Tensor
    """B×N×H×W float: class logits at the size of the input (Z)."""
    features: Tensor
    """B×C×h×w float: decoder features just before the classifier (F); h = ⌈H / stride⌉, w = ⌈W / stride⌉."""


class Encoded(NamedTuple):
    """Encoder features of B images, which a method may change before they are decoded."""

    features: list[Tensor]
    """B×C×h×w float each, shallow to deep; they cover the padded images."""
    size: tuple[int, int]
    """H and W of the images, without padding."""


class SegmentationNetwork(nn.Module, ABC):
    """Base of all networks: a timm backbone as ``encoder``, a decoder, and a ``classifier`` from features to logits.

    A subclass builds its modules in ``__init__``, where it also sets ``feature_channels`` and ``size_multiple``, and
    implements ``encode_normalised`` and ``decode_padded``. Callers use ``network(images)``, or, to change the encoder's
    features in between, ``network.decode(network.encode(images))``, which gives the same bits. Images of any size are
    accepted. Everything is computed in channels-last layout, which GPUs are faster in; the output has it too.
    """

    name: ClassVar[str]
    """Name of the architecture, which parameters select it by and weight files record."""
    parameters_type: ClassVar[type[NetworkParameters]]
    """Parameters that the network is built from."""
    encoder: nn.Module
    """The backbone: its parameters, and no others, are named ``encoder.*``."""
    feature_channels: int
    """C of ``NetworkOutput.features``."""
    size_multiple: int
    """Images are padded until height and width are multiples of this."""
    fingerprint: str | None = None
    """Digest of the parameters, images and initial weights that it was trained with; None if untrained."""
    trained_by: str | None = None
    """Name of the method that trained it; None if untrained."""
    sizes: dict[str, Any] | None = None
    """How images were resized for its training (``DatasetParameters.sizes``); None if untrained or not recorded."""
    compute: dict[str, int | None] | None = None
    """Multiply-adds of its training, forward and backward, of all networks that were trained together, and of what
    their teachers predicted: ``per_step`` on average, ``total`` of all ``steps``; and ``teachers``: those that the
    training of these teachers had taken before, None where not recorded. None if untrained."""
    pretrained_sha256: dict[str, str]
    """SHA-256 of the files that backbones took their initial weights from, by parameter (``encoder``); or of
    the weight file that the whole network started from (``init_from``)."""
    configuration: dict[str, Any]
    """What ``rebuild_network`` needs, as JSON-able values; without ``pretrained``, which trained weights replace."""
    _compiled: tuple[Callable[..., Any], ...] | None = None
    """Of ``encode_normalised`` and ``decode_padded``."""
    mean: Tensor
    """3×1×1 float: mean of the red, green and blue values 0 to 255 that the backbone expects."""
    std: Tensor
    """3×1×1 float: their standard deviation."""

    def __init__(
        self, parameters: NetworkParameters, class_names: tuple[str, ...], encoder: nn.Module, key: str = "network"
    ) -> None:
        """Keep the backbone, and what is needed to rebuild the network.

        Args:
            parameters: The network's parameters.
            class_names: Names of the N classes, by index.
            encoder: The backbone; images are normalised as its timm configuration says.
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
        for name, value in parameters:
            if isinstance(value, EncoderParameters):
                settings[name]["pretrained"] = None
        self.configuration = {"architecture": self.name, "parameters": settings, "class_names": list(class_names)}
        self.pretrained_sha256 = {}
        self._backbones: dict[str, EncoderParameters] = {}
        self.encoder = encoder
        self.add_backbone("encoder", parameters.encoder)

    def add_backbone(self, path: str, parameters: EncoderParameters, key: str = "encoder") -> None:
        """Make a timm backbone's configuration and parameters those of the network.

        Images are normalised as it expects, the digest of its weights' file is recorded, and it is frozen where its
        parameters say so. The one added last sets the normalisation.

        Args:
            path: Name of the submodule.
            parameters: Its parameters.
            key: Their name in the network's parameters.
        """
        backbone = self.get_submodule(path)
        self.normalise_with(*mean_and_std(backbone))
        if digest := getattr(backbone, "pretrained_sha256", None):
            self.pretrained_sha256[key] = digest
        if parameters.freeze:
            backbone.requires_grad_(False)
        self._backbones[path] = parameters
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode; what is frozen stays in evaluation mode."""
        super().train(mode)
        for path, parameters in self._backbones.items():
            for module in self.get_submodule(path).modules():
                if parameters.freeze or (parameters.freeze_batch_norm and isinstance(module, _BatchNorm)):
                    module.training = False
        return self

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Have torch compile the encoder's and the decoder's computations when they are first used.

        Arguments are those of ``torch.compile``. Copies of the network are not compiled.
        """
        self._compiled = tuple(
            torch.compile(function, *args, **kwargs) for function in (self.encode_normalised, self.decode_padded)
        )

    def __getstate__(self) -> dict[str, Any]:
        """Give what copies have: all but compiled functions."""
        state: dict[str, Any] = super().__getstate__()  # type: ignore[no-untyped-call]
        return state | {"_compiled": None}

    def normalise_with(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """Set and record the mean and standard deviation, of values of 0 to 1, that images are normalised with."""
        self.configuration |= {"mean": list(mean), "std": list(std)}
        self.register_buffer("mean", 255 * torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std).view(3, 1, 1), persistent=False)

    @abstractmethod
    def encode_normalised(self, images: Tensor) -> list[Tensor]:
        """Compute the encoder's features.

        Args:
            images: B×3×H×W float, channels-last, normalised; H and W are multiples of ``size_multiple``.

        Returns:
            The features that ``decode_padded`` uses, B×C×h×w, shallow to deep.
        """

    @abstractmethod
    def decode_padded(self, features: list[Tensor], size: tuple[int, int]) -> NetworkOutput:
        """Compute logits from the encoder's features.

        Args:
            features: What ``encode_normalised`` returned, possibly perturbed.
            size: H and W of the images that it was given.

        Returns:
            Logits B×N×H×W and features B×C×h×w.
        """

    def encode(self, images: Tensor) -> Encoded:
        """Compute the encoder's features of images of any size.

        Images are normalised with the backbone's mean and standard deviation, and where needed padded on the right and
        at the bottom by repeating their border.

        Args:
            images: B×3×H×W RGB, uint8, or float with values of 0 to 255.

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
        if bottom or right:
            images = F.pad(images, (0, right, 0, bottom), mode="replicate")
        encode = self._compiled[0] if self._compiled else self.encode_normalised
        return Encoded(encode(images), (height, width))

    def decode(self, encoded: Encoded) -> NetworkOutput:
        """Compute logits from encoder features; what the padding added is cut off.

        Args:
            encoded: What ``encode`` returned, or ``encoded._replace(features=…)`` with tensors of the same shapes but
                for B: copies of the batch may be stacked, perturbed and not.

        Returns:
            Logits B×N×H×W and features B×C×⌈H / stride⌉×⌈W / stride⌉.
        """
        height, width = encoded.size
        padded_height, padded_width = height + -height % self.size_multiple, width + -width % self.size_multiple
        decode = self._compiled[1] if self._compiled else self.decode_padded
        output = decode(encoded.features, (padded_height, padded_width))
        if encoded.size == (padded_height, padded_width):
            return output

        def crop(maps: Tensor) -> Tensor:
            rows, columns = maps.shape[2:]
            return maps[..., : -(-height * rows // padded_height), : -(-width * columns // padded_width)]

        return NetworkOutput(crop(output.logits), crop(output.features))

    def forward(self, images: Tensor) -> NetworkOutput:
        """Segment images of any size: ``encode``, then ``decode``.

        Args:
            images: B×3×H×W RGB, uint8, or float with values of 0 to 255.

        Returns:
            Logits B×N×H×W and features B×C×⌈H / stride⌉×⌈W / stride⌉.

        Raises:
            ValueError: The images have another shape or dtype.
        """
        return self.decode(self.encode(images))
