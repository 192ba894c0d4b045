"""ONNX files compute what the networks do, for any number and size of images, and say how they are to be used."""

import json
import logging
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from pydantic import ValidationError

from igl_dt.data.parameters import DatasetParameters
from igl_dt.inference import export_onnx as export
from igl_dt.inference.export_onnx import ExportError, export_network
from igl_dt.inference.parameters import OPSETS, ExportParameters
from igl_dt.networks.base import SegmentationNetwork
from igl_dt.networks.io import save_network
from igl_dt.networks.parameters import NetworkChoice
from igl_dt.networks.registry import build_network, rebuild_network
from igl_dt.utils.palette import class_palette
from tiny import CLASSES, NETWORKS, SWIN

SHIFTED = SWIN | {"options": {"embed_dim": 24, "depths": [1, 1, 2], "num_heads": [2, 4, 8]}}
"""Windows of 7 that are shifted by more than the maps of small images are wide."""


def build(role: str, **changes: object) -> SegmentationNetwork:
    choice = NETWORKS[role]
    section = choice.section(choice.architecture) | changes
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_network(
            NetworkChoice.model_validate(choice.model_dump() | {choice.architecture: section}), CLASSES
        )
    network.fingerprint, network.trained_by = "0123abc", "igl_dt"
    return network.eval()


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    save_network(build("student"), tmp_path / "mine.safetensors")
    return tmp_path / "mine.safetensors"


def parameters(weights: Path | None, **changes: object) -> ExportParameters:
    values = {"weights": None if weights is None else str(weights), "folder": str(Path(weights or ".").parent / "onnx")}
    return ExportParameters(**(values | changes))


def differences(file: Path, network: SegmentationNetwork, shapes: list[tuple[int, int, int]]) -> list[float]:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    rng, found = np.random.default_rng(5), []
    for batch, height, width in shapes:
        images = rng.integers(0, 256, (batch, 3, height, width), dtype=np.uint8)
        (logits,) = session.run(None, {"images": images})
        with torch.inference_mode():
            expected = network(torch.from_numpy(images)).logits.numpy()
        assert logits.shape == expected.shape == (batch, 3, height, width)
        assert logits.dtype == np.float32
        found.append(float(np.abs(logits - expected).max()))
    return found


@pytest.mark.parametrize(
    ("name", "changes"), [*((name, {}) for name in NETWORKS), ("global_teacher", {"encoder": SHIFTED})]
)
def test_onnxruntime_computes_the_same_for_any_number_and_size_of_images(
    tmp_path: Path, name: str, changes: dict
) -> None:
    network = build(name, **changes)
    save_network(network, tmp_path / "a.safetensors")
    file = export_network(parameters(tmp_path / "a.safetensors"))
    assert file == tmp_path / "onnx/a.onnx"
    shapes = [(1, 64, 64), (2, 37, 90), (3, 5, 120), (1, 1, 1), (5, 32, 96)]
    assert max(differences(file, network, shapes)) < 1e-5
    assert str(Path(export.__file__).parents[2]).encode() not in file.read_bytes()


@pytest.mark.parametrize("opset", [OPSETS[0], OPSETS[-1]])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_opset_that_may_be_given_works(tmp_path: Path, name: str, opset: int) -> None:
    network = build(name)
    save_network(network, tmp_path / "a.safetensors")
    file = export_network(parameters(tmp_path / "a.safetensors", opset=opset, size=(40, 50)))
    assert [entry.version for entry in onnx.load(file).opset_import if entry.domain == ""] == [opset]
    assert max(differences(file, network, [(1, 40, 50), (4, 40, 50)])) < 1e-5
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    shape = session.get_inputs()[0].shape
    assert shape == ["batch", 3, 40, 50]
    assert session.get_outputs()[0].shape == ["batch", len(CLASSES), 40, 50]


def test_the_file_says_how_it_is_to_be_used(weights: Path) -> None:
    file = export_network(parameters(weights), DatasetParameters(root=".", short_side=48))
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (images,), (logits,) = session.get_inputs(), session.get_outputs()
    assert (images.name, images.type, images.shape) == ("images", "tensor(uint8)", ["batch", 3, "height", "width"])
    assert (logits.name, logits.type) == ("logits", "tensor(float)")
    assert logits.shape == ["batch", len(CLASSES), "height", "width"]
    said = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    assert said["class_names"] == list(CLASSES)
    assert said["colors"] == class_palette(3).tolist()
    assert [said[size] for size in ("image_size", "short_side", "long_side")] == [None, 48, None]
    assert (said["fingerprint"], said["trained_by"]) == ("0123abc", "igl_dt")
    assert said["normalization"]["mean"] == [0.485, 0.456, 0.406]
    assert "inside" in said["normalization"]["where"]
    assert said["layout"].keys() == {"images", "logits"}
    assert rebuild_network(said["network"]).configuration == build("student").configuration


def test_the_file_says_how_images_were_resized_for_the_training(tmp_path: Path) -> None:
    network = build("student")
    network.sizes = {"image_size": None, "short_side": None, "long_side": 64}
    save_network(network, tmp_path / "mine.safetensors")
    file = export_network(parameters(tmp_path / "mine.safetensors"), DatasetParameters(root=".", image_size=(48, 64)))
    metadata = (
        onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).get_modelmeta().custom_metadata_map
    )
    assert {key: json.loads(metadata[key]) for key in network.sizes} == network.sizes
    assert "resized to 64 pixels on the longer side" in (file.with_suffix("") / "README.md").read_text("utf-8")


def test_nothing_is_overwritten_unless_asked_and_the_same_network_is_the_same_file(weights: Path) -> None:
    file = weights.parent / "net.onnx"
    file.write_bytes(b"mine")
    with pytest.raises(ExportError, match=r"net\.onnx exists already: .*export\.overwrite=true"):
        export_network(parameters(weights, output=str(file)))
    assert file.read_bytes() == b"mine"
    export_network(parameters(weights, output=str(file), overwrite=True))
    assert file.read_bytes() == export_network(parameters(weights)).read_bytes()


def test_a_file_that_computes_something_else_is_not_written(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    convert = export._convert

    def spoilt(network: SegmentationNetwork, *others: object) -> bytes:
        with torch.no_grad():
            network.classifier.bias += 1e-2
            content = convert(network, *others)
            network.classifier.bias -= 1e-2
        return content

    monkeypatch.setattr(export, "_convert", spoilt)
    with pytest.raises(ExportError, match=r"wrong on 1 images of .*, and was not written: .*export\.size"):
        export_network(parameters(weights))
    assert not (weights.parent / "onnx").exists()


def test_an_operation_without_counterpart_is_named(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = export._Logits.forward
    monkeypatch.setattr(export._Logits, "forward", lambda self, images: torch.linalg.svdvals(original(self, images)))
    with pytest.raises(ExportError, match=r"torch cannot express deeplab_v3_plus in opset 18: .*svdvals"):
        export_network(parameters(weights))
    assert not (weights.parent / "onnx").exists()


@pytest.mark.parametrize("opset", [13, 21])
def test_a_wrong_opset_is_refused_with_the_right_range(opset: int) -> None:
    with pytest.raises(ValidationError, match=f"must be {OPSETS[0]} to {OPSETS[-1]}, not {opset}"):
        ExportParameters(folder="f", opset=opset)


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_the_extra_is_named_where_it_is_missing(weights: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ExportError, match=r"pip install 'igl-dt\[onnx\]'"):
        export_network(parameters(weights))


def test_weights_that_are_missing_or_foreign_are_named(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(ValueError, match=r"--params=export\.weights=PATH"):
        export_network(parameters(None))
    with pytest.raises(ValueError, match=r"export\.weights: there is no file .*absent"):
        export_network(parameters(tmp_path / "absent"))
    (tmp_path / "foreign.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"foreign\.safetensors"):
        export_network(parameters(tmp_path / "foreign.safetensors"))
    with pytest.raises(ExportError, match=r"export\.output: .* must end in \.onnx"):
        export_network(parameters(weights, output="net.pb"))


def test_torch_says_nothing(weights: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "igl_dt")  # our own line is no word of torch's, wherever earlier tests send it
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export_network(parameters(weights))
    assert capfd.readouterr() == ("", "")
