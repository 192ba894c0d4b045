"""Example images, from the best to the worst, with the predictions of several networks."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from igl_dt.data.parameters import DatasetParameters
from igl_dt.inference.examples import predict_examples
from igl_dt.runtime.context import RunContext
from igl_dt.runtime.parameters import EvaluationParameters, RuntimeParameters
from pixels import PixelNetwork

IDS = ["a", "b", "c", "d", "e"]
SCORES = pd.Series([0.1, 0.5, float("nan"), 0.9, 0.3], index=IDS)


class Elsewhere(PixelNetwork):
    """Notes where it is moved to."""

    def __init__(self) -> None:
        super().__init__()
        self.moves: list[str] = []

    def to(self, *args: object, **kwargs: object) -> "Elsewhere":
        self.moves.append(str(args[0]))
        return self


@pytest.fixture
def run(tmp_path: Path) -> tuple[RunContext, pd.DataFrame]:
    for number, name in enumerate(IDS):
        Image.fromarray(np.full((4 + number, 6, 3), 40 * number, np.uint8)).save(tmp_path / f"{name}.png")
        Image.fromarray(np.full((4 + number, 6), number % 3, np.uint8)).save(tmp_path / f"{name}_mask.png")
    rows = pd.DataFrame(
        {"id": IDS, "image": [f"{name}.png" for name in IDS], "mask": [f"{name}_mask.png" for name in IDS]}
    )
    dataset = DatasetParameters(source="camvid", root=str(tmp_path))
    return RunContext(dataset, EvaluationParameters(), RuntimeParameters(device="cpu"), 0), rows


@pytest.mark.parametrize(("count", "ids"), [(1, "d"), (2, "da"), (3, "dea"), (4, "dbea"), (9, "dbea")])
def test_images_go_from_the_best_to_the_worst(run: tuple[RunContext, pd.DataFrame], count: int, ids: str) -> None:
    context, rows = run
    network = PixelNetwork().eval()
    examples = predict_examples({"one": network}, rows, SCORES, count, context)  # type: ignore[dict-item]
    numbers = range(1, len(ids) + 1)
    assert examples.keys() == {f"{kind}/{number}" for kind in ("image", "truth", "one") for number in numbers}
    heights = [4 + IDS.index(name) for name in ids]
    assert [len(examples[f"image/{number}"]) for number in numbers] == heights
    for number in numbers:
        image = torch.from_numpy(examples[f"image/{number}"]).permute(2, 0, 1)[None]
        with torch.no_grad():
            expected = network(image).logits.argmax(dim=1)[0]
        assert examples[f"one/{number}"].dtype == np.uint8
        assert examples[f"one/{number}"].tolist() == expected.tolist()


def test_images_without_a_score_are_shown_if_there_are_no_others(run: tuple[RunContext, pd.DataFrame]) -> None:
    context, rows = run
    examples = predict_examples({}, rows, SCORES * float("nan"), 2, context)
    assert [len(examples[f"truth/{number}"]) for number in (1, 2)] == [4, 8]


def test_networks_are_returned_to_their_device(run: tuple[RunContext, pd.DataFrame]) -> None:
    context, rows = run
    networks = {"one": Elsewhere(), "other": Elsewhere()}
    predict_examples(networks, rows, SCORES, 1, context)  # type: ignore[arg-type]
    assert [network.moves for network in networks.values()] == 2 * [["cpu", "cpu"]]  # there and back
