"""Exponential Runge-Kutta methods and gradient estimation: gradients, sentences."""

import math

import pytest
from support.laws import check_slopes

import edmjax as ej
from edmjax import samplers as s

GRID = [5.0, 2.0, 1.0, 0.4, 0.0]


@pytest.mark.parametrize(
    "make", [s.res_2s, s.res_3s, s.exp_heun, s.res_multistep, s.gradient_estimation]
)
@pytest.mark.parametrize("end", [[0.0], []])
@pytest.mark.slow
def test_slopes_in_the_levels(x64, make, end):
    def plan(*levels):
        return ej.make_plan(make(), [*levels, *end], ends_at_zero=bool(end))

    check_slopes(plan, GRID[:-1])


@pytest.mark.thorough
def test_slopes_in_the_options(x64):
    check_slopes(lambda c2: ej.make_plan(s.res_2s(c2), GRID), [0.4])
    check_slopes(lambda *c: ej.make_plan(s.res_3s(*c), GRID), [0.4, 0.9])
    check_slopes(lambda g: ej.make_plan(s.gradient_estimation(g), GRID), [2.0])


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: s.res_2s(0.0), r"`c2` must be in \(0, 1\], got 0.0"),
        (
            lambda: s.res_3s(c3=1.2),
            r"`c3` must be in \(0, 1\], got 1",
        ),
        (lambda: s.res_3s(2 / 3, 1.0), "must differ and `c2` must not be 2/3"),
        (lambda: s.res_3s(0.5, 0.5), "c2 = 0.5 and c3 = 0.5: they must differ"),
        (lambda: s.gradient_estimation(math.nan), "`gamma` must be finite, got nan"),
    ],
)
def test_bad_options_get_a_sentence(make, words):
    with pytest.raises(ValueError, match=words):
        make()
