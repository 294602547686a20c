"""Noise belongs to the sample: whatever the batch, the chunk, vmap or the mesh. And its law."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random
from jax.sharding import AxisType
from support.helpers import OPTIMIZED, STOCHASTIC, first, later, mixture, over
from support.laws import recursion

import edmjax as ej
from edmjax import samplers as s

KEY = random.key(11)
GRID = ej.schedules.karras(6)
PLANS = {
    "one draw a step": lambda grid=GRID: ej.make_plan(s.ddpm(), grid),
    "two draws a step": lambda grid=GRID: ej.make_plan(s.churn(s.ancestral(s.euler()), 8.0), grid),
    "inner rows": lambda grid=GRID: ej.make_plan(s.churn(s.heun(), 8.0), grid),
}


def start(shape=(16, 3), sigma=80.0):
    return sigma * random.normal(random.key(1), shape)


def pointwise(x, sigma):
    """Nothing but multiplications and a tanh, so that XLA has little to reorder."""
    return jnp.tanh(x / (1 + sigma))


def test_sample_keys_are_folds_of_the_index():
    keys = ej.sample_keys(KEY, 4, start=3)
    expected = [random.fold_in(KEY, i) for i in range(3, 7)]
    np.testing.assert_array_equal(random.key_data(keys), random.key_data(jnp.stack(expected)))
    assert keys.shape == (4,) and ej.sample_keys(KEY, 0).shape == (0,)


@pytest.mark.parametrize("plan", over(PLANS, ["two draws a step"], PLANS))
def test_a_draw_is_what_the_contract_says(x64, plan):
    """Draw j of leaf l of sample i: normal(fold_in(fold_in(key_i, j), l)), then cast."""
    plan = PLANS[plan]()
    x = {
        "a": jnp.zeros((3, 2), jnp.bfloat16),
        "b": jnp.zeros((3,)),
        "c": jnp.zeros((3, 2, 2), jnp.float32),
    }
    noise = ej.draw_noise(plan, KEY, x)
    for number, (name, leaf) in enumerate(x.items()):
        assert (
            noise[name].shape == (plan.num_draws, *leaf.shape) and noise[name].dtype == leaf.dtype
        )
        wide = jnp.float64 if leaf.dtype == jnp.float64 else jnp.float32
        for j in range(plan.num_draws):
            for i in range(3):
                key = random.fold_in(random.fold_in(random.fold_in(KEY, i), j), number)
                expected = random.normal(key, leaf.shape[1:], wide).astype(leaf.dtype)
                np.testing.assert_array_equal(noise[name][j, i], expected)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), x)
    for ours, theirs in zip(
        *map(jax.tree.leaves, (noise, ej.draw_noise(plan, KEY, shapes))), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", over(STOCHASTIC, ["two_draws"], ["ddpm"]))
@pytest.mark.parametrize("dtype", [jnp.float32, *later(jnp.bfloat16)])
def test_noise_passed_in_is_bit_equal_to_noise_drawn(name, dtype):
    plan = ej.make_plan(STOCHASTIC[name][0](), GRID)
    x = start((5, 7, 3)).astype(dtype)
    noise = ej.draw_noise(plan, KEY, x)
    run = jax.jit(lambda plan, x, **source: ej.sample(pointwise, plan, x, **source))
    np.testing.assert_array_equal(run(plan, x, noise=noise), run(plan, x, key=KEY))


@pytest.mark.parametrize("name", over(STOCHASTIC, ["two_draws"], ["ddpm"]))
@pytest.mark.parametrize("dtype", first(1, [jnp.float32, jnp.float64]))
def test_noise_passed_in_is_bit_equal_around_other_denoisers(x64, name, dtype):
    """Where the arithmetic leaves the compiler a choice: sums of products, divisions, softmax."""
    plan, x = ej.make_plan(STOCHASTIC[name][0](), GRID), start((5, 2)).astype(dtype)
    noise = ej.draw_noise(plan, KEY, x)
    for denoise in (mixture(), lambda x, sigma: jnp.tanh(x / (1 + sigma)) * sigma - 0.1 * x):
        np.testing.assert_array_equal(
            ej.sample(denoise, plan, x, noise=noise), ej.sample(denoise, plan, x, KEY)
        )


@pytest.mark.parametrize("plan", over(PLANS, ["two draws a step"]))
def test_rows_alone_equal_rows_of_the_whole(plan):
    """Rows 7 to 13: the noise to the bit; the sample to roundings of the arithmetic around it."""
    plan, x, rows = PLANS[plan](), start(), slice(7, 14)
    keys = ej.sample_keys(KEY, 16)
    part = ej.draw_noise(plan, keys[rows], x[rows])
    np.testing.assert_array_equal(part, ej.draw_noise(plan, KEY, x)[:, rows])
    run = jax.jit(lambda x, key: ej.sample(pointwise, plan, x, key))  # a program a batch size
    whole = run(x, KEY)
    # Two programs: the noise is equal to the bit, the arithmetic around it to roundings.
    np.testing.assert_allclose(run(x, keys), whole, rtol=3e-6, atol=5e-6)
    np.testing.assert_array_equal(
        random.key_data(ej.sample_keys(KEY, 7, start=7)), random.key_data(keys[rows])
    )
    one = jax.jit(jax.vmap(lambda x, key: ej.sample(pointwise, plan, x, key, batched=False)))
    for part in (
        run(x[rows], keys[rows]),
        one(x[rows], keys[rows]),
        one(x, keys)[rows],
        np.concatenate([run(x[i : i + 1], keys[i : i + 1]) for i in range(7, 14)]),
    ):
        np.testing.assert_allclose(part, whole[rows], rtol=3e-6, atol=5e-6)


@pytest.mark.parametrize("plan", over(PLANS, ["inner rows"]))
@pytest.mark.parametrize("axis_type", first(1, [AxisType.Auto, AxisType.Explicit]))
def test_a_mesh_changes_nothing(plan, axis_type):
    plan, x = PLANS[plan](), start()
    whole = ej.sample(pointwise, plan, x, KEY)
    mesh = jax.make_mesh((4,), ("data",), axis_types=(axis_type,))
    with jax.set_mesh(mesh):
        spread = jax.device_put(x, jax.NamedSharding(mesh, jax.P("data")))
        keys = jax.device_put(ej.sample_keys(KEY, 16), jax.NamedSharding(mesh, jax.P("data")))
        run = jax.jit(lambda plan, x, key: ej.sample(pointwise, plan, x, key))
        for got in (run(plan, spread, keys), ej.sample(pointwise, plan, spread, keys)):
            # Programs for a part of the batch round otherwise, and Heun's weights reach 36 here.
            np.testing.assert_allclose(got, whole, rtol=3e-6, atol=5e-6)
            assert len(got.sharding.device_set) == 4
        draws = jax.jit(lambda keys: ej.draw_noise(plan, keys, spread))(keys)
        np.testing.assert_array_equal(draws, ej.draw_noise(plan, KEY, x))


@pytest.mark.parametrize("shape", first(1, [(3,), (8, 8, 1), (), (7, 1), (5, 7, 3)]))
@pytest.mark.parametrize("dtype", [jnp.float32, *later(jnp.float64)])
def test_noise_of_any_part_of_a_batch_is_equal_to_the_bit(x64, shape, dtype):
    keys = ej.sample_keys(KEY, 64)
    draw = jax.jit(lambda keys: ej.normal_like(keys, jnp.zeros((len(keys), *shape), dtype)))
    whole = draw(keys)
    for part in (slice(7, 14), slice(0, 1), slice(3, 36), slice(60, 64)):
        np.testing.assert_array_equal(draw(keys[part]), whole[part])
    one_by_one = jax.lax.map(lambda key: ej.normal_like(key, jnp.zeros(shape, dtype)), keys)
    np.testing.assert_array_equal(one_by_one, whole)
    for i in (0, 63):
        expected = random.normal(random.fold_in(keys[i], 0), shape, dtype)
        np.testing.assert_array_equal(expected, whole[i])


def test_draws_do_not_repeat():
    plan = ej.make_plan(s.churn(s.ancestral(s.euler()), 8.0), GRID)
    noise = np.asarray(ej.draw_noise(plan, KEY, jnp.zeros((16, 5))))
    assert len(np.unique(noise)) == noise.size


def test_wrong_keys_get_a_sentence(unchecked):
    with pytest.raises(TypeError, match="typed key"):
        ej.sample_keys(random.PRNGKey(0), 3)
    with pytest.raises(TypeError, match=r"single key, got an array of keys of shape \(3,\)"):
        ej.sample_keys(random.split(KEY, 3), 3)
    with pytest.raises(TypeError, match=r"`n` must be an integer, got 2\.5"):
        ej.sample_keys(KEY, 2.5)
    with pytest.raises(ValueError, match=r"`n` must be from 0 to .*got -1"):
        ej.sample_keys(KEY, -1)
    for impl in ("rbg", "unsafe_rbg"):
        with pytest.raises(ValueError, match="would depend on its batch"):
            ej.sample_keys(random.key(0, impl=impl), 3)
    with pytest.raises(TypeError, match="must be a Plan"):
        ej.draw_noise(GRID, KEY, jnp.zeros((2, 2)))
    plan = PLANS["one draw a step"]()
    with pytest.raises(TypeError, match="outside of jit"):
        jax.jit(lambda plan: ej.draw_noise(plan, KEY, jnp.zeros((2, 2))))(plan)


# ---- laws


def test_the_recursion_by_hand():
    """One DDPM step 2 -> 1 on N(0, 1): D = x / 5; x1 = r^2 x + (1 - r^2) D + r sqrt(1 - r^2) z."""
    _, variance = recursion(ej.make_plan(s.ddpm(), [2.0, 1.0]), 0.0, 1.0, 2.0)
    factor = 0.25 + 0.75 / 5
    assert variance == pytest.approx(factor**2 * 4 + 0.25 * 0.75 * 4)
    # As n grows the law is that of the data, at first order.
    gaps = []
    for n in (100, 200):
        mean, variance = recursion(ej.make_plan(s.ddpm(), ej.schedules.karras(n)), 0.7, 0.49, 80.0)
        assert mean == pytest.approx(0.7, abs=1e-2)
        gaps.append(0.49 - variance)
    assert 0 < gaps[1] < 0.6 * gaps[0] < 0.1


@pytest.mark.parametrize("name", over(STOCHASTIC, ["churn_heun"], ["two_draws"]))
def test_variance_against_the_exact_recursion(name):
    plan = ej.make_plan(STOCHASTIC[name][0](), ej.schedules.karras(24))
    problem, n = ej.problems.Gaussian([0.4, -0.1], 0.49), 100_000
    x = 80 * random.normal(random.key(3), (n, 2))
    run = jax.jit(ej.sample, compiler_options=OPTIMIZED)
    got = np.asarray(run(problem, plan, x, KEY), np.float64)
    for column, m in ((0, 0.4), (1, -0.1)):
        mean, variance = recursion(plan, m, 0.49, 80.0)
        values = got[:, column]
        assert abs(values.mean() - mean) < 4 * np.sqrt(variance / n)
        # The variance of n normal values has standard deviation variance * sqrt(2 / n).
        assert abs(values.var() - variance) < 4 * variance * np.sqrt(2 / n)


def test_stale_history_would_be_seen():
    """Churned DPM++(2M) has a variance of 0.36; three times that if its history survives noise."""
    plan = ej.make_plan(s.churn(s.dpmpp_2m(), 40.0, 0.05, 1.0), ej.schedules.karras(18))
    assert 0.3 < recursion(plan, 0.0, 0.49, 80.0)[1] < 0.5

    def stale(x, at):
        return s.churn(s.dpmpp_2m(), 40.0, 0.05, 1.0)(x, at._replace(forget=lambda: None))

    assert recursion(ej.make_plan(stale, ej.schedules.karras(18)), 0.0, 0.49, 80.0)[1] > 1
