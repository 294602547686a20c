"""`ej.sample_until`: a run that is cut, saved and gone on with has the bits of one that is not."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random
from support import orders
from support.cases import MIXTURE, Mixture
from support.helpers import ALL, compilations, gaussian, later, mixture, over

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


# ---- edits of the point


def edited(half, change):
    return dataclasses.replace(half, x=change(half.x))


@pytest.mark.parametrize("name", over(ALL, ["dpmpp_2m"], ["unipc"]))
def test_samples_that_are_resampled_bring_their_history(x64, name):
    """Of a plan that draws nothing, sample i of the resampled run is sample `parent[i]` of it."""
    plan = ej.make_plan(ALL[name][0](), GRID)
    if plan.num_draws:
        plan = ej.make_plan(s.dpmpp_2m(), GRID)
    x, parent = X.astype(jnp.float64), np.array([3, 1, 1, 0, 3])
    starts = np.flatnonzero(np.diff(plan.step, prepend=-1))
    uncut = ej.sample_until(mixture(), plan, x, stop=plan.nfe).x
    for stop in starts[1::2]:
        half = ej.sample_until(mixture(), plan, x, stop=int(stop))
        for at in (half, ej.sample_until(mixture(), plan, half, stop=int(stop))):
            copy = edited(at, lambda x: np.asarray(x)[parent])
            end = ej.sample_until(mixture(), plan, copy, stop=plan.nfe)
            np.testing.assert_array_equal(end.x, uncut[parent])


@pytest.mark.parametrize(
    "name",
    ["heun", *later("ddpm", "dpm_2"), *later("ancestral_dpmpp_2s", mark=pytest.mark.slow)],
)
def test_an_edited_point_is_the_start_of_the_rest_of_the_grid(x64, name):
    plan, rest = (ej.make_plan(ALL[name][0](), grid) for grid in (GRID, GRID[3:]))
    start = int(np.flatnonzero(np.asarray(plan.step) == 3)[0])
    tree = {"a": X.astype(jnp.float64), "b": X[:, :1].astype(jnp.float64)}

    def denoise(x, sigma):
        both = mixture().denoise(x["a"] + 0.1 * x["b"], sigma)
        return {"a": both, "b": x["b"] / (1 + sigma**2)}

    half = ej.sample_until(denoise, plan, tree, KEY, stop=start)
    new = {"a": half.x["a"].at[1, 0].add(0.5), "b": half.x["b"] * 0.9}
    noise = None
    if plan.num_draws:
        made = plan.num_draws - rest.num_draws
        noise = jax.tree.map(lambda v: v[made:], ej.draw_noise(plan, KEY, tree))
    got = ej.sample_until(denoise, plan, dataclasses.replace(half, x=new), KEY, stop=plan.nfe).x

    def flat(tree):
        return np.concatenate([np.asarray(tree["a"]), np.asarray(tree["b"])], axis=-1)

    def by_hand(x, sigma):
        a, b = x[:, :2], x[:, 2:]
        return np.append(Mixture(**MIXTURE).denoise(a + 0.1 * b, sigma), b / (1 + sigma**2), 1)

    want = orders.run(by_hand, rest, flat(new), noise if noise is None else flat(noise))
    np.testing.assert_allclose(flat(got), want, rtol=0, atol=1e-12)


def test_an_edit_of_a_multistep_run_keeps_the_former_outputs(x64):
    """DPM-Solver++(2M) (Lu et al. 2022, Algorithm 2), written out, with an edit before a step."""
    problem, by_hand, grid = mixture(), Mixture(**MIXTURE), GRID[:-1]
    at, x = 3, np.asarray(X, float)
    plan = ej.make_plan(s.dpmpp_2m(), grid)
    lam = -np.log(grid)

    def change(x):
        return x + 0.1 * np.arange(10).reshape(5, 2)

    points, old = x, None
    for k in range(len(grid) - 1):
        points = change(points) if k == at else points
        d, h = by_hand.denoise(points, grid[k]), lam[k + 1] - lam[k]
        mixed = d
        if old is not None:
            r = (lam[k] - lam[k - 1]) / h
            mixed = (1 + 1 / (2 * r)) * d - 1 / (2 * r) * old
        points, old = grid[k + 1] / grid[k] * points - np.expm1(-h) * mixed, d
    half = edited(ej.sample_until(problem, plan, x, stop=at), change)
    got = ej.sample_until(problem, plan, half, stop=plan.nfe).x
    np.testing.assert_allclose(got, points, rtol=0, atol=1e-12)


@pytest.mark.thorough
def test_samples_are_moved_and_then_changed(x64):
    """A copy of a sample that is then changed ends where that sample ends, changed so."""
    x, parent = X[:4].astype(jnp.float64), np.array([2, 2, 0, 1])
    plan = ej.make_plan(s.dpmpp_2m(), GRID)
    half = edited(ej.sample_until(mixture(), plan, x, stop=3), lambda x: np.asarray(x)[parent])
    half = edited(ej.sample_until(mixture(), plan, half, stop=3), lambda x: 0.9 * x)
    got = ej.sample_until(mixture(), plan, half, stop=plan.nfe).x
    for i, row in enumerate(parent):
        one = edited(ej.sample_until(mixture(), plan, x[row][None], stop=3), lambda x: 0.9 * x)
        one = ej.sample_until(mixture(), plan, one, stop=plan.nfe).x
        np.testing.assert_allclose(got[i], one[0], rtol=1e-12)


def test_an_edit_of_one_sample_in_half_precision():
    plan, rest = ej.make_plan(s.euler(), GRID), ej.make_plan(s.euler(), GRID[3:])
    half = ej.sample_until(gaussian(), plan, X[0].astype(jnp.bfloat16), stop=3, batched=False)
    half = edited(half, lambda x: x + 1)
    got = ej.sample_until(gaussian(), plan, half, stop=plan.nfe, batched=False).x
    want = ej.sample(gaussian(), rest, half.x, batched=False)
    np.testing.assert_allclose(got.astype(float), want.astype(float), rtol=2**-7)


def test_an_edit_that_a_run_cannot_take_gets_a_sentence():
    plan = ej.make_plan(s.heun(), GRID)
    half = ej.sample_until(gaussian(), plan, X, stop=3)
    with pytest.raises(ValueError, match=r"within a step.*after 2 evaluations"):
        ej.sample_until(gaussian(), plan, edited(half, lambda x: x + 1), stop=plan.nfe)
    with pytest.raises(ValueError, match=r"`x` must have the shape of `the run`, \(5, 2\)"):
        ej.sample_until(gaussian(), plan, edited(half, lambda x: x[:2]), stop=plan.nfe)
