"""Single-step methods: gradients in levels and options, sentences."""

import pytest
from support.laws import check_slopes

import edmjax as ej
from edmjax import samplers as s

GRID = [5.0, 2.0, 1.0, 0.4, 0.0]


@pytest.mark.parametrize("make", [s.midpoint, s.dpmpp_2s, s.heunpp2])
@pytest.mark.slow
def test_slopes_in_the_levels(x64, make):
    def plan(*levels):
        return ej.make_plan(make(), [*levels, 0.0], ends_at_zero=True)

    check_slopes(plan, GRID[:-1])


def test_slope_in_r(x64):
    for r in (0.3, 0.9):
        check_slopes(lambda r: ej.make_plan(s.dpmpp_2s(r), GRID), [r])


@pytest.mark.parametrize("r", [0.0, -0.5, 1.5, float("nan")])
def test_an_inner_point_outside_the_step_gets_a_sentence(r):
    with pytest.raises(ValueError, match=r"`r` must be in \(0, 1\], got"):
        s.dpmpp_2s(r=r)
