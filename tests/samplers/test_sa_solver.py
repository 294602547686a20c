"""SA-Solver: equalities, gradients, sentences."""

import math

import pytest
from support.laws import check_slopes, finite_slopes, same_plan

import edmjax as ej
from edmjax import samplers as s


def test_equalities():
    grid = ej.schedules.karras(9)

    def plan(*args, **kwargs):
        return ej.make_plan(s.sa_solver(*args, **kwargs), grid)

    assert same_plan(plan(1, 0, eta=0.0), ej.make_plan(s.euler(), grid))
    assert same_plan(plan(1, 0), ej.make_plan(s.ddpm(), grid))
    assert plan(eta=0.0).num_draws == plan(s_noise=0.0).num_draws == 0
    for eta in (0.0, 0.49, 1.0):
        tau, heun = math.sqrt(eta), s.dpmpp_2m_sde(eta, solver_type="heun")
        assert same_plan(plan(2, 0, eta=tau), ej.make_plan(heun, grid), atol=1e-12)
        three = ej.make_plan(s.dpmpp_3m_sde(eta, corrected=True), grid)
        assert same_plan(plan(3, 0, tau=tau), three, atol=1e-12)
    churned = ej.make_plan(s.churn(s.sa_solver(eta=0.0), 2.0), grid)
    assert same_plan(churned, ej.make_plan(s.churn(s.euler(), 2.0), grid))


@pytest.mark.slow
def test_gradients(x64):
    def plan(tau, *levels):
        return ej.make_plan(s.sa_solver(2, 3, tau), [*levels, 0.0], ends_at_zero=True)

    check_slopes(plan, [0.9, 5.0, 2.0, 0.8])
    assert finite_slopes(plan, 0.0, 5.0, 2.0)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: s.sa_solver(5), "`predictor_order` must be from 1 to 4, got 5"),
        (lambda: s.sa_solver(corrector_order=-1), "`corrector_order` must be from 0 to 4"),
        (lambda: s.sa_solver(eta=-1), "`eta` must not be negative"),
        (lambda: s.sa_solver(interval=1.0), r"`interval` must be two levels \(low, high\), got 1"),
        (lambda: s.sa_solver(interval=(2.0, 1.0)), "0 <= low <= high"),
    ],
)
def test_bad_options_get_a_sentence(make, words):
    with pytest.raises(ValueError, match=words):
        make()
