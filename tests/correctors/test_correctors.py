"""Correctors: where they run, what they draw, and where they are refused."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random
from support.cases import GAUSSIAN, Gaussian
from support.helpers import first, gaussian, later

import edmjax as ej
from edmjax import samplers as s
from edmjax.schedules import karras

GRID = [5.0, 2.0, 1.0, 0.0]
KEY = random.key(3)


def seen(plan, on_result=False, **options):
    """The levels at which a corrector runs, and the values of `key` that it is handed."""
    levels = []

    def corrector(denoise, x, sigma, key):
        jax.debug.callback(lambda sigma: levels.append(float(sigma)), sigma, ordered=True)
        return x

    corrector.on_result = on_result
    ej.sample(lambda x, sigma: 0.5 * x, plan, jnp.ones((2, 2)), corrector=corrector, **options)
    jax.effects_barrier()
    return levels


@pytest.mark.parametrize("make", [s.euler, s.ddpm, *later(s.euler_maruyama)])
def test_it_runs_once_a_step_and_never_at_zero(make):
    plan = ej.make_plan(make(), GRID)
    assert seen(plan, key=KEY) == [5.0, 2.0, 1.0]
    assert seen(plan, on_result=True, key=KEY) == [2.0, 1.0]
    above = ej.make_plan(make(), GRID[:-1])
    assert seen(above, key=KEY) == [5.0, 2.0]
    assert seen(above, on_result=True, key=KEY) == [2.0, 1.0]


def langevin(count, on_result=False, step=0.1):
    """`count` Langevin moves of fixed size on the exact score."""

    def corrector(denoise, x, sigma, key):
        for m in range(count):
            noise = ej.normal_like(key[m], x)
            size = step * sigma**2
            x = x + size * (denoise(x, sigma) - x) / sigma**2 + jnp.sqrt(2 * size) * noise
        return x

    corrector.num_draws, corrector.on_result = count, on_result
    return corrector


@pytest.mark.parametrize("count", first(1, [2, 1]))
@pytest.mark.parametrize("on_result", [*later(False, mark=pytest.mark.slow), True])
@pytest.mark.parametrize("make", [*later(s.euler, mark=pytest.mark.slow), s.ddpm])
@pytest.mark.parametrize("grid", first(1, [GRID, GRID[:-1]]))
def test_its_draws_are_numbered_in_order_of_use(x64, count, on_result, make, grid):
    """Against the loop by hand, on the noise that `draw_noise` gives and on the key."""
    problem, plan, corrector = gaussian(), ej.make_plan(make(), grid), langevin(count, on_result)
    x = 5 * random.normal(random.key(0), (6, 2), jnp.float64)
    noise = ej.draw_noise(plan, KEY, x, corrector=corrector)
    given = iter(noise)

    def correct(x, sigma):
        for _ in range(count):
            size = 0.1 * sigma**2
            x = x + size * problem.score(x, sigma) + np.sqrt(2 * size) * next(given)
        return x

    expected = x
    for i, (a, b) in enumerate(itertools.pairwise(grid)):
        if not on_result or i > 0:
            expected = correct(expected, a)
        down = b**2 / a if make is s.ddpm and b else b
        expected = down / a * expected + (1 - down / a) * problem.denoise(expected, a)
        if make is s.ddpm and b:
            expected = expected + np.sqrt(b**2 - down**2) * next(given)
    if on_result and grid[-1]:
        expected = correct(expected, grid[-1])
    assert next(given, None) is None
    for source in ({"noise": noise}, {"key": KEY}):
        got = ej.sample(problem, plan, x, corrector=corrector, **source)
        np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-12)
    rows = ej.sample(problem, plan, x[2:4], ej.sample_keys(KEY, 2, 2), corrector=corrector)
    np.testing.assert_allclose(rows, got[2:4], rtol=1e-11, atol=1e-12)
    alone = jax.vmap(
        lambda x, k: ej.sample(problem, plan, x, k, corrector=corrector, batched=False)
    )
    np.testing.assert_allclose(alone(x, ej.sample_keys(KEY, 6)), got, rtol=1e-11, atol=1e-12)


@pytest.mark.slow
def test_it_pulls_a_wrong_point_back_to_the_law():
    """100 small moves a step from a start twice too wide: the right variance at the end."""
    problem = ej.problems.Gaussian([0.0], 0.49)
    plan = ej.make_plan(s.euler(), [1.0, 0.8, 0.6])
    x = 2 * np.sqrt(1.49) * random.normal(random.key(0), (4000, 1))
    without = ej.sample(problem, plan, x).var()
    with_it = ej.sample(problem, plan, x, KEY, corrector=langevin(100, True, 0.05)).var()
    exact = 0.49 + 0.36
    assert without > 2 * exact
    # A move of size step * sigma^2 has its stationary variance off by some step / 2.
    assert abs(with_it - exact) < 0.1 * exact


def test_one_more_copy_of_the_network():
    plan, x = ej.make_plan(s.ddpm(), GRID), jnp.ones((2, 2))

    def text(corrector):
        run = jax.jit(
            lambda x: ej.sample(lambda x, s: jnp.tanh(x), plan, x, KEY, corrector=corrector)
        )
        return run.lower(x).as_text().count("stablehlo.tanh")

    assert text(None) == 1
    assert text(langevin(1)) == 2 and text(langevin(1, on_result=True)) == 2


def test_a_function_that_declares_nothing_gets_a_key_a_sample():
    shapes = []

    def corrector(denoise, x, sigma, key):
        shapes.append(None if key is None else key.shape)
        return x

    plan = ej.make_plan(s.euler(), GRID)

    def run(**source):
        x = jnp.ones((3, 2))
        return ej.sample(lambda x, s: 0.5 * x, plan, x, corrector=corrector, **source)

    run(key=KEY)
    run()
    assert shapes == [(3,), None]
    with pytest.raises(ValueError, match="declare how many draws"):
        run(noise=jnp.zeros((3, 3, 2)))


@pytest.mark.parametrize(
    "plan, words",
    [
        (ej.make_plan(s.heun(), GRID), r"inner evaluations \(5 in 3 steps\)"),
        (ej.make_plan(s.restart(s.heun(), [(1.0, 3.0, 2, 1)]), GRID), "inner evaluations"),
        (ej.make_plan(s.restart(s.dpmpp_2m(), [(1.0, 3.0, 2, 1)]), GRID), "inner evaluations"),
        (ej.make_plan(s.dpmpp_2m(), GRID), "history of a multistep method stale"),
        (ej.make_plan(s.euler(), [0.1, 1.0]), "go up"),
    ],
)
def test_it_is_refused_where_it_makes_no_sense(plan, words):
    with pytest.raises(ValueError, match=words):
        seen(plan)


def test_bad_correctors_get_a_sentence():
    plan, x = ej.make_plan(s.euler(), GRID), jnp.ones((2, 2))
    with pytest.raises(TypeError, match="`corrector` must be a function"):
        ej.sample(lambda x, s: x, plan, x, corrector=3)
    with pytest.raises(ValueError, match="The corrector must return the shape"):
        ej.sample(lambda x, s: x, plan, x, KEY, corrector=lambda d, x, s, k: x[:1])
    with pytest.raises(ValueError, match="pass `key` or `noise`"):
        ej.sample(lambda x, s: x, plan, x, corrector=langevin(1))


def test_what_a_partial_declares_survives_the_bare_call():
    """Attributes do not travel through jit; they are read before."""
    from jax.tree_util import Partial

    levels = []

    def move(step, denoise, x, sigma, key):
        jax.debug.callback(lambda sigma: levels.append(float(sigma)), sigma, ordered=True)
        assert key.shape == (2, 3)
        return x

    corrector = Partial(move, jnp.float32(1.0))
    corrector.on_result, corrector.num_draws = True, 2
    denoise = Partial(lambda w, x, sigma: w * x, jnp.float32(0.5))
    ej.sample(denoise, ej.make_plan(s.euler(), GRID), jnp.ones((3, 4)), KEY, corrector=corrector)
    jax.effects_barrier()
    assert levels == [2.0, 1.0]


def test_its_denoiser_knows_cond_and_returns_the_denoised_output():
    seen = []

    def denoise(x, sigma, cond=None):
        seen.append(cond is not None)
        return {"x0": 0.5 * x, "raw": x}

    def corrector(denoise, x, sigma, key):
        return x + 0.1 * (denoise(x, sigma) - x)

    plan, x = ej.make_plan(s.euler(), GRID), jnp.ones((3, 4))
    ej.sample(denoise, plan, x, cond=jnp.ones(3), corrector=corrector)
    assert seen == [True, True]


def test_the_total_of_evaluations():
    plan, corrector = ej.make_plan(s.euler(), GRID), langevin(3)
    assert ej.total_nfe(plan) == ej.total_nfe(plan, corrector) == 3
    corrector.num_evaluations = 3
    assert ej.total_nfe(plan, corrector) == 3 + 3 * 3
    corrector.on_result = True
    assert ej.total_nfe(plan, corrector) == 3 + 2 * 3


def test_inpainting_with_jumps_back(x64):
    """RePaint (Lugmayr et al. 2022, Algorithm 1) in the frame x0 + sigma n, written out as a loop.

    The known entry is set to its value with the noise of the level before each step; after the step
    to the low level, noise takes the point back up, and the steps in between are repeated.
    """
    problem, value, grid = gaussian(), 0.9, karras(6)
    low, high, steps, repeats = float(grid[4]), 1.0, 3, 2
    plan = ej.make_plan(s.restart(s.euler(), [(low, high, steps, repeats)]), grid)

    def known(denoise, x, sigma, noise):
        return x.at[:, 0].set(value + sigma * ej.normal_like(noise[0], x)[:, 0])

    known.num_draws = 1
    x = 80 * random.normal(KEY, (5, 2))
    noise = np.asarray(ej.draw_noise(plan, KEY, x, corrector=known))
    again = karras(steps + 1, low, high, final_zero=False)
    parts = [grid[:5], *[again] * repeats, grid[4:]]
    want, draws = np.asarray(x), iter(noise)
    for number, levels in enumerate(parts):
        if 0 < number <= repeats:
            want = want + np.sqrt(high**2 - low**2) * next(draws)
        for sigma, after in itertools.pairwise(levels):
            want = np.array(want)
            want[:, 0] = value + sigma * next(draws)[:, 0]
            denoised = Gaussian(**GAUSSIAN).denoise(want, sigma)
            want = denoised + after / sigma * (want - denoised)
    assert next(draws, None) is None
    got = ej.sample(problem, plan, x, KEY, corrector=known)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-10)
