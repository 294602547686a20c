"""What holds of any grid, sampler, tree and time: properties, on examples that hypothesis makes."""

import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from jax import random
from support.helpers import compilations

import edmjax as ej
from edmjax import samplers as s

SCRIPT = pathlib.Path(__file__).parents[2] / "checks" / "soak.py"
QUICK = settings(max_examples=25, deadline=None, derandomize=True)
# One step, whose plan of a step does not know the others; with draws and without.
ONE_STEP = [
    s.euler(), s.heun(), s.midpoint(), s.res_2s(), s.dpmpp_2s(0.3), s.res_3s(), s.dpm_solver(3),
    s.ddpm(), s.ancestral(s.heun(), 0.6), s.dpmpp_sde(0.7), s.seeds_3(), s.euler_maruyama(),
]  # fmt: skip
HISTORY = [
    s.dpmpp_2m(), s.lms(), s.ipndm(3), s.unipc(3), s.deis(2), s.dpmpp_3m_sde(0.5), s.sa_solver(),
    s.churn(s.dpmpp_2m(), 20.0), s.er_sde(), s.pndm(), s.dpmpp_singlestep(3), s.heunpp2(),
]  # fmt: skip


@pytest.fixture(scope="module")
def soak():
    spec = importlib.util.spec_from_file_location("soak", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@st.composite
def grids(draw, least=1, most=8):
    """Levels that fall by factors of 1.02 to 8, from up to 1,000, to zero or above it."""
    factors = draw(st.lists(st.floats(1.02, 8.0), min_size=least, max_size=most))
    levels = draw(st.floats(0.01, 1000.0)) / np.cumprod([1.0, *factors])
    return np.append(levels, 0.0) if draw(st.booleans()) else levels


def nonlinear(x, sigma):
    return np.tanh(x / (1 + sigma)) - 0.2 * np.sin(x / (1 + sigma))


@QUICK
@given(grid=grids(), sampler=st.sampled_from(ONE_STEP + HISTORY), value=st.floats(-5, 5))
def test_weights_reproduce_constants(soak, grid, sampler, value):
    plan = ej.make_plan(sampler, grid)
    got, largest = soak.run(
        plan, np.array([value]), np.zeros((plan.num_draws, 1)), lambda x, sigma: np.array([value])
    )
    np.testing.assert_allclose(got, value, rtol=0, atol=1e-11 * max(largest, abs(value)))


@QUICK
@given(
    grid=grids(2), sampler=st.sampled_from(ONE_STEP), cut=st.floats(0, 1), seed=st.integers(0, 9)
)
def test_two_grids_in_turn_are_the_joined_grid(soak, grid, sampler, cut, seed):
    middle = 1 + int(cut * (len(grid) - 3)) if len(grid) > 3 else 1
    whole = ej.make_plan(sampler, grid)
    parts = [ej.make_plan(sampler, part) for part in (grid[: middle + 1], grid[middle:])]
    rng = np.random.default_rng(seed)
    x, draws = grid[0] * rng.normal(size=3), rng.normal(size=(whole.num_draws, 3))
    expected, largest = soak.run(whole, x, draws, nonlinear)
    first = parts[0].num_draws
    assert sum(part.num_draws for part in parts) == whole.num_draws
    assert sum(part.nfe for part in parts) == whole.nfe
    point, size = soak.run(parts[0], x, draws[:first], nonlinear)
    got, other = soak.run(parts[1], point, draws[first:], nonlinear)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11 * max(largest, size, other))


@QUICK
@given(grid=grids(1, 20), sampler=st.sampled_from(ONE_STEP + HISTORY), seed=st.integers(0, 9))
def test_a_plan_is_finite_and_the_same_twice(soak, grid, sampler, seed):
    plan, again = ej.make_plan(sampler, grid), ej.make_plan(sampler, grid)
    for one, other in zip(jax.tree.leaves(plan), jax.tree.leaves(again), strict=True):
        assert np.isfinite(one).all()
        np.testing.assert_array_equal(one, other)
    rng = np.random.default_rng(seed)
    got, _ = soak.run(plan, rng.normal(size=3), rng.normal(size=(plan.num_draws, 3)), nonlinear)
    assert np.isfinite(got).all() and plan.grid[-1] == grid[-1]


LEAVES = st.tuples(
    st.sampled_from([(), (1,), (3,), (2, 3), (4, 4, 1)]),
    st.sampled_from([jnp.float32, jnp.bfloat16, jnp.float16]),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=2),
        st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=2),
    ),
    max_leaves=4,
)


@settings(QUICK, max_examples=12)
@given(tree=TREES, batch=st.integers(1, 5), sampler=st.sampled_from(ONE_STEP + HISTORY))
def test_structure_shapes_and_dtypes_are_kept(tree, batch, sampler):
    leaf = lambda v: isinstance(v, tuple)  # noqa: E731
    x = jax.tree.map(lambda v: jax.ShapeDtypeStruct((batch, *v[0]), v[1]), tree, is_leaf=leaf)
    plan = ej.make_plan(sampler, ej.schedules.karras(3))
    denoise = lambda x, sigma: jax.tree.map(lambda v: (0.5 * v).astype(v.dtype), x)  # noqa: E731
    keys = jax.eval_shape(lambda: random.key(0))
    for run in (
        lambda x, key: ej.sample(denoise, plan, x, key),
        lambda x, key: ej.sample_checked(denoise, plan, x, key)[0],
    ):
        got = jax.eval_shape(run, x, keys)
        assert jax.tree.structure(got) == jax.tree.structure(x)
        for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(x), strict=True):
            assert (one.shape, one.dtype) == (other.shape, other.dtype)


def test_levels_and_options_compile_nothing():
    x = random.normal(random.key(0), (4, 2))
    problem = ej.problems.Gaussian([0.1, 0.2], 0.3)
    jax.block_until_ready(
        ej.sample(problem, ej.make_plan(s.ddim(0.5), np.arange(6.0)[::-1]), x, random.key(1))
    )
    count = []

    @QUICK
    @given(grid=grids(5, 5), eta=st.floats(0.01, 0.99), seed=st.integers(0, 99))
    def run(grid, eta, seed):
        grid = grid if len(grid) == 6 else grid[:-1]
        plan = ej.make_plan(s.ddim(eta), [*grid[:-1], 0.0])
        key = random.key(seed)
        with compilations() as found:
            assert np.isfinite(ej.sample(problem, plan, x, key)).all()
        count.extend(name for name in found if "run" in name)

    run()
    assert not count


@pytest.mark.slow
def test_increments_of_a_path_add_up_at_any_times():
    path = ej.brownian(random.key(3))
    add = jax.jit(lambda a, b: path.increment(jax.ShapeDtypeStruct((16,), jnp.float32), a, b))

    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(st.lists(st.floats(0, 1e4, width=32), min_size=3, max_size=3))
    def run(times):
        a, b, c = (np.float32(t) for t in sorted(times))
        gap = np.abs((add(a, b) + add(b, c)) - add(a, c)).max()
        assert gap <= 2e-5 * np.sqrt(float(c) - float(a))

    run()


@pytest.mark.slow
def test_a_small_soak(soak):
    assert soak.main(["--plans", "200", "--samples", "10", "--seed", "3"]) == 0
