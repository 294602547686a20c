"""Restart: the paper's loop, which step it follows, history, and the law it keeps."""

import itertools

import jax
import numpy as np
import pytest
from helpers import mixture, uniform
from laws import same_plan, weak_order

import edmjax as ej
from edmjax import samplers as s

GRID = [5.0, 2.0, 1.0, 0.5, 0.0]


def heun_steps(denoise, x, levels):
    for t, t_next in itertools.pairwise(levels):
        d = (x - denoise(x, t)) / t
        ahead = x + (t_next - t) * d
        if t_next > 0:
            d = (d + (ahead - denoise(ahead, t_next)) / t_next) / 2
        x = x + (t_next - t) * d
    return x


def test_the_papers_loop(x64):
    """Xu et al. (2023), Algorithm 1, two intervals of which one is followed twice."""
    problem = mixture()
    plan = ej.make_plan(s.restart(s.heun(), [(0.5, 1.5, 3, 2), (2.0, 4.0, 2, 1)]), GRID)
    assert plan.nfe == 7 + 2 * 3 * 2 + 2 * 2 and plan.num_draws == 3
    x = 5 * jax.random.normal(jax.random.key(0), (16, 2))
    noise = ej.draw_noise(plan, jax.random.key(1), x)
    denoise = jax.jit(problem.denoise)
    y = heun_steps(denoise, x, GRID[:2]) + np.sqrt(4**2 - 2**2) * noise[0]
    y = heun_steps(denoise, y, ej.schedules.karras(3, 2.0, 4.0, final_zero=False))
    y = heun_steps(denoise, y, GRID[1:4])
    for z in noise[1:]:
        y = y + np.sqrt(1.5**2 - 0.5**2) * z
        y = heun_steps(denoise, y, ej.schedules.karras(4, 0.5, 1.5, final_zero=False))
    y = heun_steps(denoise, y, GRID[3:])
    got = ej.sample(problem, plan, x, noise=noise)
    np.testing.assert_allclose(got, y, rtol=0, atol=1e-12 * abs(y).max())


def test_it_follows_the_step_that_ends_nearest():
    for t_min, level in ((0.5, 0.5), (0.8, 1.0), (1.4, 1.0), (0.001, 0.5), (1.9, 2.0)):
        plan = ej.make_plan(s.restart(s.euler(), [(t_min, 3.0, 1, 1)]), GRID)
        (jump,) = np.flatnonzero(plan.sigmas == 3.0)
        assert plan.sigmas[jump + 1] == level


def test_without_restarts_it_is_the_inner_sampler():
    for intervals in ([], [(0.5, 1.0, 3, 0)]):
        plan = ej.make_plan(s.restart(s.dpmpp_2m(), intervals), GRID)
        assert same_plan(plan, ej.make_plan(s.dpmpp_2m(), GRID))


def test_a_multistep_inner_starts_anew_and_keeps_what_follows():
    """DPM++(2M) after noise: one output, then two; after the restart the last of its points."""
    plan = ej.make_plan(s.restart(s.dpmpp_2m(), [(1.0, 3.0, 3, 2)]), GRID)
    # Steps 5 -> 2 -> 1; twice 3 -> . -> . -> 1; then 1 -> 0.5 -> 0.
    assert plan.nfe == 4 + 6
    outputs = [np.count_nonzero(row) for row in plan.d]
    assert outputs == [0, 1, 2, 1, 2, 2, 1, 2, 2, 2, 1]
    assert plan.d.shape[1] == 2


def test_nested_restarts_and_churn_inside():
    inner = s.restart(s.churn(s.heun(), 4.0), [(1.0, 2.0, 2, 1)])
    plan = ej.make_plan(s.restart(inner, [(0.5, 1.5, 2, 1)]), GRID)
    assert plan.num_draws > 4


def test_it_converges_with_its_inner_sampler():
    """Weakly: of second order, where the steps of the restarts are refined with the grid's."""
    slope = weak_order(lambda n: s.restart(s.heun(), [(1.0, 2.0, n // 8, 2)]), (80, 160))
    assert abs(slope - 2) < 0.15


def test_slopes_in_the_noise(x64):
    def last(s_noise):
        return ej.make_plan(s.restart(s.heun(), [(0.5, 2.0, 2, 1)], s_noise), GRID).z.sum()

    assert jax.grad(last)(1.0) == pytest.approx(np.sqrt(2.0**2 - 0.5**2))
    assert np.isfinite(jax.grad(last)(0.0))


@pytest.mark.parametrize(
    "intervals, words",
    [
        ([(1.0, 2.0, 3)], r"\(t_min, t_max, steps, repeats\), got \(1.0, 2.0, 3\)"),
        ([(2.0, 1.0, 3, 1)], "needs 0 < t_min < t_max, got 2.0 and 1.0"),
        ([(1.0, 2.0, 0, 1)], "at least one step from t_max to t_min, got 0"),
        ([(1.0, 2.0, 3, -1)], "`repeats` must be a number of times, got -1"),
    ],
)
def test_bad_intervals_get_a_sentence(intervals, words):
    with pytest.raises(ValueError, match=words):
        s.restart(s.heun(), intervals)


def test_what_cannot_restart_gets_a_sentence():
    with pytest.raises(ValueError, match=r"not below t_max = 0\.3"):
        ej.make_plan(s.restart(s.heun(), [(0.1, 0.3, 2, 1)]), GRID)
    sampler = s.restart(s.heun(), [(0.5, 2.0, 2, 1)])
    with pytest.raises(TypeError, match=r"sigmas.*traced"):
        jax.jit(lambda g: ej.make_plan(sampler, g, ends_at_zero=False))(uniform(3))
    with pytest.raises(ValueError, match="go up"):
        ej.make_plan(sampler, [0.1, 0.5, 2.5])
