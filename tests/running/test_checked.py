"""`ej.sample_checked`: which evaluation was first not finite, and for which samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random
from support.helpers import ALL, gaussian, over

import edmjax as ej
from edmjax import samplers as s

KEY = random.key(1)
GRID = ej.schedules.karras(6)


def start(shape=(5, 3)):
    return 80 * random.normal(random.key(0), shape)


def breaks_at(level, row, value=jnp.nan):
    """A denoiser whose output has a bad number in one sample, from a level downwards."""

    def denoise(x, sigma):
        return jnp.where(sigma <= level * 1.0001, 0.5 * x.at[row, 1].set(value), 0.5 * x)

    return denoise


@pytest.mark.parametrize("name", over(ALL, ["two_draws"], ["heun", "unipc"]))
def test_the_first_output_that_is_not_finite(name):
    plan, x = ej.make_plan(ALL[name][0](), GRID), start()
    k = plan.nfe // 2
    level = plan.sigmas[k]
    # Heun and others come back to a level: the first evaluation at or below it is the one.
    k = int(np.flatnonzero(plan.sigmas <= level * 1.0001)[0])
    x0, report = ej.sample_checked(breaks_at(level, 3), plan, x, KEY)
    assert (int(report.evaluation), bool(report.in_point), bool(report.finite)) == (k, False, False)
    assert float(report.sigma) == pytest.approx(plan.sigmas[k], rel=1e-6)
    np.testing.assert_array_equal(report.samples, [0, 0, 0, 1, 0])
    np.testing.assert_array_equal(report.evaluations, [-1, -1, -1, k, -1])
    np.testing.assert_array_equal(np.isfinite(x0).all(axis=1), [1, 1, 1, 0, 1])
    said = f"The denoiser's output in evaluation {k} (sigma {plan.sigmas[k]:.6g}) is not finite"
    assert str(report) == f"{said} for 1 of 5 samples: 3."


@pytest.mark.parametrize("name", over(ALL, ["heun"]))
def test_a_finite_run_is_that_of_sample(name):
    plan, x = ej.make_plan(ALL[name][0](), GRID), start()
    x0, report = ej.sample_checked(gaussian_3, plan, x, KEY)
    assert bool(report.finite) and str(report) == "Every number was finite."
    assert float(report.sigma) == -1 and not np.any(report.samples)
    np.testing.assert_allclose(x0, ej.sample(gaussian_3, plan, x, KEY), rtol=0, atol=2e-5)


def gaussian_3(x, sigma):
    return x * 0.49 / (0.49 + sigma**2)


def test_where_it_comes_from():
    plan, x = ej.make_plan(s.ddpm(), GRID), start()
    half = lambda x, sigma: 0.5 * x  # noqa: E731
    _, report = ej.sample_checked(half, plan, x.at[2, 0].set(jnp.inf), KEY)
    assert int(report.evaluation) == 0 and bool(report.in_point) and "The point of" in str(report)
    hides = lambda x, sigma: jnp.nan_to_num(0.5 * x)  # noqa: E731
    _, report = ej.sample_checked(hides, plan, x.at[2, 0].set(jnp.nan), KEY)
    assert int(report.evaluation) == 0 and bool(report.in_point)
    noise = ej.draw_noise(plan, KEY, x).at[2, 4, 0].set(jnp.nan)
    _, report = ej.sample_checked(half, plan, x, noise=noise)
    assert int(report.evaluation) == 3 and bool(report.in_point)
    np.testing.assert_array_equal(report.samples, [0, 0, 0, 0, 1])

    def raw_breaks(x, sigma):
        return {"x0": 0.5 * x, "raw": jnp.where(sigma < 1, jnp.inf, x)}

    _, report = ej.sample_checked(raw_breaks, plan, x, KEY)
    first = int(np.flatnonzero(plan.sigmas < 1)[0])
    assert (int(report.evaluation), bool(report.in_point)) == (first, False)


def test_only_the_sample_overflows():
    """In float16 the largest number is 65504, which the sum of the last step passes."""
    plan = ej.make_plan(lambda x, at: 2.0 * at.denoise(x, at.sigma), [2.0, 1.0])
    x0, report = ej.sample_checked(lambda x, sigma: x, plan, jnp.full((2, 1), 6e4, jnp.float16))
    assert int(report.evaluation) == plan.nfe == 1 and float(report.sigma) == 1.0
    assert np.isinf(x0).all() and not bool(report.in_point)


@pytest.mark.thorough
def test_trees_one_sample_jit_vmap_and_grad():
    plan = ej.make_plan(s.heun(), GRID)
    denoise = lambda x, sigma: jax.tree.map(lambda v: v / (1 + jnp.sqrt(sigma - 0.01)), x)  # noqa: E731
    x = {"a": start((4,)), "b": (start((4, 2)),)}
    _, report = jax.jit(lambda x: ej.sample_checked(denoise, plan, x))(x)
    first = int(np.flatnonzero(plan.sigmas < 0.01)[0])
    assert int(report.evaluation) == first and np.all(report.samples)
    _, report = ej.sample_checked(denoise, plan, start((3,)), batched=False)
    assert int(report.evaluation) == first and report.samples.shape == ()
    one = lambda x: ej.sample_checked(gaussian_3, plan, x, batched=False)  # noqa: E731
    _, report = jax.vmap(one)(start())
    assert report.evaluation.shape == (5,) and np.all(report.finite) and "Report(" in str(report)

    def loss(x, run):
        return jnp.sum(run(x) ** 2)

    got = jax.grad(loss)(start(), lambda x: ej.sample_checked(gaussian_3, plan, x)[0])
    wanted = jax.grad(loss)(start(), lambda x: ej.sample(gaussian_3, plan, x))
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_the_unchecked_program_holds_nothing_of_it():
    plan, x = ej.make_plan(s.dpmpp_sde(), GRID), start()

    def text(run):
        return jax.jit(run).lower(gaussian(), plan, x[:, :2], KEY).as_text()

    def unchecked(denoise, plan, x, key):
        return ej.sample(denoise, plan, x, key)

    before = text(unchecked)
    checked = text(lambda *arguments: ej.sample_checked(*arguments))
    assert "is_finite" in checked and "is_finite" not in before
    assert text(unchecked) == before and "callback" not in checked
