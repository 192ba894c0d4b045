import pytest
import torch

from igl_dt.losses.pseudo_label import pseudo_label_loss, pseudo_labels
from igl_dt.utils.parameters import IGNORE_INDEX


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_without_threshold_it_is_the_argmax(dtype):
    logits = torch.randn(2, 5, 6, 7).to(dtype).requires_grad_()
    labels = pseudo_labels(logits)
    assert labels.dtype == torch.int64
    assert not labels.requires_grad
    assert torch.equal(labels, logits.argmax(dim=1))


def test_the_first_of_equally_probable_classes_is_taken():
    assert pseudo_labels(torch.zeros(1, 4, 2, 2)).eq(0).all()


def test_pixels_below_the_threshold_are_ignored():
    probabilities = torch.tensor([[0.9, 0.1], [0.3, 0.7], [0.45, 0.55], [0.8, 0.2]])
    logits = probabilities.log().T.reshape(1, 2, 2, 2)
    assert pseudo_labels(logits, 0.75).flatten().tolist() == [0, IGNORE_INDEX, IGNORE_INDEX, 0]
    assert pseudo_labels(logits, 0.6).flatten().tolist() == [0, 1, IGNORE_INDEX, 0]
    assert pseudo_labels(torch.zeros(1, 2, 1, 1), 0.5).item() == 0, "as probable as the threshold is probable enough"


def test_padding_is_ignored_with_and_without_threshold():
    logits = torch.randn(2, 3, 4, 5)
    padding = torch.zeros(2, 4, 5, dtype=torch.bool)
    padding[:, 3:] = True
    for threshold in (0.0, 0.5):
        labels = pseudo_labels(logits, threshold)
        padded = pseudo_labels(logits, threshold, padding)
        assert padded[padding].eq(IGNORE_INDEX).all()
        assert torch.equal(padded[~padding], labels[~padding])


def test_the_loss_is_the_mean_cross_entropy_over_pixels_that_are_not_ignored():
    logits, teacher = torch.randn(2, 2, 3, 4, 5, dtype=torch.float64).unbind()
    labels = pseudo_labels(teacher, 0.6)
    losses = -logits.log_softmax(dim=1)
    expected = [
        losses[b, labels[b, i, j], i, j].item()
        for b in range(2)
        for i in range(4)
        for j in range(5)
        if labels[b, i, j] != IGNORE_INDEX
    ]
    torch.testing.assert_close(pseudo_label_loss(logits, labels).item(), sum(expected) / len(expected))


def test_no_confident_pixel_gives_zero_and_a_gradient_of_zeros():
    logits = torch.zeros(1, 3, 4, 4, requires_grad=True)
    loss = pseudo_label_loss(logits, pseudo_labels(logits, 0.9))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_the_gradient_reaches_the_student_only():
    student = torch.randn(1, 3, 4, 4, requires_grad=True)
    teacher = torch.randn(1, 3, 4, 4, requires_grad=True)
    pseudo_label_loss(student, pseudo_labels(teacher)).backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


def test_pixels_below_the_threshold_weigh_as_losses_of_zero():
    logits, teacher = torch.randn(2, 2, 3, 4, 5).unbind()
    padding = torch.zeros(2, 4, 5, dtype=torch.bool)
    padding[0, 2:] = True
    labels = pseudo_labels(teacher, 0.6, padding)
    confident = int((labels != IGNORE_INDEX).sum())
    assert 0 < confident < 30
    expected = pseudo_label_loss(logits, labels) * confident / 30
    torch.testing.assert_close(pseudo_label_loss(logits, labels, padding), expected)
    labels = pseudo_labels(teacher, ignore=padding)
    assert torch.equal(pseudo_label_loss(logits, labels, padding), pseudo_label_loss(logits, labels))


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"\(2, 4, 5\).*\(2, 3, 4, 4\)"):
        pseudo_labels(torch.zeros(2, 3, 4, 4), ignore=torch.zeros(2, 4, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"\(2, 4, 5\).*\(2, 3, 4, 4\)"):
        pseudo_label_loss(torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 5, dtype=torch.int64))
    labels = torch.zeros(2, 4, 4, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"ignore of shape \(1, 4, 4\).*\(2, 4, 4\)"):
        pseudo_label_loss(torch.zeros(2, 3, 4, 4), labels, torch.zeros(1, 4, 4, dtype=torch.bool))
