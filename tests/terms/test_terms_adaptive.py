"""Adaptive solvers of diffrax: true counts, the exact flow, mistakes in sentences."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from support import orders
from support.cases import GAUSSIAN, MIXTURE, Gaussian
from support.helpers import compilations

import edmjax as ej

HIGH, LOW = 5.0, 0.5


def adaptive(denoise, x, **options):
    return ej.terms.adaptive_sample(denoise, x, **{"sigma_max": HIGH, "sigma_min": LOW} | options)


CALLS = []


def counted(problem, x, sigma):
    jax.debug.callback(lambda _: CALLS.append(1), sigma)
    return problem(x, sigma)


SLOW = pytest.mark.slow  # each compiles diffrax's loop
SOLVERS = ["Bosh3"] + [
    pytest.param(name, marks=SLOW) for name in ("Heun", "Ralston", "Tsit5", "Dopri5", "Dopri8")
]


@pytest.mark.parametrize("name", SOLVERS)
def test_evaluations_are_those_that_ran(name, x64):
    """A callback counts them: at a loose tolerance, and at one that rejects steps."""
    solver, x = getattr(diffrax, name)(), jnp.asarray(orders.start(HIGH, (16, 2)))
    problem = ej.problems.Mixture(**MIXTURE)
    term = ej.terms.ode_term(problem)
    form = term.vector_field.form
    ts = form.times([80.0, 0.002], x)

    @jax.jit
    def rejected(tol):  # by diffrax's own account
        controller = diffrax.PIDController(rtol=tol, atol=tol)
        h, y = (ts[1] - ts[0]) / 20, form.enter(x, 80.0)
        stats = diffrax.diffeqsolve(
            term, solver, *ts, h, y, stepsize_controller=controller, throw=False
        ).stats
        return stats["num_rejected_steps"]

    tolerances = (1e-2, 1e-4)
    for tol in tolerances:
        CALLS.clear()
        denoise, levels = Partial(counted, problem), {"sigma_max": 80.0, "sigma_min": 0.002}
        options = {"solver": solver, "rtol": tol, "atol": tol, "per_sample": False}
        _, report = adaptive(denoise, x, **options, **levels)
        jax.effects_barrier()
        assert (report.nfe == len(CALLS)).all() and report.nfe.dtype == jnp.int32
        assert (report.rejected == rejected(tol)).all()
    # Or rejected steps would not be in the test.
    assert max(int(rejected(tol)) for tol in tolerances) > 0


@SLOW
def test_it_is_the_exact_flow_in_every_form(x64):
    """To some 100 tolerances, which is what a method of order 5 makes of an error per step."""
    gaussian, problem = Gaussian(**GAUSSIAN), ej.problems.Gaussian(**GAUSSIAN)
    x = orders.start(HIGH, (16, 2))
    want = gaussian.flow(x, HIGH, LOW)
    for form in ("theta", "log_sigma", "sigma", "t"):
        options = {"form": form, "process": ej.processes.vp(), "per_sample": False}
        x0, report = adaptive(problem, x, rtol=1e-8, atol=1e-8, **options)
        assert x0.dtype == jnp.float64 and 30 < report.nfe.max() < 1000
        np.testing.assert_array_equal(report.sigma, LOW)
        np.testing.assert_allclose(x0, want, atol=1e-6, err_msg=form)


@SLOW
def test_each_sample_has_its_own_steps(x64):
    """Alone, a sample takes the same steps: the same count and, to rounding, the same end."""
    problem, x = ej.problems.Mixture(**MIXTURE), jnp.asarray(orders.start(HIGH, (6, 2)))
    x = {"a": x[:, :1], "b": x[:, 1]}

    def denoise(x, sigma, cond):
        joined = jnp.concatenate([x["a"], x["b"][:, None]], axis=-1) - cond
        out = problem(joined, sigma) + cond
        return {"a": out[:, :1], "b": out[:, 1]}

    options = {"rtol": 1e-4, "atol": 1e-4, "solver": diffrax.Bosh3(), "sigma_min": 0.01}
    cond = jnp.linspace(0.0, 1.0, 6)[:, None]
    x0, report = adaptive(denoise, x, cond=cond, **options)
    assert report.nfe.shape == (6,) and len(set(report.nfe.tolist())) > 1
    shared, one = adaptive(denoise, x, cond=cond, per_sample=False, **options)
    assert len(set(one.nfe.tolist())) == 1 and not np.array_equal(shared["b"], x0["b"])
    for i in (0, 3, 5):
        part = jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], x)
        options |= {"per_sample": False}
        alone, one = adaptive(denoise, part, cond=cond[i : i + 1], **options)
        assert one.nfe[0] == report.nfe[i] and one.rejected[0] == report.rejected[i]
        for name in x:
            np.testing.assert_allclose(alone[name][0], x0[name][i], rtol=1e-9, atol=1e-11)


def test_numbers_alone_compile_once():
    def net(scale, x, c_noise):
        return scale * x

    def run(scale, tol, low, seed):
        denoise = ej.denoisers.edm(Partial(net, jnp.float32(scale)))
        x = HIGH * jax.random.normal(jax.random.key(seed), (4, 3))
        return adaptive(denoise, x, rtol=tol, atol=tol, sigma_min=low)

    with compilations() as first:
        run(0.3, 1e-3, 0.1, 0)
    with compilations() as second:
        x0, _ = run(0.2, 1e-4, 0.2, 1)
    assert [sum("_solve" in name for name in names) for names in (first, second)] == [1, 0]
    assert np.isfinite(x0).all()


@SLOW
def test_half_precision_points_are_carried_wider():
    seen = set()

    def net(x, c_noise):
        seen.add(x.dtype)
        return 0.3 * x

    x = jnp.asarray(orders.start(HIGH, (64, 2)), jnp.bfloat16)
    for denoise in (ej.denoisers.edm(net), ej.problems.Gaussian(np.zeros(2), 0.25)):
        x0, _ = adaptive(denoise, x, rtol=1e-3, atol=1e-3, sigma_min=0.01)
        assert x0.dtype == jnp.bfloat16
    assert seen == {jnp.dtype(jnp.bfloat16)}
    # The Gaussian's exact end, to a few roundings of bfloat16 at the end and in the denoiser.
    want = np.asarray(x, np.float64) * np.sqrt((0.25 + 0.01**2) / (0.25 + HIGH**2))
    np.testing.assert_allclose(np.asarray(x0, np.float64), want, rtol=0.05, atol=0.02)


@SLOW
def test_float32_stays_under_x64(x64):
    problem = ej.problems.Gaussian(np.zeros(2), 0.25)
    x = jnp.asarray(orders.start(HIGH, (8, 2)), jnp.float32)
    x0, _ = adaptive(problem, x, sigma_max=np.float64(HIGH), rtol=1e-5, atol=1e-5)
    assert x0.dtype == jnp.float32
    want = np.asarray(x) * np.sqrt((0.25 + LOW**2) / (0.25 + HIGH**2))
    np.testing.assert_allclose(x0, want, atol=1e-4)


@SLOW
def test_samples_that_do_not_finish_are_named_and_the_others_kept():
    """As `ej.adaptive.sample` does, whose report it is."""

    def denoise(x, sigma, cond):
        return jnp.where(cond > 0, jnp.nan, 0.2 * x)

    def run(x, **options):
        cond = jnp.array([0.0, 0.0, 1.0, 0.0])[:, None]
        return adaptive(denoise, x, cond=cond, max_steps=50, **options)

    with pytest.warns(RuntimeWarning, match=r"1 of 4 samples did not finish .*: 2 \(at sigma 5,"):
        aloud = run(jnp.ones((4, 2)))
    for x0, report in (aloud, jax.jit(run)(jnp.ones((4, 2)))):
        assert isinstance(report, ej.adaptive.Report)
        np.testing.assert_array_equal(np.isnan(x0).any(axis=1), [False, False, True, False])
        np.testing.assert_array_equal(report.finished, [True, True, False, True])
        assert (report.nfe <= 50 * 6 + 1).all() and report.unfinished.tolist() == [2]
        with pytest.raises(RuntimeError, match="1 of 4 samples did not finish"):
            report.check()
    with pytest.warns(RuntimeWarning, match="4 of 4 samples did not finish"):
        x0, _ = run(jnp.ones((4, 2)), per_sample=False)
    assert np.isnan(x0).all()


@pytest.mark.thorough
def test_the_report_still_answers_as_a_count():
    """For one release, as the scalar or the numbers that were returned in its place."""
    problem, x = ej.problems.Gaussian(np.zeros(2), 0.25), jnp.ones((3, 2))
    for options in ({}, {"per_sample": True}):
        _, report = adaptive(problem, x, solver=diffrax.Bosh3(), **options)
        most = report.nfe if options else report.nfe.max()
        with pytest.warns(DeprecationWarning, match="`report.nfe`, one number a sample"):
            assert np.array_equal(np.asarray(report), most) and report.shape == most.shape
        with pytest.warns(DeprecationWarning):
            assert np.all(report == most) and np.all(report + 1 > most)
        if not options:
            with pytest.warns(DeprecationWarning):
                assert int(report) == most and report < 1000


@SLOW
def test_gradients_are_those_of_the_flow(x64):
    """Of a Gaussian's flow, which scales the point, in the start."""
    problem = ej.problems.Gaussian(np.zeros(2), 0.25)
    x = jnp.asarray(orders.start(HIGH, (3, 2)))
    total = lambda x: jnp.sum(adaptive(problem, x, rtol=1e-7, atol=1e-7)[0] ** 2)  # noqa: E731
    scale = (0.25 + LOW**2) / (0.25 + HIGH**2)
    np.testing.assert_allclose(jax.grad(total)(x), 2 * scale * x, rtol=1e-4)


def test_mistakes_are_sentences(unchecked):
    problem, x = ej.problems.Gaussian(np.zeros(2), 1.0), jnp.ones((3, 2))
    for error, text, options in (
        (TypeError, "Kvaerno5 is implicit", {"solver": diffrax.Kvaerno5()}),
        (ValueError, "Euler has no error estimate", {"solver": diffrax.Euler()}),
        (TypeError, r"pass `diffrax.Tsit5\(\)`", {"solver": diffrax.Tsit5}),
        (TypeError, "got 'tsit5'", {"solver": "tsit5"}),
        (ValueError, "must be 'theta'", {"form": "angle"}),
        (ValueError, "above `sigma_min`", {"sigma_max": 0.1}),
        (ValueError, "positive and finite", {"sigma_min": 0.0}),
        (TypeError, "`sigma_max` must be a real scalar", {"sigma_max": np.ones(3)}),
        (ValueError, "`rtol` must be at least 0 and finite, got -1", {"rtol": -1.0}),
        (TypeError, "`rtol` must be a real scalar, got 'low'", {"rtol": "low"}),
        (ValueError, "`atol` must be at least 0 and finite, got inf", {"atol": np.inf}),
        (TypeError, "`per_sample` must be True or False", {"per_sample": "no"}),
        (TypeError, "got HalfSolver", {"solver": diffrax.HalfSolver(diffrax.Tsit5())}),
        (ValueError, "`rtol` and `atol` are both 0", {"rtol": 0.0, "atol": 0.0}),
        (ValueError, "`max_steps` must be at least 1, got 0", {"max_steps": 0}),
        (ValueError, "3 samples of `x`", {"cond": jnp.ones(2)}),
    ):
        with pytest.raises(error, match=text):
            adaptive(problem, x, **options)
    with pytest.raises(TypeError, match="`denoise` must be a function"):
        adaptive(None, x)
    with pytest.raises(ValueError, match="Axis 0 of every leaf"):
        adaptive(problem, jnp.ones(()))
    with pytest.raises(ValueError, match="must return the shape of `x`"):
        adaptive(lambda x, sigma: x[..., :1], x)
