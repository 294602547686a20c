"""`ej.learning`: grids and plans that are fitted to a denoiser."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import compilations, mixture

import edmjax as ej
from edmjax.learning import descent, fit_plan, fit_schedule, grids, regression, task as tasks

MEAN, VARIANCES = np.array([0.3, -0.2, 0.1]), np.array([1.0, 0.25, 0.01])
KEY = jax.random.key(0)


def noises(shape, sigma=80.0, seed=1):
    return sigma * jax.random.normal(jax.random.key(seed), shape)


class Declared:
    """A denoiser that is for other levels."""

    sigma_range = (0.01, 50.0)

    def __call__(self, x, sigma):
        return x / (1 + sigma**2)


@pytest.fixture(scope="module")
def fitted():
    """A plan of a Gaussian with three widths, in as many evaluations as can follow it exactly."""
    gaussian = ej.problems.Gaussian(MEAN, VARIANCES)
    return gaussian, fit_plan(gaussian, 5, noises((64, 3)), KEY, final_zero=False, updates=20)


def test_the_fit_of_a_gaussian_is_its_linear_flow(fitted):
    """Its flow stretches every direction by a factor of its own; five outputs can say three."""
    _, plan = fitted
    x = np.asarray(noises((256, 3), seed=2), np.float64)
    stretch = np.sqrt((VARIANCES + 0.002**2) / (VARIANCES + 80.0**2))
    exact = MEAN + stretch * (x - MEAN)
    # The plan's rows on the Gaussian's denoiser, in float64.
    points, outputs = [x], []
    for k in range(plan.nfe + 1):
        point = plan.y[k, 0] * points[-1] + sum(
            weight * outputs[-1 - j] for j, weight in enumerate(plan.d[k]) if j < k
        )
        points.append(point)
        if k < plan.nfe:
            share = VARIANCES / (VARIANCES + plan.sigmas[k] ** 2)
            outputs.append(MEAN + share * (point - MEAN))
    assert plan.nfe == 5 and plan.grid[0] == 80.0 and plan.grid[-1] == 0.002
    # Float32 of weights of some size; the best of the plans made by hand is off by 0.08.
    np.testing.assert_allclose(points[-1], exact, atol=1e-4)


def test_a_plan_says_what_it_was_fitted_on_and_loads_to_the_same_bits(fitted, tmp_path):
    _, plan = fitted
    assert plan.about.budget == 5 and plan.about.sigma_range == (0.002, 80.0)
    assert plan.about.fitted_on.startswith("48 noises, RMS error") and "16 more" in repr(plan)
    assert 0 < plan.about.validation_error < 1e-3
    plan.save(tmp_path / "plan.json")
    loaded = ej.Plan.load(tmp_path / "plan.json")
    for name in ("sigmas", "grid", "y", "d"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(plan, name))
    assert loaded.about.fitted_on == plan.about.fitted_on

    with pytest.raises(ValueError, match="was fitted for noise levels"):
        ej.sample(Declared(), loaded, noises((2, 3)))


@pytest.mark.parametrize("end", [0.0, 0.01])
def test_rows_are_consistent_whatever_the_weights(end):
    """With a denoiser that returns one point, what is left is the noise of the last level."""
    rng = np.random.default_rng(3)
    sigmas = np.append(np.sort(rng.uniform(0.1, 80, 7))[::-1], end)
    plan = regression.plan_of(sigmas, rng.normal(size=(7, 4)))
    np.testing.assert_allclose(plan.y[:, 0] + plan.d.sum(axis=1), 1.0, rtol=1e-14)
    x, x0 = np.array([[1.0, -2.0]]) * sigmas[0], np.array([[0.7, 0.4]])
    points = [x]
    for k in range(8):
        points.append(plan.y[k, 0] * points[-1] + (plan.d[k].sum() * x0 if k else 0))
        level = sigmas[k]
        np.testing.assert_allclose(points[-1], x0 + level / sigmas[0] * (x - x0), rtol=1e-12)


def test_a_grid_has_the_ends_and_the_shares_of_its_logits():
    sigmas = ej.schedules.karras(9, final_zero=False)
    for logits in (grids.logits_of(sigmas), jnp.asarray(grids.logits_of(sigmas))):
        made = grids.levels(logits + 3.0, 0.002, 80.0)
        np.testing.assert_allclose(made, sigmas, rtol=1e-4)
    exact = grids.levels(grids.logits_of(sigmas), 0.002, 80.0)
    np.testing.assert_allclose(exact, sigmas, rtol=1e-12)
    assert exact[0] == 80.0 and exact[-1] == 0.002
    assert grids.ending(exact, True)[-1] == 0 and (np.diff(exact) < 0).all()


def task_of(problem, nfe, x, **options):
    options = {"cond": None, "sigma_min": 0.01, "sigma_max": 20.0, "final_zero": True} | options
    return tasks.task_of(problem, nfe, x, KEY, reference_nfe=None, **options)


@pytest.mark.thorough
def test_gradients_in_levels_and_weights_are_finite_differences():
    with jax.enable_x64(True):
        problem = mixture()
        task = task_of(problem, 4, jnp.asarray(noises((16, 2), 20.0), float))
        grid = grids.logits_of(ej.schedules.karras(5, 0.01, 20.0, final_zero=False))
        rng = np.random.default_rng(0)
        at = (jnp.asarray(grid), jnp.asarray(0.1 * rng.normal(size=(4, 2))))
        to = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), at)

        @jax.jit
        def value(step):
            logits, c = jax.tree.map(lambda a, b: a + step * b, at, to)
            sigmas = grids.levels(logits, 0.01, 20.0)
            way = regression.run_rows(task, problem, sigmas, task.train, c)
            there = tasks.interpolate(task.train.outputs, sigmas[1:-1], 0.01, 20.0)
            return jnp.sum(way.x**2) + jnp.sum((way.outputs[1:] - there) ** 2)

        slope = jax.jit(jax.grad(value))(0.0)
        # Central differences err by step^2, and round by 1e-16 / step.
        np.testing.assert_allclose((value(1e-5) - value(-1e-5)) / 2e-5, slope, rtol=1e-6)


def test_the_way_of_the_flow_is_found_between_its_levels():
    """Against the exact flow of a Gaussian, at levels between those that were kept."""
    with jax.enable_x64(True):
        x = jnp.asarray(noises((16, 3), 20.0), float)
        task = task_of(ej.problems.Gaussian(MEAN, VARIANCES), 3, x)
        sigmas = jnp.asarray([17.0, 1.3, 0.2, 0.013])
        got = tasks.interpolate(task.validation.points, sigmas, 0.01, 20.0)
        total = np.sqrt(VARIANCES + np.asarray(sigmas)[:, None] ** 2)
        start = task.validation.points[0]
        exact = MEAN + total[:, None] / np.sqrt(VARIANCES + 20.0**2) * (start - MEAN)
        np.testing.assert_allclose(got, exact, atol=2e-5)
        # What a plan is to end in: the denoised end.
        low = np.sqrt((VARIANCES + 1e-4) / (VARIANCES + 400)) * (start - MEAN)
        end = MEAN + VARIANCES / (VARIANCES + 1e-4) * low
        np.testing.assert_allclose(task.validation.end, end, atol=2e-5)
        # Which noises are which, and that none is in both parts.
        rows = np.asarray(task.x)
        np.testing.assert_array_equal(rows[:4], start)
        np.testing.assert_array_equal(rows[4:], task.train.points[0])
        assert len(np.unique(rows[:, 0])) == 16


@pytest.mark.parametrize("rates, better", [(0.3, True), (-50.0, False)])
def test_descent_returns_the_best_score_and_never_worse_than_the_start(rates, better):
    def loss(params, data, rows):
        return jnp.mean((params - data[rows]) ** 2)

    def score(params, data):
        return jnp.sum((params - 1.0) ** 2), params

    start, data = jnp.zeros(3), jnp.ones((10, 3))
    batches = jnp.tile(jnp.arange(4), (40, 1))
    with compilations() as count:
        best = descent.descend(
            loss, score, start, data, batches, rates=rates, progress=False, label=""
        )
    assert (best.score < 0.01) == better
    assert best.score == float(score(best.params, data)[0]) <= 3.0
    np.testing.assert_array_equal(best.found, best.params)
    assert better or (best.params == 0).all()
    assert [name for name in count if "advance" in name] == ["jit(advance)"]


@pytest.mark.slow
def test_a_schedule_ends_nearer_to_the_flow_than_its_start():
    problem, sampler = mixture(), ej.samplers.heun()
    options = {"sigma_min": 0.01, "sigma_max": 20.0}
    x = noises((64, 2), 20.0)
    sigmas, report = fit_schedule(problem, sampler, 7, x, KEY, updates=40, **options)
    assert ej.make_plan(sampler, sigmas).nfe == 7
    assert sigmas.dtype == np.float64 and sigmas[0] == 20.0 and sigmas[-1] == 0
    assert (report.num_train, report.num_validation) == (48, 16)
    fresh = noises((512, 2), 20.0, seed=5)
    fine = ej.make_plan(ej.samplers.unipc(3), ej.schedules.exponential(200, 0.01, 20.0))
    by_hand = ej.schedules.karras(4, 0.01, 20.0)
    plans = {"fine": fine, "karras": ej.make_plan(sampler, by_hand)}
    ends = ej.sweep(problem, plans | {"fitted": ej.make_plan(sampler, sigmas)}, fresh)
    error = {
        name: float(jnp.exp(jnp.mean(jnp.log(jnp.linalg.norm(ends[name] - ends["fine"], axis=1)))))
        for name in ("karras", "fitted")
    }
    assert error["fitted"] < 0.7 * error["karras"]


@pytest.mark.slow
def test_trees_conditions_and_float32():
    """Samples of two leaves, whose mean is the condition; half precision in one of them."""

    def denoise(x, sigma, cond):
        share = 0.25 / (0.25 + sigma**2)
        return {
            "a": cond[:, None] + share * (x["a"] - cond[:, None]),
            "b": (share * x["b"].astype(jnp.float32)).astype(jnp.float16),
        }

    x = {"a": noises((32, 3), 10.0), "b": noises((32, 2, 2), 10.0, seed=2).astype(jnp.float16)}
    cond = jnp.linspace(-1, 1, 32)
    plan = fit_plan(denoise, 3, x, KEY, cond=cond, sigma_max=10.0, sigma_min=0.01, updates=4)
    got = ej.sample(denoise, plan, x, cond=cond)
    stretch = 0.5 / np.sqrt(0.25 + 100)
    exact = cond[:, None] + stretch * (x["a"] - cond[:, None])
    np.testing.assert_allclose(got["a"], exact, atol=0.02)
    assert got["b"].dtype == jnp.float16


X = np.asarray(noises((32, 3)))


def identity(x, sigma):
    return x


def not_finite(x, sigma):
    return jnp.where(sigma < 0.5, jnp.nan, x / (1 + sigma**2))


@pytest.mark.parametrize(
    "arguments, options, error, phrase",
    [
        ((3, 5, X, KEY), {}, TypeError, "`denoise` must be a function"),
        ((identity, 0, X, KEY), {}, ValueError, "`nfe` must be at least 1, got 0"),
        ((identity, 5.0, X, KEY), {}, TypeError, "`nfe` must be an integer"),
        (
            (identity, 5, X[:15], KEY),
            {},
            ValueError,
            "15 noises: a fit needs at least 16",
        ),
        ((identity, 5, X / 80, KEY), {}, ValueError, "must be noise at sigma_max = 80, and its"),
        ((identity, 5, X * np.nan, KEY), {}, ValueError, "`x` must be finite"),
        ((identity, 5, X.astype(int), KEY), {}, TypeError, "floating"),
        ((identity, 5, X, 0), {}, TypeError, "key"),
        ((lambda x, s, c: x, 5, X, KEY), {"cond": np.zeros(3)}, ValueError, "the 32 samples of"),
        ((identity, 5, X, KEY), {"updates": -1}, ValueError, "`updates` must be at least 0"),
        ((identity, 5, X, KEY), {"reference_nfe": 9}, ValueError, "`reference_nfe` must be at"),
        ((identity, 5, X, KEY), {"sigma_min": 90.0}, ValueError, "`sigma_min` must be below"),
        ((lambda x, s: x[:, :2], 5, X, KEY), {}, ValueError, "must return the shape of `x`"),
        ((not_finite, 5, X, KEY), {}, ValueError, "NaN or infinity at sigma = 0.4"),
        ((Declared(), 5, X, KEY), {}, ValueError, "make the plan on a grid within that"),
    ],
)
def test_mistakes_are_sentences(arguments, options, error, phrase, unchecked):
    with pytest.raises(error, match=phrase):
        fit_plan(*arguments, **options)


def test_the_former_name_of_a_report_warns():
    with pytest.warns(
        DeprecationWarning, match=r"learning\.Report is now edmjax\.learning\.FitReport"
    ):
        assert ej.learning.Report is ej.learning.FitReport


def test_noise_about_a_far_mean_is_noise_at_sigma_max():
    tasks._check_scale(X + 1e4, 80.0)
    with pytest.raises(ValueError, match="its standard deviation is 0"):
        tasks._check_scale(np.full((16, 3), 80.0), 80.0)


@pytest.mark.parametrize(
    "sampler, nfe, phrase",
    [
        (ej.samplers.heun(), 6, "never takes nfe = 6 evaluations: ask for 5 or 7"),
        (ej.samplers.euler_maruyama(), 6, "draws noise"),
    ],
)
def test_samplers_that_cannot_be_fitted_get_a_sentence(sampler, nfe, phrase):
    with pytest.raises(ValueError, match=phrase):
        fit_schedule(identity, sampler, nfe, X, KEY)


@pytest.mark.slow
def test_a_longer_fit_compiles_as_much():
    def programs(updates):
        with compilations() as count:
            fit_plan(mixture(), 3, noises((32, 2)), KEY, updates=updates)
        return [name for name in count if "advance" in name or "fit" in name or "score" in name]

    assert programs(20) == programs(60) == ["jit(fit)", "jit(score)", "jit(advance)"]


@pytest.mark.slow
def test_a_fit_holds_on_fresh_noises_of_a_mixture():
    """Float32; against the best of the plans that a user would take by hand."""
    problem = mixture()
    plan = fit_plan(problem, 6, noises((256, 2)), KEY, final_zero=False, updates=200)
    fresh = noises((2048, 2), seed=7)
    ends = {"sigma_min": 0.002, "sigma_max": 80.0, "final_zero": False}
    width = float(jnp.std(problem.sample(KEY, 4096), axis=0).mean())
    plans = {
        "fine": ej.make_plan(ej.samplers.unipc(3), ej.schedules.exponential(300, **ends)),
        "fitted": plan,
        "recommended": ej.make_plan(*ej.recommend(6, sigma_data=width, **ends)),
        "dpmpp": ej.make_plan(ej.samplers.dpmpp_2m(), ej.schedules.karras(7, **ends)),
    }
    got = ej.sweep(problem, plans, fresh)
    median = {
        name: float(jnp.median(jnp.linalg.norm(x0 - got["fine"], axis=1)))
        for name, x0 in got.items()
    }
    assert median["fitted"] < 0.3 * min(median["recommended"], median["dpmpp"])
