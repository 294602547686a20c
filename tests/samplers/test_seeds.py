"""SEEDS: equalities, the variance of a step's noise, gradients, sentences."""

import numpy as np
import pytest
from support.laws import check_slopes, finite_slopes

import edmjax as ej
from edmjax import samplers as s


def test_without_noise_seeds_2_is_dpm_solver_pp_2s():
    for grid in (ej.schedules.karras(9), [0.1, 0.5, 2.0]):
        plan = ej.make_plan(s.seeds_2(eta=0.0), grid)
        assert plan.num_draws == 0
        expected = ej.make_plan(s.dpmpp_2s(), grid)
        np.testing.assert_allclose(plan.d, expected.d, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(plan.y, expected.y, rtol=1e-12, atol=1e-14)
    assert ej.make_plan(s.seeds_3(eta=0.0), [2.0, 1.0, 0.0]).num_draws == 0
    with pytest.raises(ValueError, match="go up"):
        ej.make_plan(s.seeds_3(), [0.1, 1.0])


def test_the_noise_of_a_step_has_its_variance():
    """sigma_next^2 (1 - e^-2h), eta = 1, whatever the stages between: 1 - 1/16 for 4 -> 1."""
    for make in (s.seeds_2, s.seeds_3, s.dpmpp_2m_sde):
        plan = ej.make_plan(make(), [4.0, 1.0])
        assert np.sum(plan.z[-1] ** 2) == pytest.approx(1 - 1 / 16)


@pytest.mark.slow
@pytest.mark.parametrize("make", [s.seeds_2, lambda e, n, r: s.seeds_3(e, n, r)])
def test_gradients(x64, make):
    def plan(eta, r, *levels):
        return ej.make_plan(make(eta, 1.1, r), [*levels, 0.0], ends_at_zero=True)

    check_slopes(plan, [0.7, 0.4, 5.0, 2.0, 0.8])
    assert finite_slopes(plan, 0.0, 0.5, 5.0, 2.0)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: s.seeds_2(eta=-1), "`eta` must not be negative"),
        (lambda: s.seeds_2(r=1.5), r"`r` must be in \(0, 1\], got 1.5"),
        (lambda: s.seeds_2(solver_type="heun"), "`solver_type` must be 'phi_1' or 'phi_2'"),
        (lambda: s.seeds_3(r_1=0.7, r_2=0.5), "`r_1` must be below `r_2`, got 0.7 and 0.5"),
    ],
)
def test_bad_options_get_a_sentence(make, words):
    with pytest.raises(ValueError, match=words):
        make()
