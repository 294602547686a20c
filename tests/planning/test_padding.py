"""`make_plan(like=...)`: plans of different samplers that run in one compiled program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random
from support.helpers import compilations, final, mixture, over

import edmjax as ej
from edmjax import samplers as s

GRID = ej.schedules.karras(8)
KEY = random.key(2)
# (what is padded, what it is padded like)
PAIRS = {
    "eta": (lambda: s.ddim(0.0), lambda: s.ddim(1.0)),
    "two windows of churn": (
        lambda: s.churn(s.heun(), 8.0, 1.0, 20.0),
        lambda: s.churn(s.heun(), 8.0, 0.01, 0.5),
    ),
    "no churn": (s.heun, lambda: s.churn(s.heun(), 8.0)),
    "one step like several": (s.euler, lambda: s.lms(4)),
    "path": (lambda: s.dpmpp_sde(eta=0.0), s.dpmpp_sde),
}


def start(dtype=jnp.float32):
    return 80 * random.normal(random.key(1), (5, 2), dtype)


@pytest.mark.parametrize("pair", over(PAIRS, ["eta", "no churn", "one step like several"], PAIRS))
def test_a_padded_plan_gives_the_same_sample_in_the_same_program(pair):
    short, long = (make() for make in PAIRS[pair])
    like = ej.make_plan(long, GRID)
    plan, padded = ej.make_plan(short, GRID), ej.make_plan(short, GRID, like=like)
    assert jax.tree.structure(padded) == jax.tree.structure(like)
    assert [v.shape for v in jax.tree.leaves(padded)] == [v.shape for v in jax.tree.leaves(like)]
    assert padded.num_draws == plan.num_draws
    run = jax.jit(lambda plan, x, key: ej.sample(mixture(), plan, x, key))
    final(run(like, start(), KEY))
    with compilations() as count:
        got = final(run(padded, start(), KEY))
    assert count == []
    np.testing.assert_allclose(got, ej.sample(mixture(), plan, start(), KEY), rtol=1e-5, atol=1e-5)


@pytest.mark.thorough
def test_noise_of_a_padded_plan(x64):
    """As many draws as it makes, which may be none; a slot without a draw adds nothing."""
    like = ej.make_plan(s.churn(s.heun(), 8.0), GRID)
    x = start(jnp.float64)
    for sampler in (s.heun(), s.churn(s.heun(), 8.0, 1.0, 20.0)):
        plan, padded = ej.make_plan(sampler, GRID), ej.make_plan(sampler, GRID, like=like)
        noise = ej.draw_noise(padded, KEY, x)
        assert noise.shape == (plan.num_draws, *x.shape)
        got = ej.sample(mixture(), padded, x, noise=noise)
        expected = ej.sample(mixture(), plan, x, KEY)
        np.testing.assert_allclose(got, expected, rtol=1e-12)
        np.testing.assert_array_equal(got, ej.sample(mixture(), padded, x, KEY))
    without = ej.make_plan(s.heun(), GRID, like=like)
    np.testing.assert_array_equal(
        ej.sample(mixture(), without, x), ej.sample(mixture(), without, x, KEY)
    )


def test_raw_outputs_and_a_scale_are_padded(x64):
    levels = ej.processes.vp().levels(np.linspace(1.0, 0.01, 9))

    def with_raw(x, at):
        denoised, raw = at.denoise(x, at.sigma, raw=True)
        return x + (1 - at.sigma_next / at.sigma) * (0.5 * (denoised + raw) - x)

    like = ej.make_plan(with_raw, levels)
    in_scale = ej.make_plan(s.euler(), levels, like=like)
    np.testing.assert_array_equal(in_scale.r, 0.0)
    x = random.normal(random.key(4), (5, 2))
    expected = ej.sample(mixture(), ej.make_plan(s.euler(), levels), x)
    np.testing.assert_allclose(ej.sample(mixture(), in_scale, x), expected, rtol=1e-12)
    held_as_is = ej.make_plan(s.euler(), levels.sigmas, like=like)
    np.testing.assert_array_equal(held_as_is.scale, 1.0)
    np.testing.assert_allclose(
        ej.sample(mixture(), held_as_is, x * levels.sigmas[0]),
        ej.sample(mixture(), ej.make_plan(s.euler(), levels.sigmas), x * levels.sigmas[0]),
        rtol=1e-12,
    )


def test_traced_levels_are_padded():
    like = ej.make_plan(s.ddim(1.0), GRID)

    @jax.jit
    def slope(levels):
        def loss(levels):
            plan = ej.make_plan(s.ddim(0.0), levels, ends_at_zero=True, like=like)
            return jnp.sum(ej.sample(mixture(), plan, start(), KEY))

        return jax.grad(loss)(levels)

    assert np.isfinite(slope([*jnp.asarray(GRID)[:-1].tolist(), 0.0])[0])


@pytest.mark.parametrize(
    "sampler, like, words",
    [
        (s.ddim(1.0), lambda: ej.make_plan(s.ddim(0.0), GRID), "1 draws a row and `like` has room"),
        (
            s.lms(),
            lambda: ej.make_plan(s.euler(), GRID),
            "keeps 4 points and `like` has room for 1",
        ),
        (s.euler(), lambda: ej.make_plan(s.heun(), GRID), "8 steps and 8 evaluations, `like` has"),
        (s.euler(), lambda: GRID, "`like` must be a Plan"),
    ],
)
def test_what_does_not_fit_gets_a_sentence(sampler, like, words):
    with pytest.raises((TypeError, ValueError), match=words):
        ej.make_plan(sampler, GRID, like=like())


def test_a_scale_needs_room():
    levels = ej.processes.vp().levels(np.linspace(1.0, 0.01, 9))
    with pytest.raises(ValueError, match="in the scale of a process and `like` does not"):
        ej.make_plan(s.euler(), levels, like=ej.make_plan(s.euler(), levels.sigmas))
