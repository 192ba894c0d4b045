"""Matrix products by oneDNN instead of MKL.

The only kernels that MKL computes alike on processors of both makers are those of ``MKL_CBWR=COMPATIBLE``, from before
AVX. oneDNN's for AVX2 are two to three times as fast, and how they cut a product into blocks depends on its shape and
the number of threads alone (``compute_blocking_heuristic_avx2_f32``), so on no cache size.
"""

from typing import Any

import torch
from torch import Tensor

_MKL = {name: torch.library.get_kernel(f"aten::{name}", "CPU") for name in ("mm", "addmm")}
_library: torch.library.Library | None = None


def use_onednn(switch: bool) -> None:
    """Have oneDNN compute this process's products of float32 matrices on the CPU, or MKL again; batches stay MKL's."""
    global _library
    if switch and _library is None:
        _library = torch.library.Library("aten", "IMPL")
        _library.impl("mm", _mm, "CPU", with_keyset=True)
        _library.impl("addmm", _addmm, "CPU", with_keyset=True)
    elif not switch and _library is not None:
        _library._destroy()
        _library = None


def _mm(keys: Any, one: Tensor, other: Tensor) -> Tensor:
    if _fits(one) and _fits(other):
        return _product(one, other, None)
    result: Tensor = _MKL["mm"].call_boxed(keys, one, other)
    return result


def _addmm(keys: Any, bias: Tensor, one: Tensor, other: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    if beta == alpha == 1 and bias.shape == other.shape[1:] and _fits(one) and _fits(other) and _fits(bias):
        return _product(one, other, bias)
    result: Tensor = _MKL["addmm"].call_boxed(keys, bias, one, other, beta=beta, alpha=alpha)
    return result


def _fits(matrix: Tensor) -> bool:
    return matrix.dtype == torch.float32 and matrix.numel() > 0


def _product(one: Tensor, other: Tensor, bias: Tensor | None) -> Tensor:
    bias = None if bias is None else bias.contiguous()
    result: Tensor = torch.ops.mkldnn._linear_pointwise(_dense(one), _dense(other.t()), bias, "none", [], "")
    return result


def _dense(matrix: Tensor) -> Tensor:
    """Give the matrix in a layout that oneDNN reads: rows or columns without gaps."""
    return matrix if matrix.is_contiguous() or matrix.t().is_contiguous() else matrix.contiguous()
