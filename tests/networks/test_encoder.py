"""Building timm backbones, and filling them with weights from a file."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from igl_dt.networks.encoder import build_encoder, channels_and_strides
from igl_dt.networks.parameters import EncoderParameters

MODELS = {
    "resnet18": {"channels": [8, 8, 16, 16]},
    "swin_tiny_patch4_window7_224": {
        "embed_dim": 8,
        "depths": [2, 2],
        "num_heads": [1, 2],
        "window_size": 4,
        "img_size": 32,
    },
    "mobilenetv3_small_050": {},
}


def whole_model(name: str) -> torch.nn.Module:
    """A classifier as timm's users save it, with batch statistics that no fresh network has."""
    model = timm.create_model(name, **MODELS[name])
    for key, tensor in model.state_dict().items():
        if "running" in key:
            tensor.uniform_(0.5, 2)
    return model.eval()


def build(name: str, source: Path | str | None, **options: object) -> torch.nn.Module:
    parameters = EncoderParameters(name=name, options=MODELS[name], pretrained=source and str(source))
    return build_encoder(parameters, "networks.student.encoder", **options)


def stage_outputs(model: torch.nn.Module, image: Tensor) -> list[Tensor]:
    return model.forward_intermediates(image, intermediates_only=True)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_weights_of_a_whole_model_give_its_features(name: str, suffix: str, tmp_path: Path):
    model, path = whole_model(name), tmp_path / f"weights.{suffix}"
    if suffix == "pth":
        torch.save({"model": model.state_dict()}, path)
    else:
        save_file(model.state_dict(), path)
    encoder = build(name, path).eval()
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        features, expected = encoder(image), stage_outputs(model, image)
    for feature, reference in zip(features, expected, strict=True):
        if "swin" in name:
            feature = feature.permute(0, 3, 1, 2)
        assert torch.equal(feature, reference)


def test_shallower_encoder_leaves_the_deeper_weights_out(tmp_path: Path):
    model, path = whole_model("resnet18"), tmp_path / "weights.pth"
    torch.save(model.state_dict(), path)
    encoder = build("resnet18", path, out_indices=(0, 1))
    assert channels_and_strides(encoder) == ([64, 8], [2, 4])
    assert torch.equal(encoder.layer1[0].conv1.weight, model.layer1[0].conv1.weight)
    assert not hasattr(encoder, "layer2")


def test_swin_weights_in_the_original_order(tmp_path: Path):
    """The authors' files downsample at the end of a stage, timm at the start of the next."""
    model = whole_model("swin_tiny_patch4_window7_224")
    original = {
        name.replace("layers.1.downsample", "layers.0.downsample").replace("head.fc", "head"): tensor
        for name, tensor in model.state_dict().items()
    }
    torch.save({"model": original}, tmp_path / "weights.pth")
    encoder = build("swin_tiny_patch4_window7_224", tmp_path / "weights.pth")
    assert torch.equal(encoder.layers_1.downsample.reduction.weight, model.layers[1].downsample.reduction.weight)


def test_timms_own_weights_take_the_same_way(monkeypatch: pytest.MonkeyPatch):
    model, create = whole_model("resnet18"), timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda *a, **k: model if k.get("pretrained") else create(*a, **k))
    encoder = build("resnet18", "timm")
    assert torch.equal(encoder.layer4[1].bn2.running_var, model.layer4[1].bn2.running_var)


def broken(change: str) -> dict[str, Tensor]:
    state = whole_model("resnet18").state_dict()
    match change:
        case "missing":
            del state["layer2.0.conv1.weight"]
        case "misshapen":
            state["layer2.0.conv1.weight"] = state["layer2.0.conv1.weight"][:3].clone()
        case "deeper":
            state["layer2.2.conv1.weight"] = state["layer2.0.conv1.weight"].clone()
        case "foreign":
            state = {"weight": torch.zeros(1)}
    return state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", "1 tensors are wrong, the first: layer2.0.conv1.weight is missing"),
        ("misshapen", r"layer2.0.conv1.weight is \(3, 8, 3, 3\) instead of \(8, 8, 3, 3\)"),
        ("deeper", "layer2.2.conv1.weight is unknown"),
        ("foreign", "the first: weight is unknown; conv1.weight is missing"),
    ],
)
def test_weights_that_do_not_fit_are_refused(change: str, message: str, tmp_path: Path):
    torch.save(broken(change), tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=rf"networks.student.encoder.pretrained: .*weights.pth .*{message}"):
        build("resnet18", tmp_path / "weights.pth")


def test_weights_of_a_deeper_model_are_refused(tmp_path: Path):
    torch.save(timm.create_model("resnet34", **MODELS["resnet18"]).state_dict(), tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"layer1.2.conv1.weight is unknown"):
        build("resnet18", tmp_path / "weights.pth")


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_unreadable_weights_are_refused(name: str, tmp_path: Path):
    with pytest.raises(ValueError, match=f"there is no file .*{name}"):
        build("resnet18", tmp_path / name)
    (tmp_path / name).write_text("no weights")
    with pytest.raises(ValueError, match=rf"encoder.pretrained: .*no weights of resnet18 in .*{name}"):
        build("resnet18", tmp_path / name)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"name": "resnet18x"}, "encoder.name: timm has no model 'resnet18x'; nearest names: resnet18"),
        ({"name": "resnet18", "options": {"widths": 3}}, "timm cannot build 'resnet18' .*'widths'"),
        ({"name": "resnet18", "options": {"output_stride": 8}}, "encoder.options: remove output_stride"),
        ({"name": "mlp_mixer"}, "timm has no model"),
    ],
)
def test_unknown_models_and_options_are_refused(parameters: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        build_encoder(EncoderParameters(**parameters), output_stride=16)
