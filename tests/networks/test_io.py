"""Weight files: the same bytes, the same network, or a clear error."""

import json
import os
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants as hub
from safetensors.torch import load_file, save_file
from torch import Tensor

from igl_dt.networks.base import SegmentationNetwork
from igl_dt.networks.io import METADATA_KEY, adopt_weights, load_network, save_network, weight_file
from igl_dt.networks.parameters import NetworkChoice
from igl_dt.networks.registry import build_network

RESNET = {"name": "resnet18", "options": {"channels": [8] * 4}}


def res_unet(pretrained: str | None = None) -> SegmentationNetwork:
    section = {"encoder": {**RESNET, "pretrained": pretrained}, "decoder_channels": [4]}
    return build_network(NetworkChoice(architecture="res_unet", res_unet=section), ("sky", "road"))


@pytest.fixture
def small() -> SegmentationNetwork:
    return res_unet()


@pytest.fixture
def path(small: SegmentationNetwork, tmp_path: Path) -> Path:
    save_network(small, tmp_path / "res_unet.safetensors")
    return tmp_path / "res_unet.safetensors"


def test_round_trip_keeps_every_bit(network: SegmentationNetwork, images: Tensor, tmp_path: Path):
    network(images)  # moves the batch statistics
    save_network(network, tmp_path / "folder" / "network.safetensors")
    loaded = load_network(tmp_path / "folder" / "network.safetensors")
    assert type(loaded) is type(network)
    assert not loaded.training
    assert loaded.configuration == network.configuration
    assert loaded.class_names == ("sky", "road", "tree")
    with torch.no_grad():
        assert torch.equal(loaded(images).logits, network.eval()(images).logits)
    assert list((tmp_path / "folder").iterdir()) == [tmp_path / "folder" / "network.safetensors"]


def test_provenance_is_kept(small: SegmentationNetwork, path: Path):
    loaded = load_network(path)
    assert (loaded.fingerprint, loaded.trained_by) == (None, None)
    small.fingerprint, small.trained_by = "0123", "mean_teacher"
    save_network(small, path)
    loaded = load_network(path)
    assert (loaded.fingerprint, loaded.trained_by) == ("0123", "mean_teacher")


@pytest.mark.parametrize(
    ("old", "architecture"), [("student", "deeplab_v3_plus"), ("res_unet", "res_unet"), ("swin_unet", "swin_unet")]
)
def test_files_of_version_1_are_read(old: str, architecture: str, tmp_path: Path, images: Tensor):
    """They named networks, not architectures, and were normalised with ImageNet's mean whatever the backbone."""
    swin = {"name": "swin_tiny_patch4_window7_224", "options": {"embed_dim": 8, "depths": [2, 2], "num_heads": [1, 2]}}
    encoder = {"swin_unet": swin, "student": {"name": "tf_efficientnet_lite0"}}.get(old, RESNET)
    section = {"encoder": encoder, **({"decoder_channels": [4]} if old == "res_unet" else {})}
    choice = NetworkChoice.model_validate({"architecture": architecture, architecture: section})
    network = build_network(choice, ("sky", "road")).eval()
    network.normalise_with((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    header = {
        "version": 1,
        "fingerprint": "0123",
        "network": old,
        "parameters": network.configuration["parameters"],
        "class_names": ["sky", "road"],
    }
    save_file(network.state_dict(), tmp_path / "old.safetensors", metadata={METADATA_KEY: json.dumps(header)})
    loaded = load_network(tmp_path / "old.safetensors")
    assert (loaded.name, loaded.fingerprint, loaded.trained_by) == (architecture, "0123", None)
    assert loaded.configuration == network.configuration
    with torch.no_grad():
        assert torch.equal(loaded(images).logits, network(images).logits)


def test_equal_networks_give_equal_bytes(small: SegmentationNetwork, path: Path, tmp_path: Path):
    expected = path.read_bytes()
    small.to(memory_format=torch.channels_last)  # another order in memory, the same weights
    for attempt in range(5):
        save_network(small, tmp_path / f"{attempt}.safetensors")
        assert (tmp_path / f"{attempt}.safetensors").read_bytes() == expected
    save_network(load_network(path), path)
    assert path.read_bytes() == expected


def test_pretrained_weights_are_not_needed_again(small: SegmentationNetwork, tmp_path: Path):
    source = tmp_path / "resnet.pth"
    torch.save({**small.encoder.state_dict(), **_rest_of_resnet()}, source)
    network = res_unet(str(source))
    save_network(network, tmp_path / "network.safetensors")
    source.unlink()
    loaded = load_network(tmp_path / "network.safetensors")
    assert torch.equal(loaded.encoder.conv1.weight, small.encoder.conv1.weight)
    assert str(tmp_path).encode() not in (tmp_path / "network.safetensors").read_bytes()


def _rest_of_resnet() -> dict[str, Tensor]:
    import timm

    state = timm.create_model("resnet18", channels=[8] * 4).state_dict()
    return {name: tensor for name, tensor in state.items() if name.startswith(("layer2", "layer3", "layer4", "fc"))}


def test_loading_leaves_the_random_state_alone(path: Path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_network(path)
    assert torch.equal(torch.rand(3), expected)


def test_a_failed_write_leaves_the_old_file(path: Path, small: SegmentationNetwork, monkeypatch: pytest.MonkeyPatch):
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        save_network(small, path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("length", [0, 4, 100, 5000])
def test_truncated_files_are_refused(path: Path, length: int):
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"res_unet.safetensors is truncated or not a safetensors file"):
        load_network(path)


def test_missing_file(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"no weight file at .*nothing.safetensors"):
        load_network(tmp_path / "nothing.safetensors")


def _configuration(path: Path) -> dict[str, object]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()[METADATA_KEY])


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "not one of this project's networks"),
        ({"format": "pt"}, "not one of this project's networks"),
        ({METADATA_KEY: "{"}, "header is not JSON"),
        ({METADATA_KEY: '{"version": 99}'}, "has format version 99; this code reads 1 to 2"),
        ({METADATA_KEY: '{"version": 2, "architecture": "unknown"}'}, "not the configuration of a network"),
        (
            {
                METADATA_KEY: '{"version": 2, "architecture": "res_unet", "parameters": {"depth": 3}, '
                '"class_names": ["a"]}'
            },
            "depth",
        ),
    ],
)
def test_foreign_files_are_refused(path: Path, metadata: dict[str, str] | None, message: str):
    save_file(load_file(path), path, metadata=metadata)
    with pytest.raises(ValueError, match=rf"(?s)res_unet.safetensors.*{message}"):
        load_network(path)


@pytest.mark.parametrize("change", ["missing", "unknown", "shape", "dtype"])
def test_tensors_that_do_not_fit_are_refused(path: Path, change: str):
    tensors, metadata = load_file(path), {METADATA_KEY: json.dumps(_configuration(path))}
    match change:
        case "missing":
            del tensors["classifier.bias"]
        case "unknown":
            tensors["classifier.bias2"] = torch.zeros(1)
        case "shape":
            tensors["classifier.bias"] = torch.zeros(7)
        case "dtype":
            tensors["classifier.bias"] = tensors["classifier.bias"].half()
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(ValueError, match=r"1 tensors are missing, unknown or not .*classifier.bias"):
        load_network(path)


class TestInitialWeights:
    def test_of_the_same_classes_are_all_taken(self, small: SegmentationNetwork, tmp_path: Path):
        small.normalise_with((0.1, 0.2, 0.3), (1, 1, 1))
        save_network(small, tmp_path / "a.safetensors")
        network = res_unet()
        assert adopt_weights(network, str(tmp_path / "a.safetensors"), "init_from")
        assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in small.state_dict().items())
        assert network.configuration == small.configuration
        assert torch.equal(network.mean, small.mean)
        assert network.pretrained_sha256.keys() == {"init_from"}

    @pytest.mark.parametrize("classes", [("sky", "road", "tree"), ("road", "sky")])
    def test_of_other_classes_leave_the_classifier(self, small: SegmentationNetwork, path: Path, classes: tuple):
        section = {"encoder": RESNET, "decoder_channels": [4]}
        network = build_network(NetworkChoice(architecture="res_unet", res_unet=section), classes)
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        assert not adopt_weights(network, str(path), "init_from")
        for name, tensor in network.state_dict().items():
            source = before if name.startswith("classifier.") else small.state_dict()
            assert torch.equal(tensor, source[name]), name
        assert network.class_names == classes

    def test_of_another_network_are_refused(self, path: Path):
        section = {"encoder": RESNET, "decoder_channels": [8]}
        network = build_network(NetworkChoice(architecture="res_unet", res_unet=section), ("sky", "road"))
        with pytest.raises(ValueError, match=r"student.init_from: .*tensors are missing, unknown or not of the shape"):
            adopt_weights(network, str(path), "student.init_from")

    def test_take_the_place_of_a_backbones(self, path: Path):
        section = {"encoder": RESNET | {"pretrained": "nowhere.pth"}, "decoder_channels": [4]}
        choice = NetworkChoice(architecture="res_unet", init_from=str(path), res_unet=section)
        assert adopt_weights(build_network(choice, ("sky", "road")), str(path), "init_from")


def test_weights_of_a_hub(small: SegmentationNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As a download leaves them in the cache."""
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    root = tmp_path / "models--someone--something"
    (root / "refs").mkdir(parents=True)
    (root / "refs/main").write_text("0" * 40)
    save_network(small, root / "snapshots" / ("0" * 40) / "model.safetensors")
    for source in ("hf-hub:someone/something", "hf-hub:someone/something@main"):
        assert load_network(weight_file(source, "prediction.weights")).configuration == small.configuration
    with pytest.raises(ValueError, match=r"prediction\.weights: hf-hub:someone/else has no model\.safetensors that"):
        weight_file("hf-hub:someone/else", "prediction.weights")
