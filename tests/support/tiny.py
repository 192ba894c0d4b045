"""Networks small enough to train in a test."""

from igl_dt.networks.architectures.deeplab_v3_plus import DeepLabV3PlusParameters
from igl_dt.networks.architectures.res_unet import ResUnetParameters
from igl_dt.networks.architectures.swin_unet import SwinUnetParameters

CLASSES = ("road", "tree", "pole")
SWIN = {
    "name": "swin_tiny_patch4_window7_224",
    "options": {"embed_dim": 24, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4},
}
RESNET = {"name": "resnet18", "options": {"channels": [8, 16, 32, 64], "stem_type": "deep", "stem_width": 8}}
NETWORKS = {
    "swin_unet": SwinUnetParameters(encoder=SWIN, decoder_depth=1),
    "res_unet": ResUnetParameters(encoder=RESNET, decoder_channels=(16, 8)),
    "student": DeepLabV3PlusParameters(encoder=RESNET, channels=16),
}
