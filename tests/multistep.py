"""What the tests of multistep samplers share: golden cases, loops and gradients."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from helpers import mixture, uniform

import edmjax as ej

GOLDEN = pathlib.Path(__file__).parent / "golden"
PROBLEM = json.loads((GOLDEN / "problem.json").read_text())
CASES = json.loads((GOLDEN / "multistep.json").read_text())["cases"]
NOISE = np.array(PROBLEM["noise"])
GRID = ej.schedules.karras(9, 0.01, 20.0)


def golden(*schedulers):
    return [case for case in CASES if case["scheduler"] in schedulers]


def golden_problem():
    return ej.problems.Mixture(PROBLEM["weights"], PROBLEM["means"], PROBLEM["std"] ** 2)


def assert_close(got, expected, tolerance):
    """Relative to the largest entry."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def start(scale=20.0, shape=(16, 2)):
    return scale * np.random.default_rng(3).normal(size=shape)


def same(a, b):
    """Whether two samplers have one plan, to rounding, with and without a step to zero."""
    for grid in (GRID, ej.schedules.karras(24), uniform(20)):
        for one, other in zip(
            *(jax.tree.leaves(ej.make_plan(m, grid)) for m in (a, b)), strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)


def widths(sampler, n):
    plan = ej.make_plan(sampler, ej.schedules.karras(n))
    return plan.y.shape[1], plan.d.shape[1]


def check_gradient_in_the_levels(sampler):
    """`jax.grad` through the plan and the loop against central differences, every level."""
    x, problem = jnp.asarray(start(5.0, (4, 2))), mixture()

    @jax.jit
    def loss(log_sigmas):
        levels = [*jnp.exp(log_sigmas), 0.0]
        return jnp.sum(jnp.sin(ej.sample(problem, ej.make_plan(sampler, levels), x)) ** 2)

    value = np.log([5.0, 3.0, 1.7, 0.9, 0.4, 0.2])
    gradient = jax.grad(loss)(jnp.asarray(value))
    for i in range(len(value)):
        bump = 1e-5 * (np.arange(len(value)) == i)
        slope = (loss(value + bump) - loss(value - bump)) / 2e-5
        np.testing.assert_allclose(gradient[i], slope, rtol=1e-5, atol=1e-7)


def check_traced_levels(sampler):
    """A plan of traced levels is the plan of the numbers."""
    levels = GRID[1::2]
    traced = jax.jit(lambda g: ej.make_plan(sampler, g, ends_at_zero=True))(jnp.asarray(levels))
    plan = ej.make_plan(sampler, levels)
    np.testing.assert_allclose(traced.y, plan.y, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(traced.d, plan.d, rtol=1e-9, atol=1e-12)
