"""What the benchmarks measure on."""

from igl_dt.data.parameters import AugmentationParameters
from igl_dt.networks.parameters import NetworkChoice
from igl_dt.runtime.parameters import RuntimeParameters
from igl_dt.training.parameters import OptimizerParameters

IMAGE_SIZE = (360, 480)
CROP_SIZE = (128, 128)
BATCH_SIZE = 4
AUGMENTATION = AugmentationParameters(crop_size=CROP_SIZE, strong_unlabeled=True, cutmix_probability=0.5)
OPTIMIZER = OptimizerParameters(name="adamw", learning_rate=1e-4)
RUNTIME = RuntimeParameters(device="cpu", threads=2, workers=0)
CLASS_NAMES = tuple(f"class {index}" for index in range(9))
RESNET = {"name": "resnet18"}
SWIN = {
    "name": "swin_tiny_patch4_window7_224",
    "options": {"embed_dim": 48, "depths": [2, 2, 2, 2], "num_heads": [3, 6, 12, 24], "window_size": 4},
}
NETWORKS = {
    role: NetworkChoice.model_validate({"architecture": architecture, architecture: parameters})
    for role, architecture, parameters in (
        ("global_teacher", "swin_unet", {"encoder": SWIN, "stem": "convolutional"}),
        ("local_teacher", "res_unet", {"encoder": RESNET, "decoder_channels": [128, 64, 32, 32]}),
        ("student", "deeplab_v3_plus", {"encoder": RESNET, "channels": 128}),
    )
}
"""ResNet-18 networks and a narrow Swin-Unet, as one trains them without a GPU."""

DEPTHWISE = NetworkChoice.model_validate(
    {
        "architecture": "deeplab_v3_plus",
        "deeplab_v3_plus": {"encoder": {"name": "tf_efficientnet_lite0"}, "channels": 128},
    }
)
"""A network of depthwise convolutions."""


def choose(device: str, crop: tuple[int, int]) -> None:
    """Set the device and the crop of this process."""
    global RUNTIME, CROP_SIZE, AUGMENTATION
    RUNTIME = RUNTIME.model_copy(update={"device": device})
    CROP_SIZE, AUGMENTATION = crop, AUGMENTATION.model_copy(update={"crop_size": crop})
