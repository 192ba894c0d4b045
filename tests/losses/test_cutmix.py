import pytest
import torch

from igl_dt.losses.cutmix import cutmix
from igl_dt.losses.pseudo_label import pseudo_labels

BOXES = torch.zeros(3, 6, 8, dtype=torch.bool)
BOXES[0, 1:3, 2:7] = True
BOXES[2, 4:, :2] = True

TENSORS = {
    "images": torch.randint(0, 256, (3, 3, 6, 8), dtype=torch.uint8),
    "logits": torch.randn(3, 5, 6, 8),
    "half logits": torch.randn(3, 5, 6, 8).bfloat16(),
    "labels": torch.randint(0, 5, (3, 6, 8)),
    "padding": torch.rand(3, 6, 8) > 0.5,
}


@pytest.mark.parametrize("name", TENSORS)
def test_the_box_comes_from_the_sample_before_and_the_rest_stays(name):
    x = TENSORS[name]
    before = x.clone()
    mixed = cutmix(x, BOXES)
    assert torch.equal(x, before), "the input must not change"
    assert mixed.shape == x.shape
    assert mixed.dtype == x.dtype
    for sample in range(3):
        for row in range(6):
            for column in range(8):
                source = sample - 1 if BOXES[sample, row, column] else sample
                assert torch.equal(mixed[sample, ..., row, column], x[source, ..., row, column])


def test_a_sample_without_box_and_a_batch_of_one_stay():
    x = TENSORS["logits"]
    assert torch.equal(cutmix(x, BOXES)[1], x[1])
    assert torch.equal(cutmix(x[:1], torch.ones(1, 6, 8, dtype=torch.bool)), x[:1])


def test_labels_of_mixed_logits_are_mixed_labels():
    logits = TENSORS["logits"]
    assert torch.equal(pseudo_labels(cutmix(logits, BOXES)), cutmix(pseudo_labels(logits), BOXES))


def test_boxes_follow_the_resolution_of_a_feature_map():
    boxes = torch.zeros(2, 8, 12, dtype=torch.bool)
    boxes[0, 4:8, 0:8] = True
    features = torch.randn(2, 7, 2, 3)
    mixed = cutmix(features, boxes)
    assert torch.equal(mixed[0, :, 1, :2], features[1, :, 1, :2])
    assert torch.equal(mixed[0, :, 0], features[0, :, 0])
    assert torch.equal(mixed[0, :, 1, 2], features[0, :, 1, 2])
    assert torch.equal(mixed[1], features[1])


def test_the_gradient_goes_where_the_values_came_from():
    x = torch.randn(3, 2, 6, 8, requires_grad=True)
    cutmix(x, BOXES)[0].sum().backward()
    inside = BOXES[0].expand(2, 6, 8)
    assert torch.equal(x.grad[0], (~inside).float())
    assert torch.equal(x.grad[2], inside.float())
    assert not x.grad[1].any()


@pytest.mark.parametrize("shape", [(2, 3, 6, 8), (3, 6)])
def test_shapes_that_do_not_fit_are_named(shape):
    with pytest.raises(ValueError, match="shape") as error:
        cutmix(torch.zeros(shape), BOXES)
    assert str(shape) in str(error.value)
    assert "(3, 6, 8)" in str(error.value)
