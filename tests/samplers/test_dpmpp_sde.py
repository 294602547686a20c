"""DPM-Solver++ for the SDE: equalities, noises of one path, history, gradients."""

import jax
import numpy as np
import pytest
from support.helpers import uniform
from support.laws import check_slopes, finite_slopes, same_plan

import edmjax as ej
from edmjax import samplers as s

GRID = [5.0, 2.0, 1.0, 0.5, 0.0]


# ---- equalities


def test_without_noise_they_are_the_methods_for_the_flow():
    grid = ej.schedules.karras(9)
    plain = ej.make_plan(s.dpmpp_2m(), grid)
    assert same_plan(ej.make_plan(s.dpmpp_2m_sde(eta=0.0), grid), plain)
    up = [0.1, 0.4, 1.0, 3.0]
    assert same_plan(ej.make_plan(s.dpmpp_2m_sde(eta=0.0), up), ej.make_plan(s.dpmpp_2m(), up))
    for make in (s.dpmpp_sde, s.dpmpp_2m_sde, s.dpmpp_3m_sde):
        assert ej.make_plan(make(eta=0.0), grid).num_draws == 0
        assert ej.make_plan(make(s_noise=0.0), grid).num_draws == 0
        with pytest.raises(ValueError, match="go up"):
            ej.make_plan(make(), up)


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_the_first_step_is_ancestral_euler(eta):
    """DPM-Solver++ of first order is DDIM, and its noise for eta = 1 that of DDPM."""
    first = ej.make_plan(s.dpmpp_2m_sde(eta=eta), [5.0, 2.0])
    assert same_plan(first, ej.make_plan(s.dpmpp_3m_sde(eta=eta), [5.0, 2.0]))
    if eta != 0.6:  # eta means something else in DDIM between the ends
        assert same_plan(first, ej.make_plan(s.ddim(eta), [5.0, 2.0]))


def test_the_noises_of_a_step_are_parts_of_one_path():
    """Weights by hand: the path's increments over (4, 2) and (2, 1), sigma_mid = 2."""
    plan = ej.make_plan(s.dpmpp_sde(), [4.0, 1.0])
    np.testing.assert_allclose(plan.intervals[1:, :, :], [[[4, 2], [0, 0]], [[4, 2], [2, 1]]])
    up_mid, up = 2 * np.sqrt(1 - 1 / 4), np.sqrt(1 - 1 / 16)
    expected = [[0, 0], [up_mid, 0], [up * np.sqrt(2 / 3), up * np.sqrt(1 / 3)]]
    np.testing.assert_allclose(plan.z, expected, rtol=1e-14)
    apart = ej.make_plan(s.dpmpp_sde(noise="independent"), [4.0, 1.0])
    np.testing.assert_allclose(apart.z[1:, 0], [up_mid, up], rtol=1e-14)
    np.testing.assert_array_equal(apart.draws[1:, 0], [0, 1])


def test_history_survives_the_methods_own_noise_alone():
    plan = ej.make_plan(s.dpmpp_3m_sde(), uniform(6))
    assert np.count_nonzero(plan.d[-1]) == 3
    churned = ej.make_plan(s.churn(s.dpmpp_3m_sde(), 2.0), uniform(6))
    assert churned.d.shape[1] == 1


# ---- traced levels and options


@pytest.mark.parametrize(
    "make",
    [
        lambda eta, r: s.dpmpp_2m_sde(eta, r),
        lambda eta, r: s.dpmpp_2m_sde(eta, r, solver_type="heun"),
        lambda eta, r: s.dpmpp_3m_sde(eta, r),
        lambda eta, r: s.dpmpp_sde(eta, 1.1, r),
        lambda eta, r: s.dpmpp_sde(eta, r, noise="independent"),
    ],
)
@pytest.mark.slow
def test_gradients(x64, make):
    def plan(eta, r, *levels):
        return ej.make_plan(make(eta, r), [*levels, 0.0], ends_at_zero=True)

    check_slopes(plan, [0.7, 0.4, 5.0, 2.0, 0.8, 0.3])
    for eta in (0.0, 1.0):
        assert finite_slopes(plan, eta, 1.0, 5.0, 2.0, 0.8)


def test_float64_and_traced_levels_agree(x64):
    for make in (s.dpmpp_sde, s.dpmpp_2m_sde, s.dpmpp_3m_sde):
        traced = jax.jit(lambda g, make=make: ej.make_plan(make(), g, ends_at_zero=True))
        concrete = ej.make_plan(make(), GRID)
        assert same_plan(jax.tree.map(np.asarray, traced(np.array(GRID))), concrete)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: s.dpmpp_2m_sde(eta=-0.1), "`eta` must not be negative, got -0.1"),
        (lambda: s.dpmpp_3m_sde(s_noise=float("nan")), "`s_noise` must not be negative, got nan"),
        (lambda: s.dpmpp_2m_sde(solver_type="euler"), "`solver_type` must be 'midpoint' or 'heun'"),
        (lambda: s.dpmpp_sde(eta=1.5), r"`eta` must be in \[0, 1\], got 1.5"),
        (lambda: s.dpmpp_sde(r=0.0), r"`r` must be in \(0, 1\], got 0.0"),
        (lambda: s.dpmpp_sde(noise="tree"), "`noise` must be 'brownian' or 'independent'"),
    ],
)
def test_bad_options_get_a_sentence(make, words):
    with pytest.raises(ValueError, match=words):
        make()
