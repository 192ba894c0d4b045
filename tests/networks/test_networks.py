"""What every network has to do."""

import copy
import math
import pickle

import pytest
import timm
import torch
from torch import Tensor
from torch.nn import functional as F

from igl_dt.networks import smp as smp_module
from igl_dt.networks.base import SegmentationNetwork
from igl_dt.networks.parameters import NetworkChoice
from igl_dt.networks.registry import build_network, network_parameters, rebuild_network

UNUSED = dict.fromkeys(("dpt", "dpt, patches of 14"), ("encoder.model.cls_token", "encoder.model.norm."))
"""Parts of backbones that decoders make no use of."""
RESNET = {"name": "resnet18", "options": {"channels": [8] * 4}}


def build(architecture: str, class_names: tuple[str, ...] = ("a", "b"), **parameters: object) -> SegmentationNetwork:
    return build_network(choice(architecture, **parameters), class_names, "networks.teacher")


def choice(architecture: str, **parameters: object) -> NetworkChoice:
    return NetworkChoice.model_validate({"architecture": architecture, architecture: parameters})


@pytest.mark.parametrize("size", [(64, 64), (37, 51), (1, 1), (3, 200)])
def test_logits_have_the_input_size_and_features_cover_it(
    network: SegmentationNetwork, stride: float, size: tuple[int, int]
):
    with torch.no_grad():
        logits, features = network.eval()(torch.zeros(1, 3, *size, dtype=torch.uint8))
    assert logits.shape == (1, 3, *size)
    assert features.shape == (1, network.feature_channels, *(math.ceil(length / stride) for length in size))
    assert logits.isfinite().all()
    assert features.isfinite().all()


def test_gradients_reach_every_parameter(variant: str, network: SegmentationNetwork, images: Tensor):
    logits, _ = network(images)
    F.cross_entropy(logits, images[:, 0].long() % 3).backward()
    unreached = {name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()}
    assert {name for name in unreached if not name.startswith(UNUSED.get(variant, ("none",)))} == set()


def test_features_are_the_classifiers_input(network: SegmentationNetwork, images: Tensor):
    unpadded = 64 - 64 % network.size_multiple
    images = images[..., :unpadded, :unpadded]
    with torch.no_grad():
        logits, features = network.eval()(images)
        expected = network.classifier(features)
    if expected.shape != logits.shape:  # heads of segmentation-models-pytorch resize themselves
        expected = F.interpolate(expected, size=images.shape[2:], mode="bilinear", align_corners=False)
    torch.testing.assert_close(logits, expected)


def test_a_compiled_network_computes_the_same_and_its_copy_is_not_compiled(images: Tensor):
    traced = []

    def backend(graph: torch.fx.GraphModule, _: list[Tensor]) -> torch.fx.GraphModule:
        traced.append(graph)
        return graph

    network = build("res_unet", encoder=RESNET).eval()
    with torch.no_grad():
        expected = network(images).logits
        network.compile(backend=backend)
        assert torch.equal(network(images).logits, expected)
        first = len(traced)
        assert torch.equal(network.decode(network.encode(images)).logits, expected)
        with torch.compiler.set_stance("force_eager"):
            assert torch.equal(copy.deepcopy(network)(images[..., :40]).logits, network(images[..., :40]).logits)
        copy.deepcopy(network)(images[..., :40])
    assert len(traced) == first > 1


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
    torch.testing.assert_close(together.logits[1:], alone.logits, atol=3e-5, rtol=1e-4)
    torch.testing.assert_close(together.features[1:], alone.features, atol=3e-5, rtol=1e-4)


def test_forward_is_encoding_and_decoding(network: SegmentationNetwork, images: Tensor):
    """Of normalised images, with no padding where none is needed."""
    mean, std = (torch.tensor(network.configuration[key]).view(3, 1, 1) for key in ("mean", "std"))
    unpadded = 64 - 64 % network.size_multiple
    images = images[..., :unpadded, :unpadded]
    normalised = (images / 255 - mean) / std
    with torch.no_grad():
        output = network.eval()(images)
        expected = network.decode_padded(network.encode_normalised(normalised), (unpadded, unpadded))
    torch.testing.assert_close(output.logits, expected.logits, atol=3e-5, rtol=1e-4)
    torch.testing.assert_close(output.features, expected.features, atol=3e-5, rtol=1e-4)


def test_encoder_features_are_maps_from_shallow_to_deep(network: SegmentationNetwork, images: Tensor):
    features, size = network.encode(images[..., :37, :51])
    assert size == (37, 51)
    heights = [maps.shape[2] for maps in features]
    assert heights == sorted(heights, reverse=True)
    assert len(features) > 1
    multiple = network.size_multiple
    for maps in features:
        stride = 37 + -37 % multiple, 51 + -51 % multiple
        assert maps.shape[0] == 2
        assert maps.shape[1] > 3
        assert stride[0] / maps.shape[2] == stride[1] / maps.shape[3]


def test_features_can_be_perturbed_before_decoding(network: SegmentationNetwork, images: Tensor):
    """As UniMatch does: plain and perturbed features decoded as one batch."""
    network.eval()
    images = images[..., :37, :51]
    with torch.no_grad():
        expected, encoded = network(images), network.encode(images)
        assert all(map(torch.equal, network.decode(encoded), expected))
        stacked = [torch.cat((maps, maps)) for maps in encoded.features]
        for index in (0, -1):
            perturbed = list(stacked)
            perturbed[index] = torch.cat((encoded.features[index], F.dropout2d(encoded.features[index], 0.5)))
            logits, _ = network.decode(encoded._replace(features=perturbed))
            plain, changed = logits.chunk(2)
            torch.testing.assert_close(plain, expected.logits, atol=1e-4, rtol=1e-4)
            assert not torch.allclose(changed, expected.logits, atol=1e-3)


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
    torch.testing.assert_close(channels_last, expected, atol=3e-5, rtol=1e-4)


def test_bfloat16_autocast(variant: str, network: SegmentationNetwork, images: Tensor):
    network.eval()
    with torch.autocast("cpu", torch.bfloat16):
        logits, _ = network(images)
    logits.float().square().mean().backward()
    assert logits.dtype == torch.bfloat16
    for name, p in network.named_parameters():
        assert name.startswith(UNUSED.get(variant, ("none",))) or p.grad.dtype == torch.float32, name
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
    changed = {name for name in before if before[name].shape != after[name].shape}
    assert len(changed) == 2
    assert all(name.startswith("classifier.") for name in changed)


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


def test_wrong_choices_are_refused():
    with pytest.raises(ValueError, match=r"teacher.architecture: there is no .* 'segformr'; did you mean 'segformer'"):
        build("segformr", encoder=RESNET)
    with pytest.raises(ValueError, match=r"there is no .*'xyz'; there are .*deeplab_v3_plus.*swin_unet.*unet.*upernet"):
        build("xyz", encoder=RESNET)
    with pytest.raises(ValueError, match=r"networks.teacher.res_unet.blok: unknown; did you mean 'block'"):
        build("res_unet", encoder=RESNET, blok="pre_activation")
    with pytest.raises(ValueError, match=r"networks.teacher.segformer.option: unknown; did you mean 'options'"):
        network_parameters(choice("segformer", encoder=RESNET, option={}), "networks.teacher")
    with pytest.raises(ValueError, match="class_names is empty"):
        build("res_unet", (), encoder=RESNET)
    with pytest.raises(ValueError, match="not the configuration of a network"):
        rebuild_network({"architecture": "res_unet"})


@pytest.mark.parametrize(
    ("architecture", "parameters", "message"),
    [
        (
            "res_unet",
            {"encoder": {"name": "resnet18"}, "decoder_channels": (8,) * 5},
            "networks.teacher.res_unet.decoder_channels has 5 entries, but resnet18 allows for 4",
        ),
        (
            "res_unet",
            {"encoder": {"name": "convnext_atto"}, "decoder_channels": (8,)},
            r"networks.teacher.res_unet.encoder.name: .* strides \[4, 8\]",
        ),
        (
            "deeplab_v3_plus",
            {"encoder": {"name": "vit_tiny_patch16_224"}},
            "networks.teacher.deeplab_v3_plus.output_stride: vit_tiny_patch16_224 cannot have 16",
        ),
        (
            "deeplab_v3_plus",
            {"encoder": {"name": "resnet18", "options": {"out_indices": [0, 1, 2]}}},
            "networks.teacher.deeplab_v3_plus.output_stride is 16, but .* stride 8",
        ),
        (
            "deeplab_v3_plus",
            {"encoder": {"name": "resnet18", "options": {"out_indices": [0, 4]}}, "output_stride": 32},
            "networks.teacher.deeplab_v3_plus.encoder.name: .* needs those of stride 4",
        ),
        (
            "swin_unet",
            {"encoder": {"name": "swinv2_cr_tiny_224"}},
            "networks.teacher.swin_unet.encoder.name: .* not built like a Swin Transformer",
        ),
        (
            "segformer",
            {"encoder": {"name": "resnet19"}},
            "networks.teacher.segformer.encoder.name: timm has no model 'resnet19'; nearest names: resnet1",
        ),
        (
            "segformer",
            {"encoder": RESNET, "options": {"classes": 3, "encoder_weights": "imagenet"}},
            "segformer.options: remove classes, encoder_weights .*encoder.pretrained sets it",
        ),
        (
            "upernet",
            {"encoder": RESNET, "options": {"widths": 3}},
            "networks.teacher.upernet: .* cannot build UPerNet around 'resnet18' .*'widths'",
        ),
        (
            "unet",
            {"encoder": RESNET, "options": {"channels": 3}},
            "networks.teacher.unet: channels set both in options and in encoder.options",
        ),
    ],
)
def test_backbones_and_options_that_do_not_fit_are_refused(
    architecture: str, parameters: dict[str, object], message: str
):
    with pytest.raises(ValueError, match=message):
        build(architecture, **parameters)


def test_deeplab_refuses_to_train_on_one_image(images: Tensor):
    network = build("deeplab_v3_plus", encoder=RESNET, channels=8)
    with pytest.raises(ValueError, match=r"make batch_size / gradient_accumulation_steps, and .* at least 2"):
        network(images[:1])
    assert network.eval()(images[:1]).logits.shape == (1, 2, 64, 64)


@pytest.mark.parametrize(
    ("parameters", "rates"),
    [
        ({"output_stride": 8}, [12, 24, 36]),
        ({"output_stride": 16}, [6, 12, 18]),
        ({"output_stride": 32}, [6, 12, 18]),
        ({"output_stride": 8, "atrous_rates": [1, 2, 3]}, [1, 2, 3]),
    ],
)
def test_atrous_rates_follow_the_output_stride(parameters: dict[str, object], rates: list[int]):
    network = build("deeplab_v3_plus", encoder=RESNET, channels=8, **parameters)
    assert [branch[0].dilation[0] for branch in list(network.pyramid.convs)[1:4]] == rates


@pytest.mark.parametrize(
    ("encoder", "mean"), [(RESNET, [0.485, 0.456, 0.406]), ({"name": "test_resnet"}, [0.5, 0.5, 0.5])]
)
@pytest.mark.parametrize("architecture", ["res_unet", "fpn"])
def test_images_are_normalised_as_the_backbone_expects(
    architecture: str, encoder: dict[str, object], mean: list[float]
):
    options = {"decoder_channels": [8] * 3} if architecture == "res_unet" else {}
    network = build(architecture, encoder=encoder, **options)
    assert network.configuration["mean"] == mean
    torch.testing.assert_close(network.mean.flatten(), 255 * torch.tensor(mean))
    recorded = {**network.configuration, "mean": [0.1, 0.2, 0.3], "std": [1, 1, 0.5]}
    rebuilt = rebuild_network(recorded)
    assert rebuilt.mean.flatten().tolist() == pytest.approx([25.5, 51, 76.5])
    assert rebuilt.std.flatten().tolist() == [255, 255, 127.5]
    assert rebuilt.configuration == recorded


@pytest.mark.parametrize(
    ("name", "options"),
    [("convnext_atto", {"dims": [8, 8, 8, 8]}), ("mobilenetv3_small_050", {}), ("swin_tiny_patch4_window7_224", {})],
)
def test_deeplab_takes_other_backbones(name: str, options: dict[str, object], images: Tensor):
    swin = name.startswith("swin")
    if swin:
        options = {"strict_img_size": False, "embed_dim": 8, "depths": [1] * 4, "num_heads": [1] * 4}
    encoder = {"name": name, "options": options}
    network = build("deeplab_v3_plus", encoder=encoder, channels=8, output_stride=32 if swin else 16)
    logits, features = network(images)
    assert logits.shape == (2, 2, 64, 64)
    assert features.shape == (2, 8, 16, 16)
    strides = [64 // maps.shape[2] for maps in network.encode(images).features]
    assert strides == [4, 32 if swin else 16]


@pytest.mark.parametrize(("dropout", "drops"), [(0.0, False), (0.3, True)])
def test_deeplab_drops_out_in_training_only(dropout: float, drops: bool, images: Tensor):
    network = build("deeplab_v3_plus", encoder=RESNET, channels=16, dropout=dropout)
    assert torch.equal(network(images).logits, network(images).logits) != drops
    network.eval()
    assert torch.equal(network(images).logits, network(images).logits)


@pytest.mark.parametrize(
    "name", ["fpn", "unetplusplus", "manet", "linknet", "pspnet", "deeplabv3", "deeplabv3plus", "upernet"]
)
def test_other_architectures_of_segmentation_models_pytorch(name: str, images: Tensor):
    network = build(name, encoder=RESNET)
    output = network(images[..., :45, :50])
    assert output.logits.shape == (2, 2, 45, 50)
    assert output.features.shape[1] == network.feature_channels
    output.logits.square().mean().backward()
    assert network.encoder.model.conv1.weight.grad.any()


@pytest.mark.parametrize("name", ["unet", "dpt"])
def test_another_process_can_take_an_architecture_of_segmentation_models_pytorch(name: str):
    """As in trainings of several processes."""
    kind = smp_module.smp_architectures()[name]
    assert pickle.loads(pickle.dumps(kind)) is kind
    with pytest.raises(AttributeError, match="nothing"):
        smp_module.nothing  # noqa: B018


def test_vgg_and_pan():
    """A backbone whose features start at stride 1; and a decoder that needs larger images than others."""
    network = build(
        "unet",
        encoder={"name": "vgg11", "options": {"mlp_ratio": 0.01}},
        options={"encoder_depth": 3, "decoder_channels": [8, 8, 8]},
    )
    features, _ = network.encode(torch.zeros(1, 3, 16, 16))
    assert [maps.shape[2] for maps in features] == [16, 8, 4, 2]
    assert build("pan", encoder=RESNET)(torch.zeros(2, 3, 120, 120)).logits.shape == (2, 2, 120, 120)


def test_a_smp_network_equals_the_librarys_own(images: Tensor):
    import segmentation_models_pytorch as smp

    torch.manual_seed(0)
    network = build("segformer", encoder=RESNET).eval()
    torch.manual_seed(0)
    whole = smp.create_model("segformer", encoder_name="tu-resnet18", encoder_weights=None, classes=2, channels=[8] * 4)
    whole.eval()
    with torch.no_grad():
        expected = whole((images - network.mean) / network.std)
        torch.testing.assert_close(network(images).logits, expected, atol=3e-5, rtol=1e-4)


def test_a_smp_network_takes_pretrained_weights(tmp_path):
    model = timm.create_model("resnet18", channels=[8] * 4)
    torch.save(model.state_dict(), tmp_path / "resnet.pth")
    network = build("fpn", encoder={**RESNET, "pretrained": str(tmp_path / "resnet.pth")})
    assert torch.equal(network.encoder.model.layer4[0].conv1.weight, model.layer4[0].conv1.weight)
    with pytest.raises(ValueError, match=r"teacher.fpn.encoder.pretrained: there is no file"):
        build("fpn", encoder={**RESNET, "pretrained": "nothing.pth"})
