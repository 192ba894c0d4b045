"""What every network has to do."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from igl_dt.networks import SegmentationNetwork, build_network, rebuild_network
from igl_dt.networks.architectures.deeplab_v3_plus import DeepLabV3PlusParameters
from igl_dt.networks.architectures.res_unet import ResUnetParameters
from igl_dt.networks.architectures.swin_unet import SwinUnetParameters


@pytest.mark.parametrize("size", [(64, 64), (37, 51), (1, 1), (3, 200)])
def test_logits_have_the_input_size_and_features_cover_it(network: SegmentationNetwork, size: tuple[int, int]):
    stride = {"swin_unet": 1, "res_unet": 2, "student": 4}[network.name]
    with torch.no_grad():
        logits, features = network.eval()(torch.zeros(1, 3, *size, dtype=torch.uint8))
    assert logits.shape == (1, 3, *size)
    assert features.shape == (1, network.feature_channels, *(math.ceil(length / stride) for length in size))
    assert logits.isfinite().all() and features.isfinite().all()


def test_gradients_reach_every_parameter(network: SegmentationNetwork, images: Tensor):
    logits, _ = network(images)
    F.cross_entropy(logits, images[:, 0].long() % 3).backward()
    unreached = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert unreached == []


def test_features_are_what_the_classifier_sees(network: SegmentationNetwork, images: Tensor):
    with torch.no_grad():
        logits, features = network.eval()(images)
        expected = F.interpolate(network.classifier(features), size=(64, 64), mode="bilinear", align_corners=False)
    torch.testing.assert_close(logits, expected)


def test_same_seed_same_bits(network: SegmentationNetwork, images: Tensor):
    twins = []
    for _ in range(2):
        torch.manual_seed(3)
        twins.append(rebuild_network(network.configuration))
    outputs = []
    for twin in twins:
        torch.manual_seed(4)  # dropout and drop path
        outputs.append(twin(images).logits)
    assert torch.equal(*outputs)


def test_evaluation_depends_on_the_image_alone(network: SegmentationNetwork, images: Tensor):
    network.eval()
    with torch.no_grad():
        together, again, alone = network(images), network(images), network(images[1:])
    assert torch.equal(together.logits, again.logits)
    torch.testing.assert_close(together.logits[1:], alone.logits, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together.features[1:], alone.features, atol=1e-5, rtol=1e-4)


def test_no_padding_where_none_is_needed(network: SegmentationNetwork, images: Tensor):
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalised = (images / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    with torch.no_grad():
        output, expected = network.eval()(images), network.segment(normalised)
    torch.testing.assert_close(output.logits, expected.logits, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(output.features, expected.features, atol=1e-5, rtol=1e-4)


def test_padding_repeats_the_border_and_is_cut_off(network: SegmentationNetwork, images: Tensor):
    padded = F.pad(images[..., :37, :51].float(), (0, 13, 0, 27), mode="replicate")
    multiple = network.size_multiple
    padded = padded[..., : -(-37 // multiple) * multiple, : -(-51 // multiple) * multiple]
    with torch.no_grad():
        output, expected = network.eval()(images[..., :37, :51]), network(padded)
    torch.testing.assert_close(output.logits, expected.logits[..., :37, :51])
    height, width = output.features.shape[2:]
    torch.testing.assert_close(output.features, expected.features[..., :height, :width])


def test_float_images_and_channels_last_change_nothing(network: SegmentationNetwork, images: Tensor):
    with torch.no_grad():
        expected = network.eval()(images).logits
        from_float = network(images.float()).logits
        network.to(memory_format=torch.channels_last)
        channels_last = network(images.contiguous(memory_format=torch.channels_last)).logits
    assert torch.equal(from_float, expected)
    torch.testing.assert_close(channels_last, expected, atol=1e-5, rtol=1e-4)


def test_bfloat16_autocast(network: SegmentationNetwork, images: Tensor):
    network.eval()
    with torch.autocast("cpu", torch.bfloat16):
        logits, _ = network(images)
    logits.float().square().mean().backward()
    assert logits.dtype == torch.bfloat16
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in network.parameters())
    with torch.no_grad():
        exact = network(images).logits
    assert (logits - exact).abs().mean() < 0.05 * exact.abs().mean()


def test_backbone_is_named_encoder(network: SegmentationNetwork):
    backbone = {name for name, _ in network.named_parameters() if name.startswith("encoder.")}
    assert backbone == {f"encoder.{name}" for name, _ in network.encoder.named_parameters()}
    assert 0 < len(backbone) < len(list(network.parameters()))


def test_more_classes_change_only_the_classifier(network: SegmentationNetwork):
    wider = rebuild_network({**network.configuration, "class_names": ["a", "b", "c", "d", "e"]})
    assert (wider.num_classes, wider.class_names) == (5, ("a", "b", "c", "d", "e"))
    before, after = network.state_dict(), wider.state_dict()
    assert {name for name in before if before[name].shape != after[name].shape} == {
        "classifier.weight",
        "classifier.bias",
    }


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(3, 8, 8), "B×3×H×W"),
        (torch.zeros(1, 4, 8, 8), "B×3×H×W"),
        (torch.zeros(1, 3, 0, 8), "at least 1×3×1×1"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.int64), "uint8"),
    ],
)
def test_other_images_are_refused(network: SegmentationNetwork, images: Tensor, message: str):
    with pytest.raises(ValueError, match=message):
        network(images)


def test_network_and_parameters_must_agree():
    parameters = ResUnetParameters(encoder={"name": "resnet18"})
    with pytest.raises(ValueError, match="there are swin_unet, res_unet, student"):
        build_network("deeplab", parameters, ("a",))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="student is built from DeepLabV3PlusParameters, not from ResUnetParameters"):
        build_network("student", parameters, ("a",))
    with pytest.raises(ValueError, match="class_names is empty"):
        build_network("res_unet", parameters, ())
    with pytest.raises(ValueError, match="not the configuration of a network"):
        rebuild_network({"network": "res_unet"})


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        (
            "res_unet",
            ResUnetParameters(encoder={"name": "resnet18"}, decoder_channels=(8,) * 5),
            "networks.res_unet.decoder_channels has 5 entries, but resnet18 allows for 4",
        ),
        (
            "res_unet",
            ResUnetParameters(encoder={"name": "convnext_atto"}, decoder_channels=(8,)),
            r"networks.res_unet.encoder.name: .* strides \[4, 8\]",
        ),
        (
            "student",
            DeepLabV3PlusParameters(encoder={"name": "vit_tiny_patch16_224"}),
            "networks.student.output_stride: vit_tiny_patch16_224 cannot have 16",
        ),
        (
            "student",
            DeepLabV3PlusParameters(encoder={"name": "resnet18", "options": {"out_indices": [0, 1, 2]}}),
            "networks.student.output_stride is 16, but .* stride 8",
        ),
        (
            "student",
            DeepLabV3PlusParameters(encoder={"name": "resnet18", "options": {"out_indices": [0, 4]}}, output_stride=32),
            "networks.student.encoder.name: .* needs those of stride 4",
        ),
        (
            "swin_unet",
            SwinUnetParameters(encoder={"name": "swinv2_cr_tiny_224"}),
            "networks.swin_unet.encoder.name: .* not built like a Swin Transformer",
        ),
    ],
)
def test_backbones_that_do_not_fit_are_refused(name, parameters, message: str):
    with pytest.raises(ValueError, match=message):
        build_network(name, parameters, ("a", "b"))


def test_student_refuses_to_train_on_one_image(images: Tensor):
    parameters = DeepLabV3PlusParameters(encoder={"name": "resnet18", "options": {"channels": [8] * 4}}, channels=8)
    network = build_network("student", parameters, ("a", "b"))
    with pytest.raises(ValueError, match="make batch_size / gradient_accumulation_steps at least 2"):
        network(images[:1])
    assert network.eval()(images[:1]).logits.shape == (1, 2, 64, 64)


@pytest.mark.parametrize(
    ("name", "options"),
    [("convnext_atto", {"dims": [8, 8, 8, 8]}), ("mobilenetv3_small_050", {}), ("swin_tiny_patch4_window7_224", {})],
)
def test_student_takes_other_backbones(name: str, options: dict[str, object], images: Tensor):
    swin = name.startswith("swin")
    if swin:
        options = {"strict_img_size": False, "embed_dim": 8, "depths": [1] * 4, "num_heads": [1] * 4}
    parameters = DeepLabV3PlusParameters(
        encoder={"name": name, "options": options}, channels=8, output_stride=32 if swin else 16
    )
    logits, features = build_network("student", parameters, ("a", "b"))(images)
    assert logits.shape == (2, 2, 64, 64)
    assert features.shape == (2, 8, 16, 16)


@pytest.mark.parametrize(("dropout", "drops"), [(0.0, False), (0.3, True)])
def test_student_drops_as_much_as_it_is_told_and_only_in_training(dropout: float, drops: bool, images: Tensor):
    network = build_network(
        "student", DeepLabV3PlusParameters(encoder={"name": "resnet18"}, channels=16, dropout=dropout), ("a", "b")
    )
    assert torch.equal(network(images).logits, network(images).logits) != drops
    network.eval()
    assert torch.equal(network(images).logits, network(images).logits)
