"""PNDM: parity, the paper's algorithm, its evaluations, order, the middle of a step."""

import itertools

import numpy as np
import pytest
from helpers import mixture, uniform
from multistep import (
    GRID,
    NOISE,
    assert_close,
    check_gradient_in_the_levels,
    check_traced_levels,
    golden,
    golden_problem,
    start,
    widths,
)
from orders import as_shipped, formal

import edmjax as ej
from edmjax import samplers as s

BETAS = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
TABLE = np.sqrt(1 / np.cumprod(1 - BETAS) - 1)


class Discrete:
    """A process whose times are the rows of a table of levels."""

    @staticmethod
    def time(sigma):
        return np.interp(sigma, TABLE, np.arange(1000.0))

    @staticmethod
    def sigma(time):
        return np.interp(time, np.arange(1000.0), TABLE)


@pytest.mark.parametrize("case", golden("PNDMScheduler"), ids=lambda case: case["id"])
def test_pndm_of_diffusers(x64, case):
    """It holds points as x / sqrt(1 + sigma^2) and lists the times of inner evaluations too.

    Without `set_alpha_to_one` its last step goes nowhere, from the level of t = 0 to itself.
    """
    runge_kutta = not case["config"]["skip_prk_steps"]
    to_zero = case["config"].get("set_alpha_to_one", False)
    times = sorted(set(case["timesteps"]), reverse=True)
    if runge_kutta:
        times = times[0:6:2] + times[6:]  # the first three steps have a middle
    grid = [*TABLE[times], *([0.0] if to_zero else [])]
    plan = ej.make_plan(s.pndm(runge_kutta, Discrete), grid)
    assert plan.nfe == case["nfe"] - (not to_zero)
    x = ej.sample(golden_problem(), plan, NOISE * np.sqrt(1 + grid[0] ** 2))
    assert_close(x / np.sqrt(1 + grid[-1] ** 2), case["x"], 1e-12)


def paper(denoise, x, t, middle, final):
    """Liu et al. (2022), Algorithm 2 in the paper's frame, alpha_bar = 1 / (1 + sigma^2), with the
    transfer of eq. 11 and the gradient parts of eq. 12 and 13."""

    def transfer(x, eps, a, b):
        ab, ab_next = 1 / (1 + a**2), 1 / (1 + b**2)
        lower = np.sqrt(ab) * (np.sqrt((1 - ab_next) * ab) + np.sqrt((1 - ab) * ab_next))
        return np.sqrt(ab_next / ab) * x - (ab_next - ab) / lower * eps

    def eps(x, a):
        point = x * np.sqrt(1 + a**2)
        return (point - denoise(point, a)) / a

    x, past = x / np.sqrt(1 + t[0] ** 2), []
    for a, b in itertools.pairwise(t):
        past.insert(0, eps(x, a))
        if b == 0 and final == "denoise":
            return (x - np.sqrt(1 - 1 / (1 + a**2)) * past[0]) * np.sqrt(1 + a**2)
        if len(past) <= 3:  # PRK
            e_1, m = past[0], middle(a, b)
            e_2 = eps(transfer(x, e_1, a, m), m)
            e_3 = eps(transfer(x, e_2, a, m), m)
            e_4 = eps(transfer(x, e_3, a, b), b)
            slope = (e_1 + 2 * e_2 + 2 * e_3 + e_4) / 6
        else:  # PLMS
            slope = (55 * past[0] - 59 * past[1] + 37 * past[2] - 9 * past[3]) / 24
        x = transfer(x, slope, a, b)
    return x * np.sqrt(1 + t[-1] ** 2)


@pytest.mark.parametrize("final", ["multistep", "denoise"])
def test_pndm_equals_the_papers_algorithm(x64, final):
    """With the middle of a step in log sigma, or in the time of a process."""
    problem, x, process = mixture(), start(), ej.processes.vp()

    def in_time(a, b):
        return process.sigma((process.time(a) + process.time(b)) / 2)

    for option, middle in ((None, lambda a, b: np.sqrt(a * b)), (process, in_time)):
        for grid in (GRID, uniform(12)):
            plan = ej.make_plan(s.pndm(process=option, final=final), grid)
            expected = paper(problem.denoise, x, grid, middle, final)
            assert_close(ej.sample(problem, plan, x), expected, 1e-11)


def test_plms_starts_with_heun_and_goes_on_as_ipndm(x64):
    problem, x, grid = mixture(), start(5.0), uniform(8)
    for n in (1, 2):
        first = ej.sample(problem, ej.make_plan(s.pndm(runge_kutta=False), grid[: n + 1]), x)
        second = ej.sample(problem, ej.make_plan(s.heun(), grid[:2]), x)
        if n == 2:  # 3/2 of the new slope and -1/2 of the one that the Heun step began with
            slopes = [(p - problem.denoise(p, t)) / t for p, t in ((x, grid[0]), (second, grid[1]))]
            second = second + (grid[2] - grid[1]) * (1.5 * slopes[1] - 0.5 * slopes[0])
        assert_close(first, second, 1e-13)
    lms, plms = (ej.make_plan(m, grid) for m in (s.ipndm(), s.pndm(runge_kutta=False)))
    np.testing.assert_allclose(plms.d[-1, :4], lms.d[-1], rtol=1e-13)


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


@pytest.mark.parametrize("runge_kutta", [True, False])
def test_order(x64, runge_kutta):
    """Second, since the weights are those of equal steps: in sigma these are not."""
    sampler = s.pndm(runge_kutta)
    assert abs(formal(sampler, 3) - 2) < 0.15
    on_mixture, on_gaussian = as_shipped(sampler)
    assert abs(on_mixture - 2) < 0.15 and on_gaussian > 1.85


def test_order_4_on_equal_steps(x64):
    """Where the weights are right, with a start of the same order."""
    problem, x = mixture(), start(3.0, (64, 2))
    plans = (ej.make_plan(s.pndm(), np.linspace(3.0, 1.0, n + 1)) for n in (40, 80, 160, 320))
    got = [ej.sample(problem, plan, x) for plan in plans]
    # Differences between one grid and the next shrink as the error does.
    gaps = [np.sqrt(np.mean((b - a) ** 2)) for a, b in itertools.pairwise(got)]
    assert abs(np.log2(gaps[-2] / gaps[-1]) - 4) < 0.15


@pytest.mark.parametrize("runge_kutta", [True, False])
def test_gradient_in_the_levels(x64, runge_kutta):
    check_gradient_in_the_levels(s.pndm(runge_kutta))
    check_traced_levels(s.pndm(runge_kutta, ej.processes.cosine()))


def test_under_fresh_noise_every_step_is_a_first_step():
    one = ej.make_plan(s.churn(s.pndm(False), 8.0), GRID)
    other = ej.make_plan(s.churn(s.heun(), 8.0), GRID)
    np.testing.assert_allclose(one.y, other.y, atol=1e-13)
    np.testing.assert_allclose(one.d, other.d, atol=1e-13)


def test_bad_options_get_a_sentence():
    with pytest.raises(ValueError, match="`final` must be 'multistep' or 'denoise', got 'mean'"):
        s.pndm(final="mean")
    with pytest.raises(TypeError, match="`process` must be a process or None, got 3"):
        s.pndm(process=3)
