"""Any weight file is evaluated on any split with masks, and what does not fit is named."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from igl_dt.data.datasets import DataError
from igl_dt.data.manifest import read_manifest
from igl_dt.data.parameters import DatasetParameters
from igl_dt.evaluation.evaluator import evaluate_network, score_evaluation
from igl_dt.inference.evaluate_weights import evaluate_weights
from igl_dt.inference.examples import predict_examples
from igl_dt.inference.parameters import WeightsEvaluationParameters
from igl_dt.networks.base import SegmentationNetwork
from igl_dt.networks.io import save_network
from igl_dt.runtime.context import RunContext
from igl_dt.runtime.parameters import EvaluationParameters, RuntimeParameters
from igl_dt.utils.files import digest
from tiny import CLASSES, tiny_network


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of two sizes, in the manner of CamVid."""
    root = tmp_path_factory.mktemp("weights") / "images"
    rng = np.random.default_rng(0)
    for split, count in {"train": 4, "val": 3}.items():
        for kind, most in (("images", 256), ("masks", 3)):
            (root / split / kind).mkdir(parents=True)
            for index in range(count):
                shape = (32, 48) if index % 3 else (40, 36)
                array = rng.integers(0, most, (*shape, 3) if kind == "images" else shape, dtype=np.uint8)
                Image.fromarray(array).save(root / split / kind / f"{split}{index}.png")
    (root / "classes.txt").write_text("\n".join(CLASSES))
    return root


@pytest.fixture
def context(root: Path) -> RunContext:
    runtime = RuntimeParameters(device="cpu", threads=1, workers=0)
    return RunContext(DatasetParameters(source="camvid", root=str(root)), EvaluationParameters(), runtime, seed=3)


@pytest.fixture
def val(context: RunContext) -> pd.DataFrame:
    samples = read_manifest(context.dataset).samples
    return samples[samples["split"] == "val"]


@pytest.fixture
def network() -> SegmentationNetwork:
    torch.manual_seed(0)
    network = tiny_network("student").eval()
    network.fingerprint, network.trained_by = "0123abc", "some_method"
    return network


@pytest.fixture
def weights(network: SegmentationNetwork, tmp_path: Path) -> Path:
    save_network(network, tmp_path / "any.safetensors")
    return tmp_path / "any.safetensors"


def test_any_file_is_measured_on_any_split_with_masks(network, val, weights: Path, context) -> None:
    scores, images = evaluate_weights(WeightsEvaluationParameters(weights=str(weights)), context)
    expected = evaluate_network(network, val, context)
    assert scores["miou"] == score_evaluation(expected)["miou"]
    assert (scores["architecture"], scores["fingerprint"], scores["split"], scores["images"]) == (
        *("deeplab_v3_plus", "0123abc", "val", 3),
    )
    assert scores["weights"] == digest(weights.read_bytes())
    pd.testing.assert_series_equal(images.set_index("id")["miou"], expected.image_miou, check_names=False)
    train = WeightsEvaluationParameters(weights=str(weights), split="train")
    assert evaluate_weights(train, context)[0]["images"] == 4


def test_what_does_not_fit_is_named(weights: Path, context, tmp_path: Path) -> None:
    def measure(**changes: str) -> None:
        evaluate_weights(WeightsEvaluationParameters(**{"weights": str(weights)} | changes), context)

    with pytest.raises(DataError, match=r"no images with masks in test; it has \{'train': 4, 'val': 3\}"):
        measure(split="test")
    with pytest.raises(ValueError, match=r"weights_evaluation\.weights: .*absent"):
        measure(weights="absent")
    with pytest.raises(ValueError, match=r"--params=weights_evaluation\.weights=PATH"):
        evaluate_weights(WeightsEvaluationParameters(), context)
    save_network(tiny_network("student", ("a", "b", "c")), tmp_path / "other.safetensors")
    with pytest.raises(DataError, match=r"predicts the classes a, b, c, but .* has road, tree, pole"):
        measure(weights=str(tmp_path / "other.safetensors"))


def test_networks_predict_in_the_precision_of_the_run(network, val, context) -> None:
    seen = []
    network.classifier.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    runtime = context.runtime.model_copy(update={"precision": "bfloat16"})
    for run, dtype in ((context, torch.float32), (context._replace(runtime=runtime), torch.bfloat16)):
        seen.clear()
        evaluate_network(network, val, run)
        predict_examples({"student": network}, val, pd.Series(0.5, index=val["id"]), 1, run)
        assert len(seen) > 1
        assert set(seen) == {dtype}
