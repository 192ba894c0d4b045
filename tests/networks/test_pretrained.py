"""Weights from packages, from timm's cache and from a hub; frozen backbones."""

import hashlib
import importlib.metadata
import re
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants as hub
from safetensors.torch import save_file
from torch import Tensor

from igl_dt.networks import pretrained
from igl_dt.networks.base import SegmentationNetwork
from igl_dt.networks.encoder import build_encoder
from igl_dt.networks.io import load_network, save_network
from igl_dt.networks.parameters import EncoderParameters, NetworkChoice
from igl_dt.networks.pretrained import PACKAGED, packaged_weights
from igl_dt.networks.registry import build_network

KEY = "networks.student.encoder.pretrained"
LITE = {"name": "tf_efficientnet_lite0", "pretrained": "package"}


def encoder(name: str, source: str) -> torch.nn.Module:
    return build_encoder(EncoderParameters(name=name, pretrained=source), "networks.student.encoder")


def deeplab(**parameters: object) -> SegmentationNetwork:
    section = {"encoder": parameters, "channels": 8, "dropout": 0.0}
    return build_network(NetworkChoice(architecture="deeplab_v3_plus", deeplab_v3_plus=section), ("a", "b"))


class TestPackage:
    @pytest.mark.parametrize(
        ("name", "best", "logits"),
        [
            ("tf_efficientnet_lite0", 782, [-0.45917, -0.12702, 0.93632, 0.62607]),
            ("tf_efficientnet_lite1", 149, [-0.03900, 0.67720, 1.20934, 1.57688]),
            ("tf_efficientnet_lite2", 908, [-0.51195, 0.43957, 0.16545, 1.28614]),
        ],
    )
    def test_classifier_gives_the_stored_logits(self, name: str, best: int, logits: list[float]):
        """Stored when the same weights named what is in photographs."""
        weights, digest = packaged_weights(name, KEY)
        assert digest == PACKAGED[name].sha256
        model = timm.create_model(name).eval()
        missing, unknown = model.load_state_dict(weights, strict=False)
        assert unknown == []
        assert all(key.endswith("num_batches_tracked") for key in missing)
        with torch.no_grad():
            result = model(torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64))[0]
        assert result.argmax() == best
        torch.testing.assert_close(result[:4], torch.tensor(logits), atol=1e-3, rtol=1e-3)

    @pytest.mark.parametrize("architecture", ["deeplab_v3_plus", "unet"])
    def test_backbone_starts_from_it(self, architecture: str, tmp_path: Path):
        choice = NetworkChoice.model_validate({"architecture": architecture, architecture: {"encoder": LITE}})
        network = build_network(choice, ("a", "b"))
        stem = next(tensor for name, tensor in network.state_dict().items() if name.endswith("conv_stem.weight"))
        weights, digest = packaged_weights("tf_efficientnet_lite0", KEY)
        assert torch.equal(stem, weights["conv_stem.weight"])
        assert network.configuration["mean"] == [0.5, 0.5, 0.5]
        assert network.pretrained_sha256 == {"encoder": digest}
        save_network(network, tmp_path / "network.safetensors")
        loaded = load_network(tmp_path / "network.safetensors")
        assert loaded.pretrained_sha256 == {"encoder": digest}
        assert loaded.configuration == network.configuration

    def test_other_backbones_have_none(self):
        with pytest.raises(
            ValueError, match=rf"{KEY}: .* no package with weights of resnet18; .*tf_efficientnet_lite0"
        ):
            encoder("resnet18", "package")

    def test_options_that_change_shapes_are_refused(self):
        message = r"package does not fit .*'in_chans': 1.*conv_stem.weight is \(32, 3, 3, 3\)"
        with pytest.raises(ValueError, match=message):
            deeplab(**LITE, options={"in_chans": 1})

    def test_missing_package(self, monkeypatch: pytest.MonkeyPatch):
        absent = {"tf_efficientnet_lite0": PACKAGED["tf_efficientnet_lite0"]._replace(package="no-such-package")}
        monkeypatch.setattr(pretrained, "PACKAGED", absent)
        with pytest.raises(ValueError, match=r"no-such-package .*is missing: pip install igl-dt\[pretrained\]"):
            encoder("tf_efficientnet_lite0", "package")

    @pytest.mark.parametrize("damage", ["truncated", "another package's", "no file"])
    def test_damaged_package(self, damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        package, file, _ = PACKAGED["tf_efficientnet_lite0"]
        installed = importlib.metadata.distribution(package)
        other = PACKAGED["tf_efficientnet_lite1"]
        path = tmp_path / file
        path.parent.mkdir(parents=True)
        if damage == "truncated":
            path.write_bytes(Path(str(installed.locate_file(file))).read_bytes()[:1000])
        elif damage == "another package's":
            path.write_bytes(Path(str(installed.locate_file(other.file))).read_bytes())

        class Damaged:
            def locate_file(self, file: str) -> Path:
                return tmp_path / file

        monkeypatch.setattr(importlib.metadata, "distribution", lambda _: Damaged())
        message = "has no file" if damage == "no file" else "is truncated or another file than expected: its sha256 is"
        with pytest.raises(ValueError, match=rf"{KEY}: .*{message}.*reinstall.*igl-dt\[pretrained\]"):
            encoder("tf_efficientnet_lite0", "package")

    def test_changed_digest(self, monkeypatch: pytest.MonkeyPatch):
        changed = {"tf_efficientnet_lite0": PACKAGED["tf_efficientnet_lite0"]._replace(sha256="0" * 64)}
        monkeypatch.setattr(pretrained, "PACKAGED", changed)
        with pytest.raises(
            ValueError, match=rf"its sha256 is {PACKAGED['tf_efficientnet_lite0'].sha256[:8]}.* of 0000"
        ):
            encoder("tf_efficientnet_lite0", "package")

    @pytest.mark.parametrize("change", ["fewer", "order", "kind"])
    def test_tensors_that_do_not_correspond(self, change: str, monkeypatch: pytest.MonkeyPatch):
        """Where another version of timm orders its modules differently, say."""
        tensors = list(timm.create_model("tf_efficientnet_lite0").state_dict().items())
        match change:
            case "fewer":
                tensors, message = tensors[:-1], "has 246 tensors instead of 247"
            case "order":
                tensors[0], tensors[6] = tensors[6], tensors[0]
                message = r"shape \(32, 1, 3, 3\) stands where conv_stem.weight of shape \(32, 3, 3, 3\) should be"
            case "kind":  # of the same shape
                tensors[1], tensors[2] = tensors[2], tensors[1]
                message = "bn1.bias of shape .* stands where bn1.weight"
        monkeypatch.setattr(torch, "load", lambda *_, **__: dict(tensors))
        with pytest.raises(ValueError, match=message):
            packaged_weights("tf_efficientnet_lite0", KEY)


class TestTimm:
    @pytest.fixture(autouse=True)
    def offline(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(hub, "HF_HOME", str(tmp_path))
        monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def cache(self, folder: Path, repository: str, config: str | None = None) -> dict[str, Tensor]:
        """Write what a download leaves in the cache."""
        root = folder / "hub" / f"models--{repository.replace('/', '--')}"
        (root / "refs").mkdir(parents=True)
        (root / "refs" / "main").write_text("0" * 40)
        snapshot = root / "snapshots" / ("0" * 40)
        snapshot.mkdir(parents=True)
        weights = timm.create_model("test_resnet").state_dict()
        save_file(weights, snapshot / "model.safetensors")
        if config:
            (snapshot / "config.json").write_text(config)
        return weights

    def test_without_a_network_the_message_says_what_to_put_where(self, tmp_path: Path):
        message = (
            rf"{KEY}: .*HF_HOME=FOLDER python -c .*timm.create_model\('test_resnet', pretrained=True\).* "
            rf"copy FOLDER .*set HF_HOME to it \(now {re.escape(str(tmp_path))}\)"
        )
        with pytest.raises(ValueError, match=message):
            encoder("test_resnet", "timm")

    def test_cached_weights_need_no_network(self, tmp_path: Path):
        weights = self.cache(tmp_path, "timm/test_resnet.r160_in1k")
        assert torch.equal(encoder("test_resnet", "timm").layer2[0].conv1.weight, weights["layer2.0.conv1.weight"])

    def test_models_without_weights(self):
        with pytest.raises(ValueError, match="timm has no pretrained weights of resnet50t; give a file, or null"):
            encoder("resnet50t", "timm")

    def test_a_hubs_repository(self, tmp_path: Path):
        config = '{"architecture": "test_resnet", "pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [1, 1, 1]}}'
        weights = self.cache(tmp_path, "someone/something", config)
        backbone = encoder("test_resnet", "hf-hub:someone/something")
        assert torch.equal(backbone.conv1[0].weight, weights["conv1.0.weight"])
        assert tuple(backbone.pretrained_cfg["mean"]) == (0.1, 0.2, 0.3)
        with pytest.raises(ValueError, match="hf-hub:someone/something does not fit the encoder"):
            encoder("resnet18", "hf-hub:someone/something")
        with pytest.raises(ValueError, match=r"weights of hf-hub:someone/else in its cache.*HF_HOME=FOLDER"):
            encoder("test_resnet", "hf-hub:someone/else")


def test_a_files_digest_is_recorded(tmp_path: Path):
    path = tmp_path / "resnet.pth"
    torch.save(timm.create_model("test_resnet").state_dict(), path)
    network = deeplab(name="test_resnet", pretrained=str(path))
    assert network.pretrained_sha256 == {"encoder": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert deeplab(name="test_resnet").pretrained_sha256 == {}


def test_no_code_in_a_file_is_run(tmp_path: Path):
    class Surprise:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "run",))  # type: ignore[return-value]

    torch.save({"model": Surprise()}, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"no weights of test_resnet in .*weights.pth"):
        encoder("test_resnet", str(tmp_path / "weights.pth"))
    assert not (tmp_path / "run").exists()


class TestFreezing:
    def step(self, network: SegmentationNetwork, images: Tensor) -> set[str]:
        """Names of the tensors that a training step changes."""
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        network.train()
        network(images).logits.square().mean().backward()
        optimizer.step()
        return {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}

    @pytest.mark.parametrize("architecture", ["deeplab_v3_plus", "unet", "swin_unet"])
    def test_frozen_encoder(self, architecture: str, images: Tensor):
        swin = {"embed_dim": 8, "depths": [2, 2], "num_heads": [1, 2], "window_size": 4}
        backbone = {"name": "test_resnet"}
        if architecture == "swin_unet":
            backbone = {"name": "swin_tiny_patch4_window7_224", "options": swin}
        elif architecture == "unet":
            backbone = {"name": "resnet18", "options": {"channels": [8] * 4}}
        section = {"encoder": {**backbone, "freeze": True}}
        network = build_network(
            NetworkChoice.model_validate({"architecture": architecture, architecture: section}), ("a",)
        )
        assert not network.encoder.training
        assert network.training
        changed = self.step(network, images)
        assert not any(name.startswith("encoder.") for name in changed)
        rest = {name for name, _ in network.named_parameters() if not name.startswith("encoder.")}
        assert rest <= changed | {name for name in rest if name.endswith("bias")}
        assert all(p.requires_grad == (not n.startswith("encoder.")) for n, p in network.named_parameters())

    @pytest.mark.parametrize("frozen", [False, True])
    def test_frozen_batch_norm(self, frozen: bool, images: Tensor):
        changed = self.step(deeplab(name="test_resnet", freeze_batch_norm=frozen), images)
        statistics = {name for name in changed if "running" in name}
        assert any(name.startswith("encoder.") for name in statistics) != frozen
        assert any(name.startswith("pyramid.") for name in statistics)
        assert "encoder.conv1.0.weight" in changed

    def test_evaluation_and_copies(self, images: Tensor):
        import copy

        network = copy.deepcopy(deeplab(name="test_resnet", freeze=True))
        network.eval().train()
        assert not any(module.training for module in network.encoder.modules())
        assert network.pyramid.training
