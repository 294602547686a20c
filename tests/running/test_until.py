"""`ej.sample_until`: a run that is cut, saved and gone on with has the bits of one that is not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random
from support.helpers import ALL, compilations, gaussian, mixture, over

import edmjax as ej
from edmjax import samplers as s

KEY = random.key(1)
GRID = ej.schedules.karras(6)
X = 80 * random.normal(random.key(0), (5, 2))


def whole(denoise, plan, **options):
    return ej.sample_until(denoise, plan, X, KEY, stop=plan.nfe, **options).x


@pytest.mark.parametrize("name", over(ALL, ["churn_heun", "unipc"]))
def test_a_run_goes_on_to_the_same_bits(name, tmp_path):
    plan = ej.make_plan(ALL[name][0](), GRID)
    uncut = whole(mixture(), plan)
    with compilations() as count:
        for cuts in ((plan.nfe // 2,), range(1, plan.nfe)):
            half = X
            for stop in cuts:
                half = ej.sample_until(mixture(), plan, half, KEY, stop=stop)
                leaves, tree = jax.tree.flatten(half)
                np.savez(tmp_path / "half.npz", *leaves)
                saved = np.load(tmp_path / "half.npz")
                half = tree.unflatten([saved[name] for name in saved.files])
            end = ej.sample_until(mixture(), plan, half, KEY, stop=plan.nfe)
            np.testing.assert_array_equal(end.x, uncut)
    # Two programs for any part, of which one begins and one goes on.
    assert not [program for program in count if "run" in program]
    # Another program than that of `sample`, whose roundings the mixture magnifies.
    np.testing.assert_allclose(uncut, ej.sample(mixture(), plan, X, KEY), rtol=0, atol=1e-4)


def test_the_point_that_comes_next_is_the_one_that_is_evaluated():
    plan = ej.make_plan(s.ddpm(), GRID)
    _, points = ej.trajectory(gaussian(), plan, X, KEY)
    for stop in (0, 3):
        got = ej.sample_until(gaussian(), plan, X, KEY, stop=stop).x
        np.testing.assert_allclose(got, points[stop], rtol=0, atol=2e-5)


@pytest.mark.slow
def test_with_a_corrector_a_path_and_half_precision():
    plan, corrector = ej.make_plan(s.ddpm(), GRID), ej.correctors.annealed_langevin(0.1)
    x = X.astype(jnp.bfloat16)
    for key, options in ((KEY, {"corrector": corrector}), (ej.brownian(KEY), {})):
        run = lambda x, stop, key=key, options=options: ej.sample_until(  # noqa: E731
            gaussian(), plan, x, key, stop=stop, **options
        )
        end = run(run(x, 2), plan.nfe).x
        np.testing.assert_array_equal(end, run(x, plan.nfe).x)
        assert end.dtype == jnp.bfloat16
        expected = ej.sample(gaussian(), plan, x, key, **options)
        np.testing.assert_allclose(end.astype(float), expected.astype(float), rtol=2**-7)


def test_wrong_parts_get_a_sentence(unchecked):
    plan, other = ej.make_plan(s.ddpm(), GRID), ej.make_plan(s.heun(), GRID)
    half = ej.sample_until(gaussian(), plan, X, KEY, stop=2)
    for stop in (1, 7):
        with pytest.raises(ValueError, match=rf"from 2, which were made, to 6, got {stop}"):
            ej.sample_until(gaussian(), plan, half, KEY, stop=stop)
    with pytest.raises(ValueError, match="`stop` must be at least 0, got -1"):
        ej.sample_until(gaussian(), plan, half, KEY, stop=-1)
    with pytest.raises(TypeError, match=r"`stop` must be an integer, got 2\.5"):
        ej.sample_until(gaussian(), plan, half, KEY, stop=2.5)
    with pytest.raises(ValueError, match="begun by a plan of other evaluations"):
        ej.sample_until(gaussian(), other, half, KEY, stop=7)


def test_going_on_with_something_else_is_refused():
    plan = ej.make_plan(s.ddpm(), GRID)
    langevin = ej.correctors.langevin(0.1)
    half = ej.sample_until(gaussian(), plan, X, KEY, stop=2, corrector=langevin)

    def go_on(plan=plan, key=KEY, corrector=langevin):
        return ej.sample_until(gaussian(), plan, half, key, stop=4, corrector=corrector)

    go_on()
    go_on(corrector=ej.correctors.langevin(0.1))
    other = ej.make_plan(s.ddpm(), ej.schedules.exponential(6))
    for name, wrong in (
        ("plan", {"plan": other}),
        ("key", {"key": random.key(9)}),
        ("key", {"key": ej.brownian(KEY)}),
        ("corrector", {"corrector": None}),
        ("corrector", {"corrector": ej.correctors.langevin(0.2)}),
    ):
        with pytest.raises(ValueError, match=f"begun with another {name}"):
            go_on(**wrong)
