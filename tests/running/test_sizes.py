"""Starts of another size than the plan's first level get a warning, and nothing waits for them."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import later

import edmjax as ej
from edmjax import processes, samplers as s

KEY = jax.random.key(0)
Z = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
DATA = ej.problems.Gaussian(np.full(4, 0.3), 0.25)
GRID = ej.schedules.karras(4)
PLAN = ej.make_plan(s.euler(), GRID)
FLOW, VP = processes.flow(), processes.vp()
# The plan, a point of its first level, and what was passed in its place, smaller and larger.
STARTS = {
    "noise of 80": (PLAN, 80 * Z, Z, 80**2 * Z),
    "half precision": (PLAN, (80 * Z).astype(jnp.bfloat16), Z.astype(jnp.bfloat16), None),
    "vp from t = 1": (ej.make_plan(s.euler(), VP.levels([1.0, 0.5, 0.1])), Z, 0.006 * Z, 152 * Z),
    "flow from t = 1": (ej.make_plan(s.euler(), FLOW.levels([1.0, 0.5, 0.0])), Z, None, 80 * Z),
    # Noise of 0.2 on data: x_t = (1 - t) x0 + t n at t = 0.2.
    "an image and noise": (
        ej.make_plan(s.euler(), FLOW.levels([0.2, 0.1, 0.0])),
        0.8 * (0.3 + 0.5 * Z[::-1]) + 0.2 * Z,
        0.02 * Z,
        30 * Z,
    ),
    # Data of size 1 far from 0, and two levels below it.
    "data far from zero": (ej.make_plan(s.euler(), [0.2, 0.1, 0.0]), 50 + Z, None, 30 * Z),
}
CALLS = {
    "sample": lambda plan, x: ej.sample(DATA, plan, x),
    "trajectory": lambda plan, x: ej.trajectory(DATA, plan, x),
    "sweep": lambda plan, x: ej.sweep(DATA, {"a": plan}, x),
    "until": lambda plan, x: ej.sample_until(DATA, plan, x, stop=1),
    "checked": lambda plan, x: ej.sample_checked(DATA, plan, x),
    "checked on the device": lambda plan, x: ej.sample_checked(DATA, plan, jnp.asarray(x)),
    "chunks": lambda plan, x: ej.sample_in_chunks(
        DATA,
        plan,
        KEY,
        num_samples=6,
        chunk_size=6,
        shape=jax.ShapeDtypeStruct((4,), x.dtype),
        x=x,
    ),
}


def said(call, *arguments):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(*arguments)
    return [str(w.message) for w in caught if "in root mean square" in str(w.message)]


@pytest.mark.parametrize("name", [*list(STARTS)[:1], *later(*list(STARTS)[1:])])
@pytest.mark.parametrize("call", ["sample", "checked on the device"])
def test_starts_of_another_size_are_noticed(name, call):
    plan, right, *wrong = STARTS[name]
    assert said(CALLS[call], plan, right) == []
    for x in wrong:
        if x is not None:
            assert len(said(CALLS[call], plan, x)) == 1


@pytest.mark.parametrize("call", later(*sorted(set(CALLS) - {"sample", "checked on the device"})))
def test_every_call_notices(call):
    plan, right, *wrong = STARTS["noise of 80"]
    assert said(CALLS[call], plan, right) == []
    assert [len(said(CALLS[call], plan, x)) for x in wrong] == [1, 1]


def test_the_sentence_says_what_to_pass():
    (words,) = said(CALLS["sample"], PLAN, Z)
    size = f"{np.sqrt((Z**2).mean()):.3g}"
    assert f"`x` is {size} in root mean square" in words
    assert "the noise alone is 80 and a point 80: pass 80 times" in words


def test_the_report_says_it_under_jit_too():
    run = jax.jit(lambda x: ej.sample_checked(DATA, PLAN, x)[1])
    small, right, large = (run(f * Z) for f in (1, 80, 6400))
    on_device = jax.device_put(PLAN)
    checked = jax.jit(lambda x: ej.sample_checked(DATA, on_device, x)[1].start)
    np.testing.assert_allclose(checked(Z), small.start)
    traced = jax.jit(lambda plan, x: ej.sample_checked(DATA, plan, x)[1].start)
    assert traced(PLAN, Z) == 1  # whose level has no number yet
    assert small.start == pytest.approx(np.sqrt((Z**2).mean()) / 80, rel=1e-5)
    assert 0.5 < right.start < 1.5 and 50 < large.start < 110
    assert "0.0" in str(small) and "times as large as a point at the plan's first" in str(small)
    assert str(right) == "Every number was finite." and small.finite


def test_what_has_no_size_to_compare_with_is_silent():
    up = ej.make_plan(s.euler(), GRID[-2::-1])
    resumed = ej.sample_until(DATA, PLAN, jnp.asarray(80 * Z), stop=3)
    resumed = jax.tree.map(np.asarray, resumed)  # from a file, at a low level
    for call in (
        lambda: ej.sample(DATA, up, 100 * Z),  # it starts from data
        lambda: ej.sample(DATA, PLAN, Z[:1]),  # four numbers may all be small
        lambda: ej.sample(DATA, PLAN, np.full((6, 4), np.nan, np.float32)),
        lambda: ej.sample(DATA, PLAN, jnp.asarray(Z)),  # it lies on the device
        lambda: jax.jit(lambda x: ej.sample(DATA, PLAN, x))(Z),
        lambda: ej.sample_until(DATA, PLAN, resumed, stop=4),
    ):
        assert said(call) == []


def test_a_denoiser_that_knows_the_width_of_its_data_is_asked():
    """Pixels from 0 to 255 and noise of 20: ten times what data of 0.5 and that noise have."""

    class Wide:
        sigma_data = np.array([60.0, 70.0, 80.0])  # one a channel

        def __call__(self, x, sigma):
            return 0.9 * x

    plan, x = ej.make_plan(s.euler(), [2.0, 1.0]), 70 * Z
    assert said(lambda: ej.sample(Wide(), plan, x)) == []
    assert len(said(lambda: ej.sample(lambda x, sigma: 0.9 * x, plan, x))) == 1


def test_the_start_of_chunks_is_looked_at_where_it_is_the_users():
    def scaled(keys, like):
        return 80 * ej.normal_like(keys, like)

    (words,) = said(
        lambda: ej.sample_in_chunks(
            *(DATA, PLAN, KEY),
            num_samples=6,
            chunk_size=3,
            shape=jax.ShapeDtypeStruct((4,), jnp.float32),
            noise=scaled,
        )
    )
    assert "The start that `noise` makes is" in words


@pytest.mark.thorough
def test_sample_never_waits_for_the_device():
    """It returns while its start is still computed."""

    @jax.jit
    def slow(x):
        square = jax.lax.fori_loop(0, 300, lambda i, v: jnp.tanh(v @ v), jnp.ones((300, 300)))
        return x + 0 * square[0, 0]

    jax.block_until_ready(ej.sample(DATA, PLAN, slow(80 * Z)))  # both are compiled
    x = slow(80 * Z)
    x0 = ej.sample(DATA, PLAN, x)
    waited = x.is_ready()
    assert jax.block_until_ready(x0).shape == Z.shape and not waited
