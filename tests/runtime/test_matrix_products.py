"""Matrix products by oneDNN: the same numbers as MKL's but for rounding, whatever is multiplied."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from igl_dt.runtime.determinism import configure_torch
from igl_dt.runtime.matrix_products import use_onednn
from igl_dt.runtime.parameters import RuntimeParameters


@pytest.fixture(autouse=True)
def _leave_as_found() -> Iterator[None]:
    yield
    use_onednn(False)


def products() -> list[Tensor]:
    """Compute products of many kinds, and gradients through them."""
    torch.manual_seed(0)
    x, layer = torch.randn(3, 40, 24, requires_grad=True), torch.nn.Linear(24, 56)
    plain = torch.nn.Linear(24, 8, bias=False)
    y = layer(x)
    (y.square().mean() + y.sum() + plain(x).sum()).backward()  # the sum's gradient has strides of 0
    square = torch.randn(30, 30)
    return [
        y.detach(), x.grad, layer.weight.grad, layer.bias.grad, plain.weight.grad,
        square[::2] @ square[:, ::3], square.t() @ square[0], torch.addmm(square, square, square, beta=0.5, alpha=2),
        torch.addmm(square[0], square, square), torch.addmm(square[:, :1], square, square),
        torch.addmm(square[:, 0], square, square), torch.addmm(square[0, :1].expand(30), square, square),
        torch.nn.functional.linear(square[:5], square, torch.randn(60)[::2]),
        square.double() @ square.double(), square.bfloat16() @ square.bfloat16(),
        torch.ones(2, 0) @ torch.ones(0, 3), torch.ones(0, 3) @ torch.ones(3, 2), square.long() @ square.long(),
    ]  # fmt: skip


def test_products_are_those_of_mkl_and_the_switch_goes_both_ways() -> None:
    results = {}
    for turn, onednn in enumerate((False, True, False, True)):
        use_onednn(onednn)
        results[turn] = products()
    for one, other in zip(results[0], results[1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    for first in (0, 1):
        assert all(torch.equal(*pair) for pair in zip(results[first], results[first + 2], strict=True))


def test_portable_runs_take_it() -> None:
    def of_onednn() -> bool:
        with torch.profiler.profile() as profile:
            torch.ones(8, 8) @ torch.ones(8, 8)
        return any("_linear_pointwise" in event.key for event in profile.key_averages())

    configure_torch(RuntimeParameters(device="cpu", portable=True))
    assert of_onednn()
    configure_torch(RuntimeParameters(device="cpu"))
    assert not of_onednn()
