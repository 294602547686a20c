"""Noise of the user's own: a function `(keys, like) -> noise` wherever a plan draws, or starts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random
from jax.sharding import NamedSharding, PartitionSpec as P
from support.helpers import OPTIMIZED, compilations, gaussian, later
from support.laws import recursion

import edmjax as ej
from edmjax import samplers as s

KEY = random.key(7)
GRID = ej.schedules.karras(5)
PLAN = ej.make_plan(s.ddpm(), GRID)
FILTER = np.array([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [0.0, 0.8, 0.6]], np.float32)  # unit rows
X = 80.0 * random.normal(random.key(1), (5, 3))
PROBLEM = ej.problems.Gaussian(np.zeros(3), 0.49)
ULPS = 2 * 2.0**-16  # a start at 80 reaches 128 and more


def drawn(x, at):
    """A sampler whose sample is the draw of its last step."""
    at.denoise(x, at.sigma)
    return x if at.sigma_next > 1 else at.noise()


LAST = ej.make_plan(drawn, [3.0, 2.0, 1.0])


def unmoved(x, sigma):
    return x


def white(keys, like):
    return ej.normal_like(keys, like)


def coloured(filtered, keys, like):
    """White noise through a filter, entry by entry, so that no batch rounds it otherwise."""
    z = ej.normal_like(keys, like)
    return sum(filtered[:, j] * z[:, j, None] for j in range(z.shape[1]))


def spherical(keys, like):
    z = ej.normal_like(keys, like)
    return z * np.sqrt(z.shape[1]) / jnp.linalg.norm(z, axis=1, keepdims=True)


def constant(keys, like):
    return np.arange(np.prod(like.shape)).reshape(like.shape) / 7


def shape_of(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def chunks(plan=PLAN, size=2, n=5, key=KEY, denoise=PROBLEM, **options):
    sizes = {"num_samples": n, "chunk_size": size, "shape": shape_of(3)}
    return ej.sample_in_chunks(denoise, plan, key, **sizes, **options)


ADAPTIVE = {"sigma_max": 80.0, "sigma_min": 0.5, "max_steps": 60}
CALLS = {
    "sample": lambda **o: ej.sample(PROBLEM, PLAN, X, KEY, **o),
    "jit": lambda **o: jax.jit(lambda x: ej.sample(PROBLEM, PLAN, x, KEY, **o))(X),
    "corrector": lambda **o: ej.sample(
        PROBLEM, PLAN, X, KEY, corrector=ej.correctors.langevin(num_steps=2), **o
    ),
    "trajectory": lambda **o: ej.trajectory(PROBLEM, PLAN, X, KEY, **o)[1],
    "checked": lambda **o: ej.sample_checked(PROBLEM, PLAN, X, KEY, **o)[0],
    "sweep": lambda **o: ej.sweep(PROBLEM, [PLAN], X, KEY, **o)[0],
    "until": lambda **o: ej.sample_until(PROBLEM, PLAN, X, KEY, stop=3, **o).x,
    "remat": lambda **o: ej.sample(PROBLEM, PLAN, X, KEY, remat=True, **o),
    "one": lambda **o: ej.sample(PROBLEM, PLAN, X[0], KEY, batched=False, **o),
    "draws": lambda **o: ej.draw_noise(PLAN, KEY, X, **o),
    "draws of one": lambda **o: ej.draw_noise(PLAN, KEY, X[0], batched=False, **o),
    "chunks": lambda **o: chunks(**o),
    "adaptive": lambda **o: ej.adaptive.sample(
        PROBLEM, ej.adaptive.dpm_adaptive(rtol=0.5, eta=1.0), X, KEY, **ADAPTIVE, **o
    )[0],
}


@pytest.mark.parametrize(
    "call",
    [
        *("sample", "draws of one"),
        *later(*sorted(set(CALLS) - {"sample", "draws of one"})),
    ],
)
def test_a_function_that_makes_white_noise_changes_nothing(call):
    # With a function the corrector's step is another program, which XLA rounds differently.
    rtol = 2e-6 if call == "corrector" else 0
    np.testing.assert_allclose(CALLS[call](noise=white), CALLS[call](), rtol=rtol, atol=0)
    if call in ("sample", "adaptive"):  # and another function something
        assert abs(CALLS[call](noise=spherical) - CALLS[call]()).max() > 1e-3


def test_draws_are_those_of_the_function_given_one_key_a_sample():
    """Draw j of sample i is what the function makes of fold_in(fold_in(key, i), j)."""
    noise = ej.draw_noise(PLAN, KEY, X, noise=spherical)
    np.testing.assert_allclose(np.linalg.norm(noise, axis=-1), np.sqrt(3), rtol=1e-6)
    for j in (0, 3):
        keys = jnp.stack([random.fold_in(random.fold_in(KEY, i), j) for i in range(5)])
        np.testing.assert_allclose(noise[j], spherical(keys, X), rtol=1e-6)
    # The same draws in a run, and given as arrays.
    got = ej.sample(PROBLEM, PLAN, X, KEY, noise=spherical)
    np.testing.assert_array_equal(got, ej.sample(PROBLEM, PLAN, X, noise=noise))


def test_coloured_noise_has_the_law_of_the_recursion():
    """Of data N(0, v I) the sample is a x + sum_j b_j F z_j: its covariance is known.

    The recursion of a coordinate, from no noise and from that of sigma_max, gives sum b^2 and a.
    """
    n, variance = 40_000, 0.49
    (_, inner), (_, whole) = (recursion(PLAN, 0.0, variance, start) for start in (0.0, 80.0))
    expected = (whole - inner) * np.eye(3) + inner * FILTER @ FILTER.T
    x = 80 * random.normal(random.key(3), (n, 3))
    noise = functools.partial(coloured, FILTER)
    run = jax.jit(
        lambda x: ej.sample(PROBLEM, PLAN, x, KEY, noise=noise), compiler_options=OPTIMIZED
    )
    got = np.cov(np.asarray(run(x), np.float64), rowvar=False, bias=True)
    # An entry of n samples' covariance has the variance (c_ii c_jj + c_ij^2) / n.
    diagonal = np.diag(expected)
    spread = np.sqrt((np.outer(diagonal, diagonal) + expected**2) / n)
    assert inner > 0.2 * whole and (abs(got - expected) < 4 * spread).all()


def test_coloured_noise_is_that_of_filtered_arrays():
    noise = functools.partial(coloured, FILTER)
    white_draws = np.asarray(ej.draw_noise(PLAN, KEY, X), np.float64)
    given = (white_draws @ FILTER.T.astype(float)).astype(np.float32)
    got = ej.sample(PROBLEM, PLAN, X, KEY, noise=noise)
    np.testing.assert_allclose(got, ej.sample(PROBLEM, PLAN, X, noise=given), atol=1e-5)


def test_a_function_that_ignores_its_keys_gives_the_same_draws():
    draws = np.stack([constant(None, X)] * PLAN.num_draws).astype(np.float32)
    np.testing.assert_array_equal(ej.draw_noise(PLAN, KEY, X, noise=constant), draws)
    # To a rounding: the compiler knows these numbers, and may put them into the sums.
    got = ej.sample(PROBLEM, PLAN, X, KEY, noise=constant)
    np.testing.assert_allclose(got, ej.sample(PROBLEM, PLAN, X, noise=draws), rtol=1e-6)


@pytest.mark.parametrize("noise", [spherical, *later(None)])
def test_members_with_seeds_of_their_own(noise):
    """Sample i is that of keys[i], in any batch and any chunk, its noise to the bit."""
    keys = jax.vmap(random.key)(jnp.array([11, 3, 5, 3, 99]))
    given = {} if noise is None else {"noise": noise}
    last = functools.partial(chunks, LAST, **given)
    whole = last(5, key=keys)
    np.testing.assert_array_equal(last(2, key=keys), whole)
    np.testing.assert_array_equal(last(2, n=2, key=keys[3:]), whole[3:])
    for i in (0, 3):
        np.testing.assert_array_equal(last(1, n=1, key=keys[i : i + 1])[0], whole[i])
    np.testing.assert_array_equal(whole[1], whole[3])  # an equal seed
    # As documented, from the two halves of each key.
    starts, steps = jax.vmap(random.split, out_axes=1)(keys)
    np.testing.assert_array_equal(ej.sample(PROBLEM, LAST, X, steps, **given), whole)
    x = 80 * (noise or ej.normal_like)(starts, X)
    got = chunks(size=2, key=keys, **given)
    np.testing.assert_allclose(got, ej.sample(PROBLEM, PLAN, x, steps, **given), rtol=0, atol=ULPS)


def test_the_start_of_a_chunk_is_noise_of_the_function_too():
    first = ej.make_plan(s.euler(), [3.0, 1.0])  # of a denoiser that leaves the point alone
    got = chunks(first, 2, denoise=unmoved, noise=spherical)
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 3 * np.sqrt(3), rtol=1e-6)
    keys = ej.sample_keys(random.split(KEY)[0], 5)
    np.testing.assert_allclose(got, 3 * spherical(keys, X), rtol=1e-6)
    np.testing.assert_array_equal(chunks(first, 5, denoise=unmoved, noise=spherical), got)


def test_starts_of_ones_own_in_chunks():
    """All of them on the host, or a function of keys that makes them."""
    x = np.asarray(X, np.float64)  # in the dtype of `shape` on the device
    key_start, key_steps = random.split(KEY)
    whole = ej.sample(PROBLEM, PLAN, X, key_steps)
    np.testing.assert_array_equal(chunks(size=5, x=x), whole)
    np.testing.assert_allclose(chunks(size=2, x=x), whole, rtol=0, atol=ULPS)

    def start(keys, like):
        return 0.3 + 80 * spherical(keys, like)

    made = start(ej.sample_keys(key_start, 5), X)
    expected = ej.sample(PROBLEM, PLAN, made, key_steps, noise=spherical)
    got = chunks(size=2, x=start, noise=spherical)
    np.testing.assert_allclose(got, expected, rtol=0, atol=ULPS)
    # Where the size of the start is not known, it has to be given.
    churned = ej.make_plan(s.churn(s.euler(), 8.0), ej.processes.vp().levels([0.9, 0.5]))
    with pytest.raises(ValueError, match=r"draw the start yourself.*take it as `x`"):
        chunks(churned)
    assert chunks(churned, x=np.asarray(X) / 80).shape == (5, 3)


def test_trees_in_half_precision_are_drawn_in_the_working_dtype(x64):
    """`like` is float32 for bfloat16 leaves, and the draws are then cast."""
    x = {"a": jnp.zeros((4, 2), jnp.bfloat16), "b": jnp.zeros((4, 3)), "c": jnp.zeros((4,), "f4")}
    seen = []

    def noise(keys, like):
        seen.append((keys.shape, jax.tree.map(lambda v: (v.shape, str(v.dtype)), like)))
        return jax.tree.map(lambda v: 1.001 + jnp.zeros(v.shape, v.dtype), like)

    def shapes(n):
        return {
            "a": ((n, 2), "float32"), "b": ((n, 3), "float64"), "c": ((n,), "float32")
        }  # fmt: skip

    got = ej.sample(lambda x, sigma: x, LAST, x, KEY, noise=noise)
    draws = ej.draw_noise(LAST, KEY, x, noise=noise)
    one = ej.draw_noise(LAST, KEY, jax.tree.map(lambda v: v[0], x), noise=noise, batched=False)
    assert {str(v) for v in seen} == {str(((4,), shapes(4))), str(((1,), shapes(1)))}
    for name, leaf in x.items():
        expected = jnp.asarray(1.001, shapes(4)[name][1]).astype(leaf.dtype)
        assert got[name].dtype == draws[name].dtype == leaf.dtype
        assert (got[name] == expected).all() and (draws[name] == expected).all()
        assert one[name].shape == (LAST.num_draws, *leaf.shape[1:])


@pytest.mark.parametrize("noise", [spherical, *later(functools.partial(coloured, FILTER))])
def test_a_second_call_compiles_nothing(noise):
    for call in (
        lambda k: ej.sample(PROBLEM, PLAN, X, random.key(k), noise=noise),
        lambda k: ej.draw_noise(PLAN, random.key(k), X, noise=noise),
    ):
        jax.block_until_ready(call(0))
        with compilations() as count:
            jax.block_until_ready(call(1))
        assert count == []


@pytest.mark.thorough
def test_the_chunks_of_a_closure_share_a_program():
    traced = []

    def closure(keys, like):
        traced.append(keys)
        return spherical(keys, like)

    chunks(size=1, noise=closure)
    assert len(traced) <= 6  # of the start, and in each place of the loop


@pytest.mark.thorough
def test_a_filter_may_be_differentiated():
    """Against differences of the float64 sum; the sample is linear in the filter."""

    def total(filtered, way=jnp.sum):
        noise = functools.partial(coloured, filtered)
        return way(ej.sample(PROBLEM, PLAN, X, KEY, noise=noise))

    slope = jax.grad(total)(jnp.asarray(FILTER))
    step = np.zeros_like(FILTER)
    step[1, 0] = 1.0
    difference = total(FILTER + step, np.sum) - total(FILTER, np.sum)
    assert slope[1, 0] == pytest.approx(float(difference), rel=1e-4)


@pytest.mark.parametrize("noise", later(spherical, constant))
def test_within_shard_map_and_on_a_mesh(noise):
    """Keys of the samples go with them; on the mesh the noise is equal to the bit."""
    mesh, keys = jax.make_mesh((4,), ("data",)), ej.sample_keys(KEY, 4)
    if noise is spherical:
        got = chunks(LAST, 2, noise=noise, mesh=mesh)
        np.testing.assert_array_equal(got, chunks(LAST, 5, noise=noise))
    split = NamedSharding(mesh, P("data"))
    run = lambda x, keys: ej.sample(PROBLEM, PLAN, x, keys, noise=noise)  # noqa: E731
    alone = jax.shard_map(run, mesh=mesh, in_specs=P("data"), out_specs=P("data"))
    got = jax.jit(alone)(jax.device_put(X[:4], split), jax.device_put(keys, split))
    expected = np.concatenate([run(X[i : i + 1], keys[i : i + 1]) for i in range(4)])
    np.testing.assert_allclose(got, expected, rtol=0, atol=ULPS)


@pytest.mark.thorough
def test_a_resumed_run_draws_by_the_function_and_asks_for_it():
    whole = ej.sample_until(PROBLEM, PLAN, X, KEY, stop=5, noise=spherical).x
    half = ej.sample_until(PROBLEM, PLAN, X, KEY, stop=2, noise=spherical)
    end = ej.sample_until(PROBLEM, PLAN, half, KEY, stop=5, noise=spherical).x
    np.testing.assert_array_equal(end, whole)
    with pytest.raises(ValueError, match="begun with another key"):
        ej.sample_until(PROBLEM, PLAN, half, KEY, stop=5)


def test_a_corrector_draws_by_the_function_where_it_says_how_many():
    corrector = ej.correctors.annealed_langevin(num_steps=2)
    noise = ej.draw_noise(PLAN, KEY, X, corrector=corrector, noise=spherical)
    assert len(noise) == PLAN.num_draws + 2 * PLAN.nfe
    got = ej.sample(PROBLEM, PLAN, X, KEY, corrector=corrector, noise=spherical)
    given = ej.sample(PROBLEM, PLAN, X, corrector=corrector, noise=noise)
    np.testing.assert_array_equal(got, given)
    with pytest.raises(ValueError, match="must declare how many draws"):
        ej.sample(PROBLEM, PLAN, X, KEY, corrector=lambda d, x, s, k: x, noise=spherical)


def test_a_plan_without_draws_asks_for_no_key():
    plan = ej.make_plan(s.euler(), GRID)
    np.testing.assert_array_equal(
        ej.sample(gaussian(), plan, X[:, :2], noise=spherical),
        ej.sample(gaussian(), plan, X[:, :2]),
    )
