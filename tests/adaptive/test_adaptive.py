"""Adaptive samplers against k-diffusion, exact flows and tight references, and their counts."""

import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy.integrate import quad, solve_ivp
from support.cases import golden
from support.helpers import later

import edmjax as ej
from edmjax.adaptive import adams

KEY = jax.random.key(0)
LEVELS = {"sigma_max": 80.0, "sigma_min": 0.002}


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def mixture():
    return ej.problems.Mixture([0.3, 0.7], [[0.5, 0.2], [-0.6, 0.1]], [0.02, 0.06])


def starts(problem, n=6, seed=0):
    return problem.sample(jax.random.key(seed), n, sigma=80.0)


def solution(problem, x):
    """Where the flow takes `x`, by SciPy in log sigma."""
    x, denoise = np.asarray(x), jax.jit(problem.denoise)

    def flow(log_sigma, y):
        y = y.reshape(x.shape)
        return (y - np.asarray(denoise(y, np.exp(log_sigma)))).ravel()

    interval = np.log(80.0), np.log(0.002)
    end = solve_ivp(flow, interval, x.ravel(), method="DOP853", rtol=1e-11, atol=1e-12).y[:, -1]
    return end.reshape(x.shape)


def rms(error):
    return np.sqrt(np.mean(np.asarray(error) ** 2))


# ---- the weights and the orders of the predictor-corrector


def test_weights_are_the_integrals_of_lagrange_polynomials(x64):
    # Three outputs, a fourth unused; the interval goes beyond the newest.
    thetas, there = np.array([0.6, 0.9, 1.3, 1.5]), [True, True, True, False]
    nodes, before, now = (np.log(v + adams.BEND) for v in (thetas, 0.6, 0.1))
    got = adams._weights(
        jnp.asarray(nodes)[:, None], jnp.asarray(there)[:, None], before[None], now[None]
    )[:, 0]
    for power in range(3):
        want, _ = quad(lambda theta, p=power: np.log(theta + adams.BEND) ** p, 0.1, 0.6)
        np.testing.assert_allclose(np.sum(got * nodes**power), want, rtol=0, atol=1e-12)
    assert got[3] == 0


@pytest.mark.slow
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_the_corrector_is_one_order_above_the_predictor(x64, order):
    # A step of a predictor of order k has an error as h^(k + 1), so n steps meet a tolerance that
    # goes as n^-(k + 1). So does the error of the whole path of the corrector, one order above. One
    # sample alone: others do not follow one power, as their hardest stretches differ.
    problem = mixture()
    x = starts(problem, 1, seed=2)
    want = solution(problem, x)
    tolerances = (1e-6, 1e-7, 1e-8, 1e-9) if order > 1 else (1e-3, 1e-4, 1e-5)
    steps, errors = [], []
    for tolerance in tolerances:
        method = ej.adaptive.multistep(order, 0.0, tolerance)
        x0, report = ej.adaptive.sample(problem, method, x, **LEVELS, max_steps=5000)
        steps.append(int(report.accepted[0]))
        errors.append(rms(x0 - want))
    by_tolerance = -np.polyfit(np.log(steps), np.log(tolerances), 1)[0]
    by_error = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert abs(by_tolerance - order - 1) < 0.3
    assert by_error > order + 0.5


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4])
def test_gaussian_flows_are_met_within_the_tolerance(x64, tolerance):
    problem = ej.problems.Gaussian([0.3, -0.2, 0.1], [0.25, 0.01, 1e-6])
    x = starts(problem)
    want = problem.flow(x, 80.0, 0.002)
    for method in (
        ej.adaptive.multistep(3, 0.0, tolerance),
        ej.adaptive.multistep(3, tolerance, 0.0),
        ej.adaptive.dpm_adaptive(rtol=tolerance, atol=tolerance),
    ):
        x0, report = ej.adaptive.sample(problem, method, x, **LEVELS)
        assert report.finished.all()
        np.testing.assert_allclose(report.sigma, 0.002, rtol=1e-4)
        assert np.abs(x0 - want).max() < 10 * tolerance  # the sum of a path's errors


@pytest.mark.slow
@pytest.mark.parametrize(("name", "sigma_data", "allowed"), [("P1", 0.708, 43), ("P2", 0.5, 48)])
def test_half_of_diffrax_evaluations(x64, name, sigma_data, allowed):
    # `allowed` is half of what the best of diffrax's solvers needs in sigma or log sigma for an RMS
    # of 1e-3; benchmarks/bench_adaptive.py measures both sides.
    problem = getattr(ej.problems, name)()
    x = starts(problem, 64)
    method = ej.adaptive.multistep(rtol=0.0, atol=1e-3, sigma_data=sigma_data)
    x0, report = ej.adaptive.sample(problem, method, x, **LEVELS)
    assert rms(x0 - solution(problem, x)) < 1e-3
    assert report.nfe.max() < allowed


# ---- DPM-Solver-12 and -23


DPM_CASES = golden("dpm_adaptive")["cases"]
METHODS = [
    pytest.param(ej.adaptive.multistep(), marks=pytest.mark.thorough, id="multistep"),
    pytest.param(ej.adaptive.dpm_adaptive(), id="dpm"),
]


@pytest.mark.parametrize(
    "case",
    [
        # These two compile a program of their own.
        pytest.param(c, id=c["id"], marks=[pytest.mark.thorough] * ("order2" in c["id"]))
        for c in DPM_CASES
    ],
)
def test_dpm_adaptive_is_k_diffusions(x64, case):
    stored = golden("problem")
    problem = ej.problems.Mixture(stored["weights"], stored["means"], stored["std"] ** 2)
    method = ej.adaptive.dpm_adaptive(**case["options"], per_sample=False)
    assert method.draws == ("eta" in case["options"])
    x0, report = ej.adaptive.sample(
        problem,
        method,
        80.0 * np.array(stored["noise"]),
        noise=np.array(stored["bank"]) if method.draws else None,
        sigma_max=case["sigma_max"],
        sigma_min=case["sigma_min"],
    )
    want, info = np.array(case["x"]), case["info"]
    np.testing.assert_allclose(x0, want, rtol=0, atol=1e-9 * np.abs(want).max())
    for got, count in (
        (report.nfe, info["nfe"]),
        (report.accepted, info["n_accept"]),
        (report.rejected, info["n_reject"]),
    ):
        np.testing.assert_array_equal(got, count)


@pytest.mark.slow
def test_draws_belong_to_the_sample_and_the_accepted_step(x64):
    problem, key = mixture(), jax.random.key(3)
    method = ej.adaptive.dpm_adaptive(eta=1.0)
    x = starts(problem, 5)
    x0, report = ej.adaptive.sample(problem, method, x, key, **LEVELS)
    keys = ej.sample_keys(key, 5)
    draws = int(report.accepted.max())
    assert len(set(report.accepted.tolist())) > 1  # steps of their own
    bank = np.stack(
        [
            [jax.random.normal(jax.random.fold_in(jax.random.fold_in(k, j), 0), (2,)) for k in keys]
            for j in range(draws)
        ]
    )
    given, _ = ej.adaptive.sample(problem, method, x, noise=bank, **LEVELS)
    np.testing.assert_allclose(x0, given, rtol=0, atol=1e-12)
    with pytest.warns(RuntimeWarning, match="did not finish"):
        short, _ = ej.adaptive.sample(problem, method, x, noise=bank[:2], **LEVELS)
    assert np.isnan(short).all()


# ---- samples, counts and bounds


@pytest.mark.parametrize(
    "method",
    [ej.adaptive.multistep(), *later(ej.adaptive.dpm_adaptive())],
    ids=["multistep", "dpm"],
)
def test_samples_do_not_depend_on_their_batch(x64, method):
    problem = mixture()
    x = starts(problem)
    x0, report = ej.adaptive.sample(problem, method, x, **LEVELS)
    part, part_report = ej.adaptive.sample(problem, method, x[2:4], **LEVELS)
    np.testing.assert_allclose(part, x0[2:4], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(part_report.nfe, report.nfe[2:4])
    assert len(set(report.nfe.tolist())) > 1


@pytest.mark.slow
def test_one_error_for_the_batch(x64):
    problem = mixture()
    x = starts(problem)
    method = ej.adaptive.multistep(atol=1e-4, per_sample=False)
    x0, report = ej.adaptive.sample(problem, method, x, **LEVELS)
    assert len(set(report.nfe.tolist())) == 1 and len(set(report.rejected.tolist())) == 1
    assert rms(x0 - solution(problem, x)) < 1e-2


@pytest.mark.parametrize(
    ("method", "stages"),
    [
        pytest.param(ej.adaptive.multistep(), 1, marks=pytest.mark.thorough, id="multistep"),
        pytest.param(ej.adaptive.dpm_adaptive(order=2), 2, id="dpm"),
    ],
)
def test_counts_are_those_of_a_callback(method, stages):
    problem, calls = mixture(), []

    def counting(x, sigma):
        jax.debug.callback(lambda: calls.append(1))
        return problem(x, sigma)

    x0, report = ej.adaptive.sample(counting, method, starts(problem), **LEVELS)
    jax.block_until_ready(x0)
    jax.effects_barrier()
    assert len(calls) == report.nfe.max()  # the network runs until the last sample is done
    steps = np.asarray(report.accepted + report.rejected)
    np.testing.assert_array_equal(report.nfe, stages * steps + (stages == 1))


@pytest.mark.parametrize("method", METHODS)
def test_a_sample_that_does_not_finish_is_named(method):
    problem = mixture()

    def poisoned(x, sigma):
        bad = (jnp.arange(4) == 2) & (sigma < 1)
        return jnp.where(bad[:, None], jnp.nan, problem(x, sigma))

    with pytest.warns(RuntimeWarning, match=r"1 of 4 samples did not .* 2 \(at sigma"):
        x0, report = ej.adaptive.sample(poisoned, method, starts(problem, 4), **LEVELS)
    assert report.unfinished.tolist() == [2] and report.sigma[2] > 0.3
    assert np.isnan(x0[2]).all() and np.isfinite(np.delete(x0, 2, axis=0)).all()
    assert (np.delete(report.sigma, 2) <= 0.0021).all()


def test_max_steps_is_a_bound_and_says_so():
    problem = mixture()
    x, method = starts(problem, 3), ej.adaptive.multistep(atol=1e-5, rtol=0.0)
    with pytest.warns(RuntimeWarning, match="3 of 3 samples .* Raise `max_steps`"):
        x0, report = ej.adaptive.sample(problem, method, x, **LEVELS, max_steps=7)
    assert np.isnan(x0).all() and (report.nfe == 7).all() and not report.finished.any()
    # Under jit nothing can be said aloud, and the result still says it.
    inside = jax.jit(lambda x: ej.adaptive.sample(problem, method, x, **LEVELS, max_steps=7))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x0, report = inside(x)
    assert np.isnan(x0).all() and "at sigma" in report.failure()
    with pytest.raises(RuntimeError, match="3 of 3 samples"):
        report.check()


# ---- programs, gradients, trees and precision


@pytest.mark.slow
def test_the_scan_is_the_loop_and_its_gradient_is_the_flows(x64):
    mean, variance = jnp.array([0.3, -0.2]), 0.04
    x = jnp.array([[20.0, -60.0], [90.0, 10.0], [-3.0, 70.0]])
    method = ej.adaptive.multistep(atol=1e-6, rtol=0.0)

    def end(mean, x, differentiable=True):
        def denoise(x, sigma):
            return mean + variance / (variance + sigma[:, None] ** 2) * (x - mean)

        return ej.adaptive.sample(
            denoise, method, x, **LEVELS, max_steps=150, differentiable=differentiable
        )

    x0, report = end(mean, x)
    looped, loop_report = end(mean, x, differentiable=False)
    np.testing.assert_allclose(x0, looped, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(report.nfe, loop_report.nfe)
    # x0 = mean + r (x - mean), r = sqrt((v + low^2) / (v + high^2)): the exact flow.
    r = math.sqrt((variance + 0.002**2) / (variance + 80.0**2))
    to_mean, to_x = jax.grad(lambda mean, x: end(mean, x)[0].sum(), argnums=(0, 1))(mean, x)
    np.testing.assert_allclose(to_x, np.full(x.shape, r), rtol=1e-3)
    np.testing.assert_allclose(to_mean, np.full(2, 3 * (1 - r)), rtol=1e-5)


@pytest.mark.slow
def test_the_gradient_of_dpm_adaptive_is_the_flows(x64):
    problem = ej.problems.Gaussian([0.3, -0.2], 0.04)
    method = ej.adaptive.dpm_adaptive(rtol=1e-4, atol=1e-4)
    x = starts(problem, 3)

    def end(x):
        return ej.adaptive.sample(problem, method, x, **LEVELS, max_steps=60, differentiable=True)[
            0
        ]

    np.testing.assert_allclose(end(x), problem.flow(x, 80.0, 0.002), rtol=0, atol=1e-3)
    r = math.sqrt((0.04 + 0.002**2) / (0.04 + 80.0**2))
    np.testing.assert_allclose(jax.grad(lambda x: end(x).sum())(x), np.full(x.shape, r), rtol=5e-3)


def test_numbers_alone_compile_nothing():
    traces = []

    def gaussian(mean, x, sigma):
        traces.append(1)
        return mean + 0.04 / (0.04 + sigma[:, None] ** 2) * (x - mean)

    x = np.linspace(-80, 80, 6, dtype=np.float32).reshape(3, 2)
    for mean, atol, high in ((0.1, 1e-2, 80.0), (0.3, 1e-3, 50.0), (-0.2, 2e-3, 70.0)):
        denoise = Partial(gaussian, jnp.full(2, mean))
        method = ej.adaptive.multistep(atol=atol, rtol=0.0)
        x0, _ = ej.adaptive.sample(denoise, method, x, sigma_max=high, sigma_min=0.002)
        np.testing.assert_allclose(x0, np.full((3, 2), mean), atol=1.0)
        assert len(traces) == 1  # one copy of the network, in one program


@pytest.mark.parametrize(
    "method",
    [ej.adaptive.multistep(), *later(ej.adaptive.dpm_adaptive(rtol=0.01, atol=0.01))],
    ids=["adaptive", "dpm"],
)
def test_trees_keep_structure_shape_and_dtype(method):
    x = {
        "a": jax.random.normal(jax.random.key(0), (3, 4, 2)) * 80,
        "b": (jax.random.normal(jax.random.key(1), (3,)) * 80).astype(jnp.bfloat16),
    }

    def denoise(x, sigma):
        assert x["b"].dtype == jnp.bfloat16 and sigma.shape == (3,) and sigma.dtype == jnp.float32
        shrink = 0.25 / (0.25 + sigma**2)
        return {"a": shrink[:, None, None] * x["a"], "b": (shrink * x["b"]).astype(jnp.bfloat16)}

    x0, report = ej.adaptive.sample(denoise, method, x, **LEVELS)
    assert jax.tree.map(lambda v: (v.shape, v.dtype), x0) == jax.tree.map(
        lambda v: (v.shape, v.dtype), x
    )
    r = math.sqrt((0.25 + 0.002**2) / (0.25 + 80.0**2))
    np.testing.assert_allclose(x0["a"], r * x["a"], atol=0.05)
    np.testing.assert_allclose(x0["b"].astype(float), r * x["b"].astype(float), atol=0.1)
    assert report.nfe.shape == (3,)


@pytest.mark.slow
def test_float32_is_the_same_sampler():
    problem = mixture()
    with jax.enable_x64(True):
        x = np.asarray(starts(problem, 64))
        want, report = ej.adaptive.sample(problem, ej.adaptive.multistep(), x, **LEVELS)
        want = np.asarray(want)
    got, single = ej.adaptive.sample(
        problem, ej.adaptive.multistep(), x.astype(np.float32), **LEVELS
    )
    assert got.dtype == jnp.float32
    # A step at the edge of its tolerance may fall to the other side: a few samples.
    same = np.asarray(single.nfe) == np.asarray(report.nfe)
    assert same.mean() > 0.9
    assert np.abs(np.asarray(got) - want)[same].max() < 1e-3


@pytest.mark.parametrize(
    "method",
    [*later(ej.adaptive.multistep()), ej.adaptive.dpm_adaptive(eta=1.0)],
    ids=["own", "dpm"],
)
def test_float32_stays_under_x64(method, x64):
    x = starts(mixture(), 2).astype(jnp.float32)
    x0, report = ej.adaptive.sample(mixture(), method, x, KEY, **LEVELS)
    assert x0.dtype == report.sigma.dtype == jnp.float32 and report.finished.all()


@pytest.mark.slow
def test_sigma_data_is_the_denoisers_own():
    net = Partial(lambda scale, x, c: scale * x, jnp.float32(0.1))
    denoise = ej.denoisers.edm(net, sigma_data=1.7)
    x = 80 * jax.random.normal(jax.random.key(0), (3, 2))
    own, _ = ej.adaptive.sample(denoise, ej.adaptive.multistep(), x, **LEVELS)
    given, _ = ej.adaptive.sample(denoise, ej.adaptive.multistep(sigma_data=1.7), x, **LEVELS)
    other, _ = ej.adaptive.sample(denoise, ej.adaptive.multistep(sigma_data=0.5), x, **LEVELS)
    np.testing.assert_array_equal(own, given)
    assert np.abs(own - other).max() > 1e-6


def test_cond_is_passed_on():
    def denoise(x, sigma, label):
        return label[:, None] + 0 * x

    label = jnp.array([1.0, -1.0])
    x0, _ = ej.adaptive.sample(
        denoise, ej.adaptive.multistep(), 80 * jnp.ones((2, 3)), **LEVELS, cond=label
    )
    np.testing.assert_allclose(x0, np.tile(label[:, None], (1, 3)), atol=0.01)


def test_an_empty_batch():
    x0, report = ej.adaptive.sample(mixture(), ej.adaptive.multistep(), jnp.zeros((0, 2)), **LEVELS)
    assert x0.shape == (0, 2) and report.nfe.shape == (0,)


# ---- bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": 5}, "`order` must be from 1 to 4, got 5"),
        ({"rtol": -1e-3}, "`rtol` must be at least 0 and finite, got -0.001"),
        ({"rtol": 0.0, "atol": 0.0}, "both 0"),
        ({"atol": float("nan")}, "atol"),
        ({"sigma_data": 0.0}, "`sigma_data` must be positive and finite, got 0"),
        ({"rtol": float("inf")}, "`rtol` must be at least 0 and finite, got inf"),
    ],
)
def test_bad_options(options, message, unchecked):
    with pytest.raises(ValueError, match=message):
        ej.adaptive.multistep(**options)


@pytest.mark.parametrize("order", [True, 2.5, "4"])
def test_an_order_is_an_integer(order, unchecked):
    for make in (ej.adaptive.multistep, ej.adaptive.dpm_adaptive):
        with pytest.raises(TypeError, match=f"`order` must be an integer, got {order!r}"):
            make(order=order)


def test_former_names():
    with pytest.warns(DeprecationWarning, match=r"is now edmjax\.adaptive\.multistep"):
        assert ej.adaptive.adaptive is ej.adaptive.multistep
    with pytest.warns(DeprecationWarning, match=r"is now edmjax\.adaptive\.Method"):
        assert isinstance(ej.adaptive.dpm_adaptive(), ej.adaptive.DPMAdaptive)


def test_bad_options_of_dpm_adaptive():
    with pytest.raises(ValueError, match="`order` must be from 2 to 3, got 1"):
        ej.adaptive.dpm_adaptive(order=1)
    with pytest.raises(ValueError, match="`h_init` must be positive and finite, got 0"):
        ej.adaptive.dpm_adaptive(h_init=0.0)
    with pytest.raises(ValueError, match="`eta` must be at least 0 and finite, got -1"):
        ej.adaptive.dpm_adaptive(eta=-1.0)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"denoise": 3}, TypeError, "must be a function"),
        ({"method": ej.samplers.heun()}, TypeError, "samplers with plans run in `ej.sample`"),
        ({"x": np.zeros((2, 2), int)}, TypeError, "floating"),
        ({"sigma_min": 0.0}, ValueError, "`sigma_min` must be one positive number"),
        ({"sigma_max": float("inf")}, ValueError, "sigma_max"),
        ({"sigma_min": 90.0}, ValueError, "Levels fall from sigma_max to sigma_min.*80.0 and 90.0"),
        ({"sigma_min": 79.9999999}, ValueError, "in the precision of `x` too"),
        ({"sigma_min": "low"}, TypeError, "`sigma_min` must hold real numbers"),
        ({"differentiable": "no"}, TypeError, "`differentiable` must be True or False"),
        ({"x": np.zeros(())}, ValueError, "Axis 0 of every leaf"),
        ({"cond": np.zeros(3)}, ValueError, "Axis 0 of every leaf of `cond` counts the 2 samples"),
        (
            {"method": ej.adaptive.dpm_adaptive(eta=1.0), "key": 0},
            TypeError,
            "`key` must be a typed key",
        ),
        (
            {"method": ej.adaptive.dpm_adaptive(eta=1.0), "key": jax.random.split(KEY, 3)},
            ValueError,
            "one for each of the 2 samples",
        ),
        (
            {"method": ej.adaptive.dpm_adaptive(eta=1.0), "noise": np.zeros((4, 3, 2))},
            ValueError,
            r"\(num_draws, 2, 2\), got \(4, 3, 2\)",
        ),
        ({"method": ej.adaptive.dpm_adaptive(eta=1.0)}, ValueError, "pass `key` or `noise`"),
        ({"max_steps": 0}, ValueError, "`max_steps` must be at least 1, got 0"),
        ({"denoise": lambda x, sigma: x[:1]}, ValueError, "must return the shape of `x`"),
    ],
)
def test_bad_calls(change, error, message, unchecked):
    call = {"denoise": mixture(), "method": ej.adaptive.multistep(), "x": jnp.ones((2, 2))}
    call |= LEVELS | change
    with pytest.raises(error, match=message):
        ej.adaptive.sample(call.pop("denoise"), call.pop("method"), call.pop("x"), **call)


@pytest.mark.parametrize("make", [ej.adaptive.multistep, ej.adaptive.dpm_adaptive])
def test_per_sample_is_true_or_false(make, unchecked):
    with pytest.raises(TypeError, match="`per_sample` must be True or False, got 'no'"):
        make(per_sample="no")
