"""`ej.sample_in_chunks`: sample i is that of (key, i), however many are made at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random
from jax.tree_util import Partial
from support.helpers import compilations, gaussian, later, over

import edmjax as ej
from edmjax import samplers as s
from edmjax.running import _memory

KEY = random.key(5)
GRID = ej.schedules.karras(5)
PLANS = {
    "ddpm": ej.make_plan(s.ddpm(), GRID),
    "heun": ej.make_plan(s.heun(), GRID),
    "dpmpp_2m_sde": ej.make_plan(s.dpmpp_2m_sde(), GRID),
    "churn": ej.make_plan(s.churn(s.heun(), 8.0), GRID),
}
ULPS = 2 * 2.0**-16  # an ulp is 2^-16 from 128 to 256, which a start at 80 reaches
PAIR = jax.ShapeDtypeStruct((2,), jnp.float32)


def chunks(denoise, plan, size, n=11, shape=PAIR, key=KEY, **options):
    return ej.sample_in_chunks(
        denoise, plan, key, num_samples=n, chunk_size=size, shape=shape, **options
    )


def by_hand(denoise, plan, n=11, shape=(2,), **options):
    key_start, key_steps = random.split(KEY)
    like = jnp.zeros((n, *shape))
    x = jnp.float32(plan.grid[0]) * ej.normal_like(ej.sample_keys(key_start, n), like)
    return ej.sample(denoise, plan, x, key_steps, **options)


def net(params, x, sigma):
    return jnp.tanh(x @ params) / (1 + sigma)


@pytest.mark.parametrize("name", over(PLANS, ["ddpm"], ["heun"]))
def test_chunks_make_no_difference(name):
    """To two roundings of where it starts: programs of other batch sizes vectorise otherwise."""
    whole = chunks(gaussian(), PLANS[name], 11)
    np.testing.assert_array_equal(whole, by_hand(gaussian(), PLANS[name]))
    assert type(whole) is np.ndarray and whole.shape == (11, 2) and whole.dtype == np.float32
    for size in (4, 100) if name == "ddpm" else (4,):
        np.testing.assert_allclose(chunks(gaussian(), PLANS[name], size), whole, rtol=0, atol=ULPS)
    # Another number of samples, and the first ones are the same.
    np.testing.assert_allclose(chunks(gaussian(), PLANS[name], 4, 6), whole[:6], rtol=0, atol=ULPS)
    assert len(np.unique(whole)) == whole.size


def test_the_noise_is_equal_to_the_bit():
    """The denoiser shows what it starts from, the sampler what it draws."""

    def shown(x, at):
        at.denoise(x, at.sigma)
        return x if at.index == 0 else at.noise()

    def unmoved(x, sigma):
        return x

    for n, grid in ((1, [3.0, 1.0]), (2, [3.0, 2.0, 1.0])):
        plan = ej.make_plan(shown, grid)
        whole = by_hand(unmoved, plan, 37, (5, 3))
        shape = jax.ShapeDtypeStruct((5, 3), jnp.float32)
        for size in (7, 16):
            np.testing.assert_array_equal(chunks(unmoved, plan, size, 37, shape), whole, str(n))


def test_the_condition_may_be_keys():
    def denoise(x, sigma, cond):
        return x / (1 + sigma**2) + jax.vmap(lambda key: jax.random.normal(key, (2,)))(cond)

    plan, shape = ej.make_plan(s.euler(), GRID), jax.ShapeDtypeStruct((2,), jnp.float32)
    keys = jax.random.split(jax.random.key(4), 5)
    got = ej.sample_in_chunks(
        denoise, plan, KEY, num_samples=5, chunk_size=2, shape=shape, cond=keys
    )
    whole = ej.sample_in_chunks(
        denoise, plan, KEY, num_samples=5, chunk_size=5, shape=shape, cond=keys
    )
    np.testing.assert_allclose(got, whole, rtol=1e-5, atol=1e-5)
    assert len(np.unique(got)) == got.size


def test_any_tree_and_condition():
    shape = {
        "a": jax.ShapeDtypeStruct((), jnp.float32),
        "b": [jax.ShapeDtypeStruct((2, 3), jnp.bfloat16)],
    }
    cond = {"label": np.arange(7), "weight": jnp.linspace(0, 1, 7)}

    def denoise(x, sigma, cond):
        by = cond["label"] + cond["weight"]
        return jax.tree.map(
            lambda v: (by.reshape(-1, *[1] * (v.ndim - 1)) + 0 * v).astype(v.dtype), x
        )

    plan = PLANS["ddpm"]
    got = chunks(denoise, plan, 3, 7, shape, cond=cond)
    assert jax.tree.structure(got) == jax.tree.structure(shape)
    assert got["a"].shape == (7,) and got["b"][0].shape == (7, 2, 3)
    assert got["b"][0].dtype == jnp.bfloat16
    by = np.arange(7) + np.linspace(0, 1, 7)  # the step to zero is the denoiser
    np.testing.assert_allclose(got["a"], by, rtol=1e-6)
    np.testing.assert_allclose(got["b"][0][:, 1, 2].astype(float), by, rtol=2**-8)


def test_nothing_compiles_twice():
    params = Partial(net, jnp.eye(6) / 3)
    shape = jax.ShapeDtypeStruct((6,), jnp.float32)
    with compilations() as count:
        chunks(params, PLANS["ddpm"], 8, 43, shape)
        first = len(count)
        chunks(Partial(net, jnp.eye(6) / 4), PLANS["ddpm"], 8, 77, shape, key=random.key(9))
    assert len(count) == first <= 4, count  # the key is split, the start drawn, the plan run
    traces = []

    def denoise(x, sigma):
        traces.append(1)
        return 0.5 * x

    with compilations() as count:
        chunks(denoise, PLANS["ddpm"], 8, 43, shape)
    # Once to know its shapes, once for the program, whatever the number of chunks.
    assert len(count) <= 1 and len(traces) <= 2, (count, traces)


def test_a_corrector():
    corrector, plan = ej.correctors.annealed_langevin(0.1), PLANS["ddpm"]
    got = chunks(gaussian(), plan, 11, corrector=corrector)
    np.testing.assert_array_equal(got, by_hand(gaussian(), plan, corrector=corrector))


@pytest.mark.slow
def test_a_path():
    path, plan = ej.brownian(KEY), PLANS["ddpm"]
    got = chunks(gaussian(), plan, 4, key=path)
    np.testing.assert_allclose(got, chunks(gaussian(), plan, 11, key=path), rtol=0, atol=ULPS)
    assert abs(got - chunks(gaussian(), plan, 4)).max() > 0.01


@pytest.mark.parametrize("process", [ej.processes.vp(), *later(ej.processes.cosine())])
def test_the_start_has_the_scale_that_the_plan_holds_points_in(process):
    """Of a denoiser that leaves the point alone one step of Euler's method does so too."""
    levels = process.levels([0.9 * float(process.t_max), 0.5])
    plan = ej.make_plan(s.euler(), levels)
    got = chunks(lambda x, sigma: x, plan, 5000, 20_000)
    std = process.marginal(0.9 * float(process.t_max))[1] * plan.scale[-1] / plan.scale[0]
    assert got.std() == pytest.approx(std, rel=0.02)


def unmoved(x, sigma):
    return x


def test_a_mesh_splits_the_samples_of_a_chunk():
    """Over four devices; eleven samples in chunks of five, rounded up to eight.

    A reshape asks for a sharding where the compiler may not choose one.
    """
    split = []

    def denoise(x, sigma):
        jax.debug.inspect_array_sharding(x, callback=split.append)
        return 0.5 * x.reshape(4, 2, 2).reshape(x.shape)

    mesh = jax.make_mesh((4,), ("data",))
    got = chunks(denoise, PLANS["ddpm"], 5, mesh=mesh)
    assert split and split[-1].shard_shape((8, 2)) == (2, 2)
    whole = chunks(lambda x, sigma: 0.5 * x, PLANS["ddpm"], 11)
    np.testing.assert_allclose(got, whole, rtol=0, atol=ULPS)


def test_a_mesh_may_split_the_parameters_too_wherever_they_lie():
    mesh = jax.make_mesh((2, 2), ("data", "model"))
    params = Partial(net, jax.device_put(jnp.eye(2) / 3, jax.devices()[1]))
    got, whole = (chunks(params, PLANS["ddpm"], 8, mesh=m) for m in (mesh, None))
    np.testing.assert_allclose(got, whole, rtol=0, atol=ULPS)


def test_the_noise_is_equal_to_the_bit_on_a_mesh():
    mesh = jax.make_mesh((4,), ("data",))
    plan = ej.make_plan(s.euler(), [3.0, 1.0])  # of a denoiser that leaves the point alone
    np.testing.assert_array_equal(
        chunks(unmoved, plan, 6, 37, mesh=mesh), chunks(unmoved, plan, 37, 37)
    )


@pytest.mark.parametrize("mesh", [4, "data=4"])
def test_what_is_no_mesh_is_a_sentence(mesh, unchecked):
    with pytest.raises(TypeError, match=r"`mesh` must be a `jax\.sharding\.Mesh` with"):
        chunks(gaussian(), PLANS["heun"], 4, mesh=mesh)


def test_a_mesh_without_an_axis_of_samples_is_a_sentence():
    with pytest.raises(ValueError, match="splits the samples, and this mesh has the axes batch:"):
        chunks(gaussian(), PLANS["heun"], 4, mesh=jax.make_mesh((4,), ("batch",)))


def test_every_chunk_is_handed_out_as_it_arrives():
    seen = []
    got = chunks(
        unmoved, PLANS["heun"], 4, on_chunk=lambda first, x0: seen.append((first, x0.copy()))
    )
    assert [first for first, _ in seen] == [0, 4, 8]
    np.testing.assert_array_equal(np.concatenate([x0 for _, x0 in seen]), got)
    with pytest.raises(TypeError, match=r"`on_chunk` must be a function of \(first, samples\)"):
        chunks(unmoved, PLANS["heun"], 4, on_chunk=lambda first: None)


def test_a_bar_counts_samples(capfd):
    chunks(gaussian(), PLANS["heun"], 4, progress=True)
    assert "11/11" in capfd.readouterr().err


def test_a_batch_that_does_not_fit_names_a_size_that_would(monkeypatch):
    """A sample holds 4 KiB, and a program several of those: of 1 MiB, 16 to 128 samples fit."""

    def denoise(x, sigma):
        if len(x) > 8:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating")
        return 0.5 * x

    monkeypatch.setattr(_memory, "_free", lambda device: 2**20)
    shape = jax.ShapeDtypeStruct((1024,), jnp.float32)
    with pytest.raises(MemoryError, match=r"500 samples does not fit.*chunk_size=\d+`") as err:
        chunks(denoise, PLANS["heun"], 500, 1000, shape)
    assert str(err.value).endswith(("=16`.", "=32`.", "=64`.", "=128`."))
    monkeypatch.setattr(_memory, "_free", lambda device: 2**10)
    with pytest.raises(MemoryError, match="not even one fits"):
        chunks(denoise, PLANS["heun"], 500, 1000, shape)
    with pytest.raises(MemoryError, match=r"take 4.29e\+09 GiB of the host's memory"):
        chunks(denoise, PLANS["heun"], 500, 2**50, shape)


@pytest.mark.parametrize("missing", [True, False])
def test_memory_that_the_system_does_not_know_is_a_memory_error_too(monkeypatch, missing):
    """`os.sysconf` knows free memory on Linux: macOS has no such name, Windows no such function."""

    def denoise(x, sigma):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating")

    def unknown(name):
        raise ValueError(f"unrecognized configuration name: {name}")

    if missing:
        monkeypatch.delattr(_memory.os, "sysconf")
    else:
        monkeypatch.setattr(_memory.os, "sysconf", unknown)
    with pytest.raises(MemoryError, match=r"500 samples does not fit.*a smaller `chunk_size`"):
        chunks(denoise, PLANS["heun"], 500, 1000)
