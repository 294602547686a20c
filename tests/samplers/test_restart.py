"""Restart: which step it follows, history, nested restarts, sentences."""

import itertools

import jax
import numpy as np
import pytest
from support.helpers import uniform
from support.laws import same_plan

import edmjax as ej
from edmjax import samplers as s

GRID = [5.0, 2.0, 1.0, 0.5, 0.0]


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


@pytest.mark.parametrize(
    "sampler",
    [s.restart(s.dpmpp_sde(), [(0.5, 1.5, 2, 2)]), s.churn(s.dpmpp_sde(), 8.0)],
    ids=["restart", "churn"],
)
def test_named_intervals_do_not_overlap(sampler):
    """Down the same levels twice there is no one path that the draws could be increments of."""
    plan = ej.make_plan(sampler, GRID)
    named = {}
    for draw, (start, end) in zip(plan.draws.ravel(), plan.intervals.reshape(-1, 2), strict=True):
        if draw >= 0 and start != end:
            named[draw] = min(start, end), max(start, end)
    assert len(named) < plan.num_draws
    for (low, high), (other_low, other_high) in itertools.combinations(named.values(), 2):
        assert high <= other_low or other_high <= low


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
        ([(1.0, 2.0, 0, 1)], "`steps` must be at least 1, got 0"),
        ([(1.0, 2.0, 3, -1)], "`repeats` must be at least 0, got -1"),
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
