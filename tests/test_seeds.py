"""SEEDS: the papers' updates written on numbers, orders along the flow, equalities."""

import itertools

import jax
import numpy as np
import pytest
from helpers import mixture
from laws import check_order, check_slopes, finite_slopes

import edmjax as ej
from edmjax import samplers as s

MAKERS = {
    "seeds_2": lambda eta=1.0: s.seeds_2(eta, r=0.4),
    "seeds_2_phi_2": lambda eta=1.0: s.seeds_2(eta, r=0.4, solver_type="phi_2"),
    "seeds_3": lambda eta=1.0: s.seeds_3(eta),
}


def paper(name, denoise, x, levels, noise, eta):
    """Exponential stages on the denoised output, with exact noise: a joint Gaussian of W(c).

    The noise at the fraction c is sigma(c) times an integral of one Brownian motion with variance
    1 - e^(-2 eta c h), so it is formed from increments of e^(eta c h) scaled back.
    """
    draws = iter(noise)
    fractions = {"seeds_3": [1 / 3, 2 / 3, 1.0]}.get(name, [0.4, 1.0])
    for a, b in itertools.pairwise(levels):
        out = [denoise(x, a)]
        if b == 0:
            return out[0]
        h, martingale, before, noises = np.log(a / b), 0.0, 0.0, []
        for c in fractions:
            grown = np.expm1(2 * eta * c * h)
            martingale = martingale + np.sqrt(grown - before) * next(draws)
            before = grown
            noises.append(a * np.exp(-(1 + eta) * c * h) * martingale)

        def base(c, h=h, x=x, out=out, noises=noises):
            decay = np.exp(-(1 + eta) * c * h)
            return decay * x + (1 - decay) * out[0] + noises[fractions.index(c)]

        def psi(c, h=h):
            decay = (1 + eta) * c * h
            return 1 - (1 - np.exp(-decay)) / decay

        c_1, *middle = fractions[:-1]
        out.append(denoise(base(c_1), a * np.exp(-c_1 * h)))
        last_c, last = c_1, out[1]
        for c in middle:
            u = base(c) + c / c_1 * psi(c) * (out[1] - out[0])
            last_c, last = c, denoise(u, a * np.exp(-c * h))
        weight = psi(1.0) / last_c
        if name == "seeds_2":
            weight = (1 - np.exp(-(1 + eta) * h)) / (2 * last_c)
        x = base(1.0) + weight * (last - out[0])
    return x


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("eta", [1.0, 0.5])
def test_the_papers_updates(x64, name, eta):
    problem, levels = mixture(), ej.schedules.karras(8)
    plan = ej.make_plan(MAKERS[name](eta), levels)
    x = 80 * jax.random.normal(jax.random.key(0), (16, 2))
    noise = ej.draw_noise(plan, jax.random.key(1), x)
    expected = paper(name, jax.jit(problem.denoise), x, levels, noise, eta)
    got = ej.sample(problem, plan, x, noise=noise)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11 * float(abs(expected).max()))


def test_orders_without_noise(x64):
    check_order(s.seeds_2(eta=0.0, r=0.3, solver_type="phi_2"), 2)
    check_order(s.seeds_3(eta=0.0), 3)


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
