"""Which architecture fills a role, and which backbone it is built around."""

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field

from igl_dt.utils.parameters import Parameters, Selection, UserPath


class EncoderParameters(Parameters):
    """A timm backbone."""

    name: str
    """Any timm model with ``features_only`` support."""
    options: Annotated[dict[str, Any], BeforeValidator(lambda given: given or {})] = Field(default_factory=dict)
    """Arguments of the timm model, for instance to make it narrower or shallower. null: none, also where an environment
    inherits some."""
    pretrained: str | None = None
    """Initial weights. null: random; ``package``: those of an installed Python package, for ``tf_efficientnet_lite0``
    to ``2`` (extra ``pretrained``); ``timm``: timm's own, from its cache or downloaded; ``hf-hub:OWNER/NAME``: those of
    a timm model on the Hugging Face Hub, likewise; else a local .safetensors or .pth file."""
    freeze: bool = False
    """Leave the weights as they are: no gradients, and evaluation mode (batch statistics, drop path) throughout."""
    freeze_batch_norm: bool = False
    """Normalise with the batch-norm statistics that the backbone starts with, and do not update them."""


class NetworkParameters(Parameters):
    """Base of the parameters of every architecture."""

    encoder: EncoderParameters
    """The backbone."""

    def without_pretrained(self) -> Self:
        """Give the same with random weights of all backbones."""
        backbones = {name: value for name, value in self if isinstance(value, EncoderParameters)}
        return self.model_copy(
            update={name: value.model_copy(update={"pretrained": None}) for name, value in backbones.items()}
        )


class NetworkChoice(Selection):
    """The architecture of one network; the section of that name holds its parameters.

    ``{architecture: res_unet, res_unet: {encoder: …}, swin_unet: {…}}`` builds a ResUnet: sections of
    architectures that are not chosen are left aside, so that an environment or ``--params`` can switch by one word.
    """

    architecture: str
    """A name in ``igl_dt.networks.architectures``, or one of segmentation-models-pytorch's."""
    init_from: UserPath | None = None
    """Weight file of this project, or ``hf-hub:OWNER/NAME``, with the initial weights of the whole network; backbones'
    ``pretrained`` is then left aside. Where its classes are others than the data set's, the classifier starts from
    random weights; every other tensor must be there."""
