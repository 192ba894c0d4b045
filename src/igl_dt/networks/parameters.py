"""Which architecture fills a role, and which backbone it is built around."""

from typing import Any

from pydantic import Field

from igl_dt.utils.parameters import Parameters, Selection


class EncoderParameters(Parameters):
    """A timm backbone."""

    name: str
    """Any timm model with ``features_only`` support."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Passed on to timm, to make a backbone narrower or shallower than its name says."""
    pretrained: str | None = None
    """null: random weights; ``timm``: timm's own download; else a local .safetensors or .pth file."""


class NetworkChoice(Selection):
    """The architecture of one network; the section of that name holds its parameters.

    ``{architecture: res_unet, res_unet: {encoder: …}, swin_unet: {…}}`` builds a ResUnet: sections of
    architectures that are not chosen are left aside, so that an environment or ``--params`` can switch by one word.
    """

    architecture: str
    """A name in ``igl_dt.networks.architectures``, or one of segmentation-models-pytorch's."""
