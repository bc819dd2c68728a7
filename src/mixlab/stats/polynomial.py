"""Polynomials of degree 2 through points: exact for counted numbers, least squares for measured ones."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np


def exact_quadratic(points: Sequence[tuple[int, int]]) -> tuple[Fraction, Fraction, Fraction] | None:
    """(constant, linear, quadratic) coefficients of the polynomial through all points (x, y), in exact arithmetic.

    points  at least three, with distinct x

    None if no polynomial of degree 2 or less goes through all of them.
    """
    (x0, y0), (x1, y1), (x2, y2) = points[:3]
    first, second = Fraction(y1 - y0, x1 - x0), Fraction(y2 - y1, x2 - x1)
    quadratic = (second - first) / (x2 - x0)
    linear = first - quadratic * (x0 + x1)
    constant = y0 - linear * x0 - quadratic * x0**2
    if any(constant + linear * x + quadratic * x**2 != y for x, y in points):
        return None
    return constant, linear, quadratic


def fitted_quadratic(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float, float]:
    """(constant, linear, quadratic) coefficients with the smallest sum of squared relative errors of positive `ys`."""
    x, y = np.asarray(xs, dtype=float), np.asarray(ys, dtype=float)
    scale = x.max()
    columns = np.stack([np.ones_like(x), x / scale, (x / scale) ** 2], axis=1) / y[:, None]
    constant, linear, quadratic = np.linalg.lstsq(columns, np.ones_like(y))[0].tolist()
    return constant, linear / scale, quadratic / scale**2
