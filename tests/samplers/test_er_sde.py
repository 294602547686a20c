"""ER-SDE: equalities, gradients, sentences."""

import numpy as np
import pytest
from support.laws import check_slopes, same_plan

import edmjax as ej
from edmjax import samplers as s
from edmjax.samplers.er_sde import SCALERS, _integrals

PUBLISHED = SCALERS["er_sde"]
STEPS = [(1e10, 3e9), (1e12, 1e10), (1e30, 1e5), (1e10, 0.01), (3e9, 2.9e9), (80.0, 20.0)]


def test_equalities():
    grid = ej.schedules.karras(7)
    assert same_plan(ej.make_plan(s.er_sde(1, scaler="ode"), grid), ej.make_plan(s.euler(), grid))
    assert same_plan(ej.make_plan(s.er_sde(1, scaler="sde"), grid), ej.make_plan(s.ddpm(), grid))
    assert ej.make_plan(s.er_sde(scaler="ode"), [0.1, 0.3, 1.0, 2.0]).num_draws == 0
    assert ej.make_plan(s.er_sde(s_noise=0.0), grid).num_draws == 0
    with pytest.raises(ValueError, match="go up"):
        ej.make_plan(s.er_sde(), [0.1, 1.0])


def integrals(sigma, sigma_next):
    """Of `phi_next / phi - 1` over a step, and its moment about `sigma`, by 2,000 panels."""
    nodes, weights = np.polynomial.legendre.leggauss(16)
    edges = np.log(sigma_next) + np.log(sigma / sigma_next) * np.linspace(0, 1, 2001) ** 3
    width = np.diff(edges)[:, None]
    level = np.exp(edges[:-1, None] + width * (1 + nodes) / 2)
    term = width / 2 * weights * (sigma_next * ratio(sigma_next, level) - level)
    return term.sum(), (term * (level - sigma)).sum()


def ratio(low, high):
    """g(low) / g(high) of the published scaler, divided through by its exponential."""
    a, b = np.power(low, 0.3), np.power(high, 0.3)
    return np.exp(a - b) * (1 + 10 * np.exp(-a)) / (1 + 10 * np.exp(-b))


def test_levels_at_which_the_scaler_overflows():
    """The weights of the third step, of its formula, where exp(sigma^0.3) is above 1e308."""
    levels = [4e10, 2e10, 1e10, 3e9, 5.0]
    plan = ej.make_plan(s.er_sde(2), levels)
    sigma, sigma_next, former = levels[2], levels[3], levels[1]
    p = sigma_next / sigma * ratio(sigma_next, sigma)
    slope = integrals(sigma, sigma_next)[0] / (sigma - former)
    np.testing.assert_allclose(plan.d[3, :2], [1 - p + slope, -slope], rtol=1e-12)
    spread = sigma_next * np.sqrt(1 - ratio(sigma_next, sigma) ** 2)
    np.testing.assert_allclose(plan.z[3], spread, rtol=1e-12)
    moments = [_integrals(PUBLISHED, *v) for v in STEPS]
    np.testing.assert_allclose(moments, [integrals(*v) for v in STEPS], rtol=1e-12)


def test_an_infinite_level_is_the_limit_of_large_ones():
    """Tenfold nearer to t = 1 of a flow, the weights are tenfold nearer to those from it."""
    flow, rest = ej.processes.flow(), [0.8, 0.5, 0.2, 0.0]
    limit, *near = (
        ej.make_plan(s.er_sde(), flow.levels([1 - gap, *rest])) for gap in (0.0, 1e-4, 1e-5)
    )
    gaps = [
        max(abs(getattr(plan, name) - getattr(limit, name)).max() for name in "ydz")
        for plan in near
    ]
    assert gaps[0] < 1e-3 and gaps[0] == pytest.approx(10 * gaps[1], rel=0.01)


@pytest.mark.slow
def test_gradients(x64):
    def plan(s_noise, *levels):
        return ej.make_plan(s.er_sde(3, s_noise), [*levels, 0.0], ends_at_zero=True)

    check_slopes(plan, [0.9, 5.0, 2.0, 0.8, 0.3])


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: s.er_sde(4), "`order` must be from 1 to 3, got 4"),
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
