import pytest
import torch

from igl_dt.losses.cutmix import cutmix, paste

BOXES = torch.zeros(3, 4, 6, dtype=torch.bool)
BOXES[0, 1:3, 2:5] = True
BOXES[2, 2:, :2] = True


def test_boxes_come_from_the_other_tensor():
    x, other = torch.randn(2, 3, 5, 4, 6).unbind()
    mixed = paste(x, BOXES, other)
    for sample in range(3):
        assert torch.equal(mixed[sample][:, BOXES[sample]], other[sample][:, BOXES[sample]])
        assert torch.equal(mixed[sample][:, ~BOXES[sample]], x[sample][:, ~BOXES[sample]])
    assert torch.equal(paste(x, BOXES, x.roll(1, 0)), cutmix(x, BOXES))


def test_without_boxes_nothing_is_pasted():
    x = torch.randn(3, 5, 4, 6)
    assert paste(x, None, -x) is x
    assert cutmix(x, None) is x


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"\(3, 4, 6\).*\(2, 5, 4, 6\)"):
        paste(torch.zeros(2, 5, 4, 6), BOXES, torch.zeros(2, 5, 4, 6))
