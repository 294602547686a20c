"""The reverse SDE as diffrax terms: exact moments forward in time, and what is wrong backwards.

Each coordinate of the state is a sample: the data are N(MEAN, VARIANCE) on the line, for which
every member of the family keeps the marginals of the process.
"""

import itertools
import math

import diffrax
import jax
import jax.numpy as jnp
import lineax
import numpy as np
import pytest

import edmjax as ej

SLOW = pytest.mark.slow
KEY = jax.random.key(0)
MEAN, VARIANCE, HIGH, LOW, SAMPLES = 0.4, 0.09, 5.0, 0.1, 20_000


def denoise(x, sigma):
    """Of N(MEAN, VARIANCE), for any pytree."""
    return jax.tree.map(lambda leaf: MEAN + VARIANCE / (VARIANCE + sigma**2) * (leaf - MEAN), x)


def start(shape=(SAMPLES,), seed=0):
    noise = np.random.default_rng(seed).normal(size=shape)
    return jnp.asarray(MEAN + math.sqrt(VARIANCE + HIGH**2) * noise)


def solve(solver, process, x, steps, eta=1.0, seed=0):
    """x at LOW by equal steps in the process's time."""
    form = ej.terms.make_form("t", process)
    ts = ej.terms.sde_times(process, [HIGH, LOW], x)
    h = (ts[1] - ts[0]) / steps
    path = ej.terms.brownian_path(solver, jax.random.key(seed), x, *ts, tol=float(h) / 2)
    terms = ej.terms.sde_terms(denoise, process, path, eta=eta, sigma_max=HIGH, sigma_min=LOW)
    ys = diffrax.diffeqsolve(terms, solver, *ts, h, form.enter(x, HIGH), max_steps=steps + 1).ys
    return form.leave(jax.tree.map(lambda leaf: leaf[0], ys), LOW)


def z_scores(x, mean, variance):
    """By how many Monte Carlo standard errors the mean and the variance are off."""
    x = np.asarray(x)
    return (
        (x.mean() - mean) / math.sqrt(variance / x.size),
        (x.var() - variance) / (variance * math.sqrt(2 / x.size)),
    )


def euler_moments(process, steps, eta):
    """Of x at LOW: Euler-Maruyama on an affine drift is a recursion of mean and variance.

    Written out from the process's f, g, scale and variance, which are checked elsewhere.
    """
    times = np.linspace(process.time(HIGH), process.time(LOW), steps + 1)
    scale = process.scale(times[0])
    mean, variance = scale * MEAN, scale**2 * (VARIANCE + HIGH**2)
    for t, t_next in itertools.pairwise(times):
        h = t - t_next
        f, g = process.rates(t)
        # The score of N(scale MEAN, scale^2 (VARIANCE + sigma^2)), at y.
        scale = process.scale(t)
        spread = scale**2 * (VARIANCE + process.sigma(t) ** 2)
        pull = (1 + eta**2) / 2 * g**2 / spread
        factor = 1 - h * (f + pull)
        mean = factor * mean + h * pull * scale * MEAN
        variance = factor**2 * variance + h * eta**2 * g**2
    scale = process.scale(times[-1])
    return mean / scale, variance / scale**2


SOLVERS = ["Heun", "ShARK", "SRA1", "SEA", "SlowRK", "SPaRK"]
EXACT = MEAN, VARIANCE + LOW**2


@SLOW
@pytest.mark.parametrize("name", SOLVERS)
def test_moments_are_exact(name, x64):
    """Within 4 standard errors, at steps whose bias is below them; the Levy area as asked for."""
    solver = getattr(diffrax, name)()
    # SEA is of weak order 1 where noise depends on time: its bias falls below in more steps.
    steps = 256 if name == "SEA" else 64
    x = solve(solver, ej.processes.ve(LOW, HIGH), start(), steps)
    assert np.abs(z_scores(x, *EXACT)).max() < 4


@pytest.mark.parametrize(
    "process, eta",
    [
        (ej.processes.ve(LOW, HIGH), 1.0),
        pytest.param(ej.processes.ve(LOW, HIGH), 0.5, marks=SLOW),
        pytest.param(ej.processes.vp(), 1.5, marks=SLOW),
        pytest.param(ej.processes.edm(), 0.0, marks=SLOW),
        pytest.param(ej.processes.sub_vp(), 1.0, marks=SLOW),
    ],
)
def test_euler_has_the_moments_of_its_recursion(process, eta, x64):
    steps = 12
    want = euler_moments(process, steps, eta)
    x = solve(diffrax.Euler(), process, start(), steps, eta=eta)
    assert np.abs(z_scores(x, *want)).max() < 4
    # Or the exact moments would do: that few steps are seen.
    assert np.abs(z_scores(x, *EXACT)).max() > 8


@SLOW
@pytest.mark.parametrize("eta", [0.5, 2.0])
def test_the_family_keeps_the_marginals(eta, x64):
    x = solve(diffrax.ShARK(), ej.processes.vp(), start(), 96, eta=eta)
    assert np.abs(z_scores(x, *EXACT)).max() < 4


def test_without_noise_it_is_the_flow(x64):
    """eta = 0 in one step of Euler is Euler's step along the flow; eta adds eta^2 of its score."""
    process, x = ej.processes.vp(), start((6,))
    form = ej.terms.make_form("t", process)
    ts = ej.terms.sde_times(process, [HIGH, LOW], x)
    path = ej.terms.brownian_path(diffrax.Euler(), jax.random.key(0), x, *ts, tol=0.1)
    y = form.enter(x, HIGH)
    flow = ej.terms.ode_term(denoise, form=form)
    drifts = {}
    for eta in (0.0, 1.0, 2.0):
        drift, _ = ej.terms.sde_terms(denoise, process, path, eta=eta).terms
        drifts[eta] = drift.vf(ts[0], y, None)
    np.testing.assert_allclose(drifts[0.0], -flow.vf(-ts[0], y, None), rtol=1e-12)
    t = -float(ts[0])
    scale, sigma, (_, g) = process.scale(t), process.sigma(t), process.rates(t)
    score = -(y - scale * MEAN) / (scale**2 * (VARIANCE + sigma**2))
    for eta in (1.0, 2.0):
        more = drifts[eta] - drifts[0.0]
        np.testing.assert_allclose(more, eta**2 / 2 * g**2 * score, rtol=1e-10)


def test_the_diffusion_is_diagonal_for_any_pytree(x64):
    process, solver = ej.processes.ve(LOW, HIGH), diffrax.ShARK()
    x = {"a": start((3, 2)), "b": [start((3,), seed=1)]}
    ts = ej.terms.sde_times(process, [HIGH, LOW], x)
    path = ej.terms.brownian_path(solver, jax.random.key(0), x, *ts, tol=0.1)
    _, diffusion = ej.terms.sde_terms(denoise, process, path, eta=0.5).terms
    operator = diffusion.vf(ts[0], x, None)
    assert isinstance(operator, lineax.DiagonalLinearOperator)
    control = jax.tree.map(jnp.sin, x)
    moved = diffusion.prod(operator, control)
    assert jax.tree.structure(moved) == jax.tree.structure(x)
    g = 0.5 * process.diffusion(process.time(HIGH))
    for got, w in zip(jax.tree.leaves(moved), jax.tree.leaves(control), strict=True):
        np.testing.assert_allclose(got, g * w, rtol=1e-12)


@SLOW
def test_a_pytree_is_solved_as_its_parts(x64):
    """Each leaf has the moments, and no leaf the noise of another."""
    x = {"a": start((SAMPLES // 4, 2)), "b": [start((SAMPLES // 2,), seed=1)]}
    got = solve(diffrax.ShARK(), ej.processes.ve(LOW, HIGH), x, 64)
    a, b = np.asarray(got["a"]).ravel(), np.asarray(got["b"][0])
    for leaf in (a, b):
        assert np.abs(z_scores(leaf, *EXACT)).max() < 4
    assert abs(np.corrcoef(a, b)[0, 1]) < 4 / math.sqrt(len(b))


@SLOW
def test_noise_belongs_to_the_state_and_under_vmap_to_the_sample(x64):
    process, solver, x = ej.processes.ve(LOW, HIGH), diffrax.Euler(), start((4, 2))
    # The last rows: draws are counted from the first, which would be the same.
    whole, part = (solve(solver, process, leaf, 8) for leaf in (x, x[2:]))
    assert not np.allclose(whole[2:], part)

    ts = ej.terms.sde_times(process, [HIGH, LOW], x)

    def one(key, x):
        path = ej.terms.brownian_path(solver, key, x, *ts, tol=0.05)
        terms = ej.terms.sde_terms(denoise, process, path, sigma_max=HIGH, sigma_min=LOW)
        return diffrax.diffeqsolve(terms, solver, *ts, (ts[1] - ts[0]) / 8, x, max_steps=9).ys[0]

    keys = ej.sample_keys(KEY, 4)
    whole, part = jax.vmap(one)(keys, x), jax.vmap(one)(keys[2:], x[2:])
    np.testing.assert_allclose(whole[2:], part, rtol=1e-12)


# ---- backwards


def growth(solver, t0, t1):
    """The end of dy/dt = y from y = 1, without noise, by 100 steps."""
    t_low, t_high = min(t0, t1), max(t0, t1)
    path = ej.terms.brownian_path(solver, jax.random.key(0), jnp.ones(1), t_low, t_high, tol=0.1)
    zero = diffrax.ControlTerm(lambda t, y, args: lineax.DiagonalLinearOperator(jnp.zeros(1)), path)
    terms = diffrax.MultiTerm(diffrax.ODETerm(lambda t, y, args: y), zero)
    return float(diffrax.diffeqsolve(terms, solver, t0, t1, (t1 - t0) / 100, jnp.ones(1)).ys[0, 0])


BACKWARDS = {"Euler": 1 / math.e, "Heun": 1 / math.e}
BACKWARDS |= dict.fromkeys(("ShARK", "SRA1", "SEA", "SlowRK"), math.e)


@SLOW
@pytest.mark.skipif(diffrax.__version__ != "0.7.2", reason="what diffrax 0.7.2 does")
@pytest.mark.parametrize("name", BACKWARDS)
def test_what_goes_wrong_backwards(name, x64):
    """From t = 1 to 0 the end is 1/e, and Euler and Heun come to it; the others give e.

    Stochastic Runge-Kutta solvers take the step as t1 - t0 after the direction was turned, and not
    as the control of the drift, which then has the wrong sign. So time runs forward in `sde_terms`.
    Where this fails, diffrax has been repaired.
    """
    got = growth(getattr(diffrax, name)(), 1.0, 0.0)
    assert abs(got / BACKWARDS[name] - 1) < 0.02


# ---- mistakes


def test_mistakes_are_sentences(x64, unchecked):
    x, process = start((3,)), ej.processes.ve(LOW, HIGH)
    ts = ej.terms.sde_times(process, [HIGH, LOW], x)

    def path(*ends, solver=None, key=None, tol=0.1):
        solver = diffrax.ShARK() if solver is None else solver
        key = KEY if key is None else key
        return ej.terms.brownian_path(solver, key, x, *(ends or ts), tol=tol)

    def terms(brownian=None, **options):
        brownian = path() if brownian is None else brownian
        return ej.terms.sde_terms(denoise, process, brownian, **options)

    levels = {"sigma_max": HIGH, "sigma_min": LOW}
    short = path(ts[0], (ts[0] + ts[1]) / 2)
    for error, text, call in (
        (ValueError, "path covers .*the time -t runs from", lambda: terms(short, **levels)),
        (ValueError, "path covers", lambda: terms(**levels | {"sigma_max": 2 * HIGH})),
        (ValueError, "Pass both of `sigma_max` and `sigma_min`", lambda: terms(sigma_max=1.0)),
        (TypeError, "`brownian` must be a Brownian path", lambda: terms("path")),
        (ValueError, "`eta` must be at least 0 and finite, got -1", lambda: terms(eta=-1.0)),
        (TypeError, "`process` must be a process", lambda: ej.terms.sde_terms(denoise, "vp")),
        (TypeError, "`denoise` must be a denoiser", lambda: ej.terms.sde_terms(1, None, short)),
        (ValueError, "t0 must be below t1", lambda: path(1.0, 0.0)),
        (TypeError, "`solver` must be a solver of diffrax", lambda: path(solver="ShARK")),
        (TypeError, "`solver` must be a solver of diffrax", lambda: path(solver=diffrax.ShARK)),
        (TypeError, "must be a typed key", lambda: path(key=0)),
        (TypeError, "times are float32", lambda: terms().terms[0].vf(jnp.float32(-0.5), x, None)),
        (TypeError, "`key` must be a single key", lambda: path(key=jax.random.split(KEY, 3))),
        (ValueError, "`tol` must be positive and finite", lambda: path(tol=0.0)),
        (TypeError, "`t0` must be a real scalar", lambda: path("now", 1.0)),
        (ValueError, "t0 must be below t1", lambda: path(0.0, np.inf)),
        (ValueError, "`eta` must be at least 0 and finite, got inf", lambda: terms(eta=np.inf)),
        (
            ValueError,
            "above `sigma_min` and that above 0",
            lambda: terms(sigma_max=LOW, sigma_min=HIGH),
        ),
        (TypeError, "`sigma_max` must be a real scalar", lambda: terms(sigma_max="5", sigma_min=1)),
        (
            ValueError,
            r"path has the shapes \(3,\), and the state \(4,\)",
            lambda: terms().terms[1].vf(ts[0], start((4,)), None),
        ),
        (
            ValueError,
            r"and the state \{'a': \(3,\)\}",
            lambda: terms().terms[1].vf(ts[0], {"a": x}, None),
        ),
        # diffrax's own sentence: an area that its solver cannot do without.
        (
            ValueError,
            "AbstractSpaceTimeLevyArea",
            lambda: diffrax.diffeqsolve(
                terms(path(solver=diffrax.Euler())), diffrax.ShARK(), *ts, 0.1, x
            ),
        ),
    ):
        with pytest.raises(error, match=text):
            call()
    terms(**levels)  # the whole interval is covered


def test_the_strength_of_noise_had_another_name():
    path = ej.terms.brownian_path(diffrax.Euler(), KEY, jnp.ones(3), -1.0, 0.0, tol=0.1)
    with pytest.warns(DeprecationWarning, match="`lam` of sde_terms.. is now called `eta`"):
        terms = ej.terms.sde_terms(denoise, None, path, lam=0.5)
    assert terms.terms[0].vector_field.eta == 0.5


def test_the_levy_area_is_what_the_solver_asks_for():
    x = jnp.ones(3)
    for solver, area in (
        (diffrax.Euler(), diffrax.BrownianIncrement),
        (diffrax.Heun(), diffrax.BrownianIncrement),
        (diffrax.SRA1(), diffrax.SpaceTimeLevyArea),
        (diffrax.SlowRK(), diffrax.SpaceTimeLevyArea),
    ):
        path = ej.terms.brownian_path(solver, jax.random.key(0), x, 0.0, 1.0, tol=0.1)
        assert path.levy_area is area
