"""Grids with nearly equal levels: no sampler takes a difference of outputs over such a step."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import orders
from support.cases import MIXTURE, Mixture
from support.helpers import ALL, later, mixture, over

import edmjax as ej
from edmjax.planning.make import _is_next_to

pytestmark = pytest.mark.usefixtures("unchecked")  # checks would take longer than what they check

GRID = ej.schedules.karras(12)
SHARES = (1e-2, 1e-4, 1e-6, 1e-8)


def with_neighbour(k, share):
    """The grid with one more level, by `share` of the step after level `k` below it."""
    return np.insert(GRID, k + 1, GRID[k] - share * (GRID[k] - GRID[k + 1]))


def largest(plan):
    return max(np.abs(np.asarray(table)).max() for table in (plan.y, plan.d))


@pytest.mark.parametrize("name", over(ALL, ["dpmpp_2m", "unipc", "f_pc", "f_trig", "sa_solver"]))
def test_weights_stay_what_they_are(name):
    sampler = ALL[name][0]()
    usual = largest(ej.make_plan(sampler, GRID))
    for k, share in itertools.product((0, 3, 9), SHARES):
        assert largest(ej.make_plan(sampler, with_neighbour(k, share))) < 1.5 * usual


@pytest.mark.parametrize(
    "name", ["unipc", *later("dpmpp_2m", "dpmpp_3m", "f_ab", "f_pc", "f_trig", "lms", "deis")]
)
@pytest.mark.parametrize("dtype", [jnp.float64, *later(jnp.float32, mark=pytest.mark.slow)])
def test_the_error_stays_what_it_is(x64, name, dtype):
    """Against the flow by 400 steps; the level that is added changes little."""
    x = 80 * jax.random.normal(jax.random.key(0), (128, 2))
    fine = ej.make_plan(ej.samplers.heun(), ej.schedules.karras(400))
    flow = orders.run(Mixture(**MIXTURE).denoise, fine, x)

    def error(grid):
        plan = ej.make_plan(ALL[name][0](), grid)
        if dtype == jnp.float64:  # which compiles nothing
            got = orders.run(Mixture(**MIXTURE).denoise, plan, x)
        else:
            got = ej.sample(mixture(), plan, x.astype(dtype))
        return float(np.sqrt(np.mean((got - flow) ** 2)))

    usual = error(GRID)
    for k, share in itertools.product((3, 9), SHARES[::2]):
        assert error(with_neighbour(k, share)) < 1.7 * usual


def test_levels_that_go_up(x64):
    grid = np.sort(GRID[:-1])
    near = np.insert(grid, 4, grid[3] + 1e-7 * (grid[4] - grid[3]))
    for name in ("unipc", "dpmpp_3m", "f_pc"):
        sampler = ALL[name][0]()
        usual = largest(ej.make_plan(sampler, grid))
        assert largest(ej.make_plan(sampler, near)) < 1.5 * usual


def grids():
    for name in ej.schedules.__all__:
        for n in (3, 5, 10, 100, 999):
            try:
                yield name, np.asarray(getattr(ej.schedules, name)(n), float)
            except (TypeError, ValueError):  # another kind of function, or not of so many levels
                continue
    for spacing in ("trailing", "leading", "linspace", "legacy"):
        for betas in ("linear", "scaled_linear", "squaredcos_cap_v2"):
            for n in (3, 10, 50, 999):
                yield betas, np.asarray(ej.processes.ddpm(betas).grid(n, spacing), float)
    for n in (3, 10, 1000):
        yield "flow", np.asarray(ej.processes.flow().levels(np.linspace(1, 0, n + 1)), float)


def test_the_grids_of_the_package_have_no_neighbours():
    found = [(name, grid) for name, grid in grids() if grid.ndim == 1 and len(grid) > 2]
    assert len({name for name, _ in found}) > 15
    for name, grid in found:
        for k in range(1, len(grid) - 1):
            share = 0.005 if grid[k + 1] == 0 else 0.015
            assert not _is_next_to(*grid[k - 1 : k + 2], share), (name, len(grid), k)
