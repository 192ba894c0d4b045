"""Pseudo-labels compared with a truth and with each other, on predictions that are known."""

import pytest
import torch
from torch import Tensor, nn

from igl_dt.evaluation.pseudo_labels import measure_pseudo_labels
from igl_dt.networks.base import NetworkOutput
from igl_dt.runtime.parameters import EvaluationParameters


class Says(nn.Module):
    """Gives the class in a channel of the image a probability that is in the next one, in percent."""

    def __init__(self, channel: int) -> None:
        super().__init__()
        self.channel, self.weight = channel, nn.Parameter(torch.zeros(1))
        self.frozen = nn.BatchNorm2d(1).eval()

    def forward(self, images: Tensor) -> NetworkOutput:
        assert not self.training
        assert not torch.is_grad_enabled()
        label, probability = images[:, self.channel].long(), images[:, 2].double() / 100
        other = ((1 - probability) / 2).unsqueeze(1).expand(-1, 3, -1, -1)
        logits = other.scatter(1, label.unsqueeze(1), probability.unsqueeze(1)).log()
        return NetworkOutput(logits, images.float())


def image(one: list[int], other: list[int], percent: list[int]) -> Tensor:
    return torch.tensor([one, other, percent], dtype=torch.uint8).unsqueeze(1)


def measure(*images: tuple[Tensor, Tensor | None]) -> dict[str, float]:
    return measure_pseudo_labels({"one": Says(0), "other": Says(1)}, images, EvaluationParameters())


IMAGE = image([0, 0, 1, 2], [0, 1, 1, 2], [95, 95, 80, 95])


def test_shares_are_of_the_pixels_with_a_truth() -> None:
    truth = torch.tensor([[0, 0, 2, 255]], dtype=torch.uint8)
    assert measure((IMAGE, truth)) == {
        "pseudo_label_accuracy.one": pytest.approx(2 / 3),
        "pseudo_label_accuracy.other": pytest.approx(1 / 3),
        "pseudo_label_confident.one": pytest.approx(2 / 3),
        "pseudo_label_confident.other": pytest.approx(2 / 3),
        "pseudo_label_agreement": pytest.approx(2 / 3),
    }


def test_images_count_by_their_pixels() -> None:
    small = image([1], [1], [95]), torch.tensor([[1]], dtype=torch.uint8)
    found = measure((IMAGE, torch.tensor([[1, 1, 1, 1]], dtype=torch.uint8)), small)
    assert found["pseudo_label_accuracy.one"] == pytest.approx(2 / 5)
    assert found["pseudo_label_agreement"] == pytest.approx(4 / 5)


def test_without_a_truth_there_is_no_accuracy() -> None:
    assert measure((IMAGE, None)) == {
        "pseudo_label_confident.one": 0.75,
        "pseudo_label_confident.other": 0.75,
        "pseudo_label_agreement": 0.75,
    }


def test_one_network_agrees_with_nobody() -> None:
    found = measure_pseudo_labels({"one": Says(0)}, [(IMAGE, None)], EvaluationParameters())
    assert found == {"pseudo_label_confident.one": 0.75}


def test_without_a_pixel_there_is_nothing() -> None:
    assert measure() == {}
    assert measure((IMAGE, torch.full((1, 4), 255, dtype=torch.uint8))) == {}


def test_leaves_modes_and_the_random_generator_as_they_are() -> None:
    networks = {"one": Says(0).train(), "other": Says(1).eval()}
    networks["one"].frozen.eval()
    state = torch.get_rng_state()
    measure_pseudo_labels(networks, [(IMAGE, None)], EvaluationParameters())
    assert networks["one"].training
    assert not networks["one"].frozen.training
    assert not networks["other"].training
    assert torch.equal(torch.get_rng_state(), state)
