"""The peak of matrix products: products and their sizes, with a simulated clock."""

from collections.abc import Callable

import pytest
import torch

from mixlab.measure import peak
from mixlab.measure.peak import matrix_product_peak, product

CPU = torch.device("cpu")


def test_the_peak_is_that_of_the_fastest_sample(monkeypatch: pytest.MonkeyPatch):
    matrix_product_peak.cache_clear()
    timed = {"1024": [2.0, 1.0, 4.0], "2048": [4.0, 5.0]}
    monkeypatch.setattr(peak, "interleaved", lambda products, rounds: {name: timed[name] for name in products})
    monkeypatch.setattr(peak, "product", lambda size, device, dtype: lambda: None)
    assert matrix_product_peak(CPU, torch.float32) == 2048**3 / 4.0
    matrix_product_peak.cache_clear()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_product_has_all_multiply_accumulates_of_square_matrices(dtype, monkeypatch: pytest.MonkeyPatch):
    operands = []
    stock = torch.mm

    def mm(left: torch.Tensor, right: torch.Tensor, *, out: torch.Tensor) -> torch.Tensor:
        operands.append((left.shape, right.shape, left.dtype, right.dtype))
        return stock(left, right, out=out)

    monkeypatch.setattr(torch, "mm", mm)
    multiply: Callable[[], object] = product(8, CPU, dtype)
    multiply()
    assert operands == [((8, 8), (8, 8), dtype, dtype)]
