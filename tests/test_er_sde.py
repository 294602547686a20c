"""ER-SDE: the paper's updates with adaptive quadrature, orders along the flow, equalities."""

import itertools

import jax
import numpy as np
import pytest
from helpers import mixture
from laws import check_order, check_slopes, same_plan
from scipy.integrate import quad

import edmjax as ej
from edmjax import samplers as s


def paper(order, denoise, x, levels, noise, phi):
    """Cui et al. (2023), the variance-exploding solvers of orders 1 to 3, with their integrals."""
    out, slopes = [], []
    for i, (a, b) in enumerate(itertools.pairwise(levels)):
        out.append(denoise(x, a))
        if b == 0:
            return out[-1]
        r = phi(b) / phi(a)
        spread = np.sqrt(b**2 - a**2 * r**2)
        x = r * x + (1 - r) * out[-1] + spread * noise[i]
        slopes.append((out[-1] - out[-2]) / (a - levels[i - 1]) if i else None)
        if order > 1 and i > 0:
            plain = quad(lambda u: 1 / phi(u), b, a, epsabs=0, epsrel=1e-13)[0]
            x = x + (b - a + phi(b) * plain) * slopes[-1]
        if order > 2 and i > 1:
            second = (slopes[-1] - slopes[-2]) / ((a - levels[i - 2]) / 2)
            moment = quad(lambda u, a=a: (u - a) / phi(u), b, a, epsabs=0, epsrel=1e-13)[0]
            x = x + ((b - a) ** 2 / 2 + phi(b) * moment) * second
    return x


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_papers_updates(x64, order):
    problem, levels = mixture(), ej.schedules.karras(9)
    plan = ej.make_plan(s.er_sde(order), levels)
    assert plan.nfe == 9 and plan.num_draws == 8
    x = 80 * jax.random.normal(jax.random.key(0), (16, 2))
    noise = ej.draw_noise(plan, jax.random.key(1), x)
    phi = lambda u: u * (np.exp(u**0.3) + 10)  # noqa: E731
    expected = paper(order, jax.jit(problem.denoise), x, levels, noise, phi)
    got = ej.sample(problem, plan, x, noise=noise)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11 * abs(expected).max())


@pytest.mark.parametrize("order, claim", [(1, 1), (2, 2), (3, 2)])
def test_orders_along_the_flow(x64, order, claim):
    check_order(s.er_sde(order, scaler="ode"), claim)


def test_equalities():
    grid = ej.schedules.karras(7)
    assert same_plan(ej.make_plan(s.er_sde(1, scaler="ode"), grid), ej.make_plan(s.euler(), grid))
    assert same_plan(ej.make_plan(s.er_sde(1, scaler="sde"), grid), ej.make_plan(s.ddpm(), grid))
    assert ej.make_plan(s.er_sde(scaler="ode"), [0.1, 0.3, 1.0, 2.0]).num_draws == 0
    assert ej.make_plan(s.er_sde(s_noise=0.0), grid).num_draws == 0
    with pytest.raises(ValueError, match="go up"):
        ej.make_plan(s.er_sde(), [0.1, 1.0])


def test_gradients(x64):
    def plan(s_noise, *levels):
        return ej.make_plan(s.er_sde(3, s_noise), [*levels, 0.0], ends_at_zero=True)

    check_slopes(plan, [0.9, 5.0, 2.0, 0.8, 0.3])


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: s.er_sde(4), "`order` must be 1, 2 or 3, got 4"),
        (lambda: s.er_sde(s_noise=-1), "`s_noise` must not be negative"),
        (lambda: s.er_sde(scaler="vp"), "`scaler` must be a function or one of"),
        (
            lambda: ej.make_plan(s.er_sde(scaler=lambda sigma: 1 / sigma), [2.0, 1.0]),
            "must not be larger at a lower level",
        ),
    ],
)
def test_bad_options_get_a_sentence(make, words):
    with pytest.raises(ValueError, match=words):
        make()
