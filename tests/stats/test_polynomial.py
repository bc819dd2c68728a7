"""Polynomials of degree 2: exact through counted points, least squares through measured ones."""

from fractions import Fraction

import pytest

from mixlab.stats.polynomial import exact_quadratic, fitted_quadratic


def test_the_terms_of_an_exact_polynomial_are_fractions_without_rounding():
    points = [(x, 10**18 + 3 * x + x * (x + 1) // 2) for x in (1, 3, 8, 20)]
    assert exact_quadratic(points) == (10**18, Fraction(7, 2), Fraction(1, 2))


def test_a_line_has_a_quadratic_term_of_exactly_0():
    assert exact_quadratic([(49, 7 * 49 + 5), (196, 7 * 196 + 5), (784, 7 * 784 + 5)]) == (5, 7, 0)


def test_points_on_no_polynomial_of_degree_2_have_no_terms():
    assert exact_quadratic([(x, x**3) for x in (1, 2, 3, 4)]) is None


def test_a_fit_recovers_the_terms_of_points_without_noise():
    xs = [64, 256, 576, 1024]
    assert fitted_quadratic(xs, [2 + 3 * x + 0.01 * x**2 for x in xs]) == pytest.approx((2, 3, 0.01))


def test_a_fit_weighs_relative_errors():
    noisy = fitted_quadratic([1, 2, 3, 4], [1.0, 2.0, 3.0, 4.4])
    heavier = fitted_quadratic([1, 2, 3, 4], [1000.0, 2000.0, 3000.0, 4400.0])
    assert [1000 * term for term in noisy] == pytest.approx(heavier)
