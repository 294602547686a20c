"""SA-Solver: the paper's updates with adaptive quadrature, orders along the flow, equalities."""

import math

import jax
import numpy as np
import pytest
from helpers import mixture
from laws import check_order, check_slopes, finite_slopes, same_plan, started
from scipy.integrate import quad

import edmjax as ej
from edmjax import samplers as s


def integral(lam, lam_next, tau, nodes):
    """Weights of outputs at `nodes`: the kernel times the Lagrange polynomials, by quadrature."""

    def weight(j):
        def integrand(u):
            others = [node for k, node in enumerate(nodes) if k != j]
            basis = np.prod([(u - node) / (nodes[j] - node) for node in others])
            return (1 + tau**2) * np.exp(-(1 + tau**2) * (lam_next - u)) * basis

        return quad(integrand, lam, lam_next, epsabs=1e-15, epsrel=1e-13)[0]

    return [weight(j) for j in range(len(nodes))]


def paper(denoise, x, levels, noise, tau, p, c):
    """Xue et al. (2023), Algorithm 1: predict, evaluate, correct with the same noise."""
    lam, draws = [-np.log(level) if level else math.inf for level in levels], iter(noise)
    out = [denoise(x, levels[0])]
    for i, b in enumerate(levels[1:]):
        if b == 0:
            return out[0]
        t = tau(levels[i])
        h = lam[i + 1] - lam[i]
        base = np.exp(-(1 + t**2) * h) * x
        if t:
            base = base + b * np.sqrt(-np.expm1(-2 * t**2 * h)) * next(draws)
        back = lam[i::-1]
        weights = integral(lam[i], lam[i + 1], t, back[: min(p, len(out))])
        predicted = base + sum(w * d for w, d in zip(weights, out, strict=False))
        out = [denoise(predicted, b), *out]
        weights = integral(lam[i], lam[i + 1], t, [lam[i + 1], *back][: min(c, len(out))])
        x = base + sum(w * d for w, d in zip(weights, out, strict=False)) if c else predicted
    return predicted


@pytest.mark.parametrize("p, c", [(1, 0), (3, 0), (1, 1), (2, 2), (3, 4), (4, 4)])
def test_the_papers_updates(x64, p, c):
    problem, levels = mixture(), np.append(np.geomspace(5, 0.1, 9), 0.0)
    plan = ej.make_plan(s.sa_solver(p, c, tau=0.8, interval=(0.2, 3.0)), levels)
    assert plan.nfe == 9
    x = 5 * jax.random.normal(jax.random.key(0), (16, 2))
    noise = ej.draw_noise(plan, jax.random.key(1), x)

    def tau(sigma):
        return 0.8 if 0.2 <= sigma <= 3.0 else 0.0

    assert plan.num_draws == sum(tau(level) > 0 for level in levels)
    for grid, drawn in ((levels, noise), (levels[:-1], noise)):
        part = ej.make_plan(s.sa_solver(p, c, tau=0.8, interval=(0.2, 3.0)), grid)
        expected = paper(jax.jit(problem.denoise), x, grid, drawn, tau, p, c)
        got = ej.sample(problem, part, x, noise=drawn[: part.num_draws])
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11 * abs(expected).max())


def test_orders_along_the_flow(x64):
    """Of the corrector, at most one above the predictor's."""
    for p, c, order in ((1, 0, 1), (1, 2, 2), (2, 0, 2), (2, 3, 3)):
        check_order(s.sa_solver(p, c, tau=0.0), order)
    check_order(started(s.sa_solver(3, 4, tau=0.0), 3), 4)


def test_equalities():
    grid = ej.schedules.karras(9)

    def plan(*args, **kwargs):
        return ej.make_plan(s.sa_solver(*args, **kwargs), grid)

    assert same_plan(plan(1, 0, tau=0.0), ej.make_plan(s.euler(), grid))
    assert same_plan(plan(1, 0), ej.make_plan(s.ddpm(), grid))
    assert plan(tau=0.0).num_draws == plan(s_noise=0.0).num_draws == 0
    for eta in (0.0, 0.49, 1.0):
        tau, heun = math.sqrt(eta), s.dpmpp_2m_sde(eta, solver_type="heun")
        assert same_plan(plan(2, 0, tau=tau), ej.make_plan(heun, grid), atol=1e-12)
        three = ej.make_plan(s.dpmpp_3m_sde(eta, corrected=True), grid)
        assert same_plan(plan(3, 0, tau=tau), three, atol=1e-12)
    churned = ej.make_plan(s.churn(s.sa_solver(tau=0.0), 2.0), grid)
    assert same_plan(churned, ej.make_plan(s.churn(s.euler(), 2.0), grid))


def test_gradients(x64):
    def plan(tau, *levels):
        return ej.make_plan(s.sa_solver(2, 3, tau), [*levels, 0.0], ends_at_zero=True)

    check_slopes(plan, [0.9, 5.0, 2.0, 0.8])
    assert finite_slopes(plan, 0.0, 5.0, 2.0)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: s.sa_solver(5), "`predictor_order` must be 1, 2, 3 or 4, got 5"),
        (lambda: s.sa_solver(corrector_order=-1), "`corrector_order` must be 0, 1, 2, 3 or 4"),
        (lambda: s.sa_solver(tau=-1), "`tau` must not be negative"),
        (lambda: s.sa_solver(interval=1.0), r"`interval` must be two levels \(low, high\), got 1"),
        (lambda: s.sa_solver(interval=(2.0, 1.0)), "0 <= low <= high"),
    ],
)
def test_bad_options_get_a_sentence(make, words):
    with pytest.raises(ValueError, match=words):
        make()
