"""PNDM: its evaluations, order 4 on equal steps, windows, gradients, sentences."""

import itertools

import numpy as np
import pytest
from support.helpers import mixture
from support.laws import check_gradient_in_the_levels, check_traced_levels, widths
from support.orders import start

import edmjax as ej
from edmjax import samplers as s

GRID = ej.schedules.karras(9, 0.01, 20.0)


def test_evaluations_and_no_start_into_zero():
    for n, runge_kutta, plms in ((1, 1, 1), (2, 5, 3), (3, 9, 4), (4, 13, 5), (30, 39, 31)):
        grid = ej.schedules.karras(n)
        assert ej.make_plan(s.pndm(), grid).nfe == runge_kutta
        assert ej.make_plan(s.pndm(runge_kutta=False), grid).nfe == plms
    for sampler in (s.pndm(), s.pndm(False)):
        plan = ej.make_plan(sampler, [2.0, 0.0])
        np.testing.assert_array_equal([plan.y[1, 0], plan.d[1, 0]], [0, 1])
        plan = ej.make_plan(sampler, ej.schedules.karras(30))
        assert np.isfinite(plan.y).all() and np.isfinite(plan.d).all() and plan.sigmas.min() > 0


def test_windows_reach_back_over_the_start():
    """Four evaluations a Runge-Kutta step: the first PLMS step looks back over twelve."""
    assert widths(s.pndm(), 20) == widths(s.pndm(), 200) == (13, 13)
    assert widths(s.pndm(False), 20) == widths(s.pndm(False), 200) == (5, 5)


def test_order_4_on_equal_steps(x64):
    """Where the weights are right, with a start of the same order."""
    problem, x = mixture(), start(3.0)
    plans = (ej.make_plan(s.pndm(), np.linspace(3.0, 1.0, n + 1)) for n in (40, 80, 160, 320))
    got = [ej.sample(problem, plan, x) for plan in plans]
    # Differences between one grid and the next shrink as the error does.
    gaps = [np.sqrt(np.mean((b - a) ** 2)) for a, b in itertools.pairwise(got)]
    assert abs(np.log2(gaps[-2] / gaps[-1]) - 4) < 0.15


@pytest.mark.slow
@pytest.mark.parametrize("runge_kutta", [True, False])
def test_gradient_in_the_levels(x64, runge_kutta):
    check_gradient_in_the_levels(s.pndm(runge_kutta))
    check_traced_levels(s.pndm(runge_kutta, ej.processes.cosine()))


def test_under_fresh_noise_every_step_is_a_first_step():
    one = ej.make_plan(s.churn(s.pndm(False), 8.0), GRID)
    other = ej.make_plan(s.churn(s.heun(), 8.0), GRID)
    np.testing.assert_allclose(one.y, other.y, atol=1e-13)
    np.testing.assert_allclose(one.d, other.d, atol=1e-13)


def test_bad_options_get_a_sentence(unchecked):
    with pytest.raises(ValueError, match="`final` must be 'method' or 'denoise', got 'mean'"):
        s.pndm(final="mean")
    with pytest.raises(TypeError, match="`process` must be a process or None, got 3"):
        s.pndm(process=3)
