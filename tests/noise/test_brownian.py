"""`ej.brownian`: the law of a path, its increments, one path for two grids and for diffrax."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random
from support.helpers import OPTIMIZED, first, gaussian

import edmjax as ej
from edmjax import samplers as s

PATH = ej.brownian(random.key(2))
N = 20_000
# Times next to each other, in one octave and in many, on the nodes of the tree and beside them.
TIMES = [
    (0.0, 0.3, 2.0),
    (0.002, 0.0021, 80.0),
    (1.0, 1.5, 2.0),
    (5.3, 5.31, 5.32),
    (3.9, 4.0, 9.7),
]


@pytest.fixture(scope="module")
def increment():
    like = jax.ShapeDtypeStruct((N,), jnp.float32)
    return jax.jit(lambda a, b: PATH.increment(like, a, b), compiler_options=OPTIMIZED)


@pytest.mark.parametrize("times", first(2, TIMES))
def test_increments_add_up_and_have_the_law_of_brownian_motion(increment, times):
    a, b, c = (np.float32(t) for t in times)
    first, second, both = increment(a, b), increment(b, c), increment(a, c)
    # About 50 products are summed, of numbers up to 5 in units of the whole.
    np.testing.assert_allclose(first + second, both, rtol=0, atol=1e-5 * np.sqrt(c - a))
    np.testing.assert_array_equal(increment(c, a), -both)
    np.testing.assert_array_equal(increment(b, b), np.zeros(N))
    one, two = first / np.sqrt(b - a), second / np.sqrt(c - b)
    for values, expected in (
        (one, 0), (two, 0), (one**2, 1), (two**2, 1), (one * two, 0), (one**4, 3), (both**2, c - a)
    ):  # fmt: skip
        values = np.asarray(values, float)
        assert abs(values.mean() - expected) < 4.5 * values.std() / np.sqrt(N)


def test_a_path_is_independent_of_the_others_and_of_the_batch(increment):
    whole = PATH.increment(jnp.zeros((9, 5, 3)), 1.0, 2.7)
    assert len(np.unique(whole)) == whole.size
    keys = ej.sample_keys(random.key(2), 9)[4:7]
    part = ej.brownian(keys).increment(jnp.zeros((3, 5, 3)), 1.0, 2.7)
    np.testing.assert_array_equal(part, whole[4:7])
    alone = ej.brownian(keys[0]).increment(jnp.zeros((5, 3)), 1.0, 2.7, batched=False)
    np.testing.assert_array_equal(alone, whole[4])


def test_draws_of_a_plan_are_increments_in_units_of_their_deviation():
    plan = ej.make_plan(s.dpmpp_sde(), [9.0, 4.0, 1.0])
    x = 9 * random.normal(random.key(0), (8, 3))
    noise = ej.draw_noise(plan, PATH, x)
    increment = jax.jit(lambda start, end: PATH.increment(x, start, end))
    assert plan.num_draws == len(noise) == 4
    for j, draw in enumerate(noise):
        (high, low), *_ = plan.intervals[plan.draws == j]
        expected = increment(high, low) / np.sqrt(high - low)
        np.testing.assert_allclose(draw, expected, rtol=0, atol=2e-6)
    drawn = ej.sample(lambda x, sigma: 0.5 * x, plan, x, PATH)
    given = ej.sample(lambda x, sigma: 0.5 * x, plan, x, noise=noise)
    np.testing.assert_array_equal(drawn, given)


def errors(make, path, steps=(20, 40, 80), fine=640):
    """Root mean square differences from a fine run along the same path, down to sigma = 0.05."""
    x = 80 * random.normal(random.key(3), (256, 2))
    plans = [
        ej.make_plan(make(), ej.schedules.karras(n, 0.05, final_zero=False)) for n in (*steps, fine)
    ]
    noises = [ej.draw_noise(plan, path, x) for plan in plans]
    *rough, exact = (
        np.asarray(ej.sample(gaussian(), plan, x, noise=noise), float)
        for plan, noise in zip(plans, noises, strict=True)
    )
    return [np.sqrt(np.mean((x0 - exact) ** 2)) for x0 in rough]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["euler_maruyama", "dpmpp_2m_sde", "er_sde"])
def test_samplers_of_the_reverse_sde_converge_along_the_path(name):
    """First order strongly, as noise that does not depend on the point allows."""
    found = errors(getattr(s, name), PATH)
    assert found[0] / found[2] > 4 * 0.7 and found[2] < 0.1


@pytest.mark.slow
def test_without_the_path_the_same_samplers_do_not_come_closer():
    found = errors(s.euler_maruyama, random.key(2))
    assert found[2] > 0.5 * found[0] > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("process", [ej.processes.edm(), ej.processes.vp()])
def test_diffrax_follows_the_same_path(process):
    """diffrax's Euler on the terms of the SDE makes the steps of `euler_maruyama`."""
    times = np.linspace(0.8 * float(process.t_max), 0.2 * float(process.t_max), 17)
    levels, path = process.levels(times), ej.brownian(random.key(4), process)
    sigma = float(levels.sigmas[0])
    x = sigma * random.normal(random.key(5), (6, 2))
    y = x * np.float32(levels.scale[0])
    ours = ej.sample(gaussian(), ej.make_plan(s.euler_maruyama(process), levels), y, path)
    terms = ej.terms.sde_terms(gaussian(), process, path.diffrax_path(y))
    tau = ej.terms.sde_times(process, levels.sigmas, y)
    theirs = diffrax.diffeqsolve(
        terms, diffrax.Euler(), tau[0], tau[-1], None, y, stepsize_controller=diffrax.StepTo(ts=tau)
    )
    # Times that differ by an ulp of float32, 6e-8, have increments that differ by its root.
    np.testing.assert_allclose(theirs.ys[0], ours, rtol=1e-2, atol=1e-3 * sigma)
    assert np.abs(theirs.ys[0] - ours).mean() < 1e-4 * sigma
    with pytest.raises(Exception, match=r"levy|Levy"):
        diffrax.diffeqsolve(terms, diffrax.ShARK(), tau[0], tau[-1], 0.1, y)


def test_what_makes_no_sense_gets_a_sentence(unchecked):
    x = jnp.ones((4, 2))
    churned = ej.make_plan(s.churn(s.euler(), 8.0), [2.0, 1.0])
    ddpm = ej.make_plan(s.ddpm(), [2.0, 1.0])
    with pytest.raises(ValueError, match="Draw 0 of this plan is no increment of a path"):
        ej.sample(gaussian(), churned, x, PATH)
    with pytest.raises(ValueError, match="The draws of a corrector are no increments"):
        ej.sample(gaussian(), ddpm, x, PATH, corrector=ej.correctors.langevin())
    with pytest.raises(TypeError, match="`process` must be a process"):
        ej.brownian(random.key(0), 0.5)
    with pytest.raises(TypeError, match="`key` must be a typed key"):
        ej.brownian(0)
    with pytest.raises(ValueError, match="one for each of the 4 samples, got shape"):
        ej.sample(gaussian(), ddpm, x, ej.brownian(random.split(random.key(0), 3)))
    for time in (-1.0, np.inf, np.nan, 1e39):
        with pytest.raises(ValueError, match="a time from 0 on, and finite"):
            PATH.increment(x, time, 1.0)
    with pytest.raises(TypeError, match="`batched` must be True or False, got 'no'"):
        PATH.increment(x, 0.0, 1.0, batched="no")
    got = jax.jit(lambda plan: ej.sample(gaussian(), plan, x, PATH))(churned)
    assert np.isnan(got).all()  # a traced plan cannot be looked into; the noise is not another one


@pytest.mark.thorough
def test_an_increment_to_a_traced_time_that_is_none_is_nan():
    """A negative time has the bits of other nodes, whose numbers would look like noise."""
    increment = jax.jit(lambda a, b: PATH.increment(jnp.ones((4, 2)), a, b))
    for bad in (-1.0, -1e-30, np.inf, np.nan):
        assert np.isnan(increment(bad, 1.0)).all() and np.isnan(increment(1.0, bad)).all()
    assert np.isfinite(increment(0.0, np.finfo(np.float32).max)).all()
