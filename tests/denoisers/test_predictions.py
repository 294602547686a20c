"""Networks that predict eps, v or x0 in a process's terms, and preconditionings from the papers.

A network that is exact in its own terms must give the exact denoiser.
"""

import json
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from support.helpers import later, over

import edmjax as ej
from edmjax import denoisers, processes
from edmjax.problems import Gaussian

FOLDER = pathlib.Path(__file__).parents[1] / "support" / "golden"
GOLDEN = json.loads((FOLDER / "schedules.json").read_text())
SAMPLES = json.loads((FOLDER / "diffusers_tables.json").read_text())["samples"]
SD = processes.ddpm("scaled_linear")
PROCESSES = {
    "ddpm": SD,
    "ddpm, zero snr": processes.ddpm("scaled_linear", rescale_zero_snr=True),
    "vp": processes.vp(),
    "cosine": processes.cosine(),
    "sub_vp": processes.sub_vp(),
    "flow": processes.flow(),
    "ve": processes.ve(),
}
PROBLEM = Gaussian([0.8, -0.2], [0.3, 0.1])
TYPES = {"epsilon": denoisers.eps, "v_prediction": denoisers.v, "sample": denoisers.x0}


@jax.jit
def coefficients(denoise, sigma):
    return denoise.coefficients(sigma)


def exact(process, kind):
    """The network that predicts without error, in its own scale and time alone."""

    def net(x, t):
        alpha, s, sigma = process.scale(t), process.scale(t) * process.sigma(t), process.sigma(t)
        alpha, s, sigma = (v[:, None] for v in (alpha, s, sigma))
        # E[x0 | x_process] of Gaussian data, by its own formula.
        gain = alpha * PROBLEM.variances / (alpha**2 * PROBLEM.variances + s**2)
        x0 = PROBLEM.mean + gain * (x - alpha * PROBLEM.mean)
        n = (x - alpha * x0) / s
        return {"epsilon": n, "v_prediction": alpha * n - s * x0, "sample": x0}[kind]

    return net


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("name", over(PROCESSES, ["ddpm, zero snr", "vp", "flow"], PROCESSES))
def test_an_exact_prediction_is_the_exact_denoiser(x64, name, kind):
    process = PROCESSES[name]
    sigma = np.array([0.05, 0.3, 1.0, 3.3, 14.0])
    x = np.random.default_rng(0).standard_normal((5, 2)) * np.hypot(sigma, 0.5)[:, None]
    want = PROBLEM.denoise(x, sigma)
    net = exact(process, kind)
    for denoise in (TYPES[kind](net, process), denoisers.prediction(net, process, kind)):
        np.testing.assert_allclose(denoise(x, sigma), want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", ["eps", "v(sigma_data=1)"])
def test_coefficients_are_the_golden_ones(x64, kind):
    golden = GOLDEN["preconditioning"][kind]
    sigma = jnp.array(golden["sigma"])
    make = denoisers.eps if kind == "eps" else denoisers.v
    for process in (SD, processes.cosine()):
        c = coefficients(make(lambda x, t: x, process), sigma)
        for got, name in zip(c, ("c_skip", "c_out", "c_in"), strict=False):
            np.testing.assert_allclose(got, golden[name], rtol=1e-12)
        np.testing.assert_allclose(c[3], np.maximum(process.time(np.array(sigma)), 0), rtol=1e-12)


def test_the_nearest_timestep_is_nearest_in_log_sigma():
    rng = np.random.default_rng(1)
    sigma = np.exp(rng.uniform(np.log(0.01), np.log(30.0), 500))
    quantized = denoisers.eps(lambda x, t: x, SD, quantize=True)
    whole, between = (
        np.asarray(coefficients(denoise, jnp.float32(sigma))[3])
        for denoise in (quantized, denoisers.eps(lambda x, t: x, SD))
    )
    want = np.abs(np.log(sigma)[:, None] - np.log(SD.table)).argmin(1)
    # Float32 could decide otherwise within 1e-4 of the middle between two timesteps.
    assert np.abs(np.modf(SD.time(sigma))[0] - 0.5).min() > 1e-4
    np.testing.assert_array_equal(whole, want)
    assert whole.dtype == np.int32 and between.dtype == np.float32
    np.testing.assert_allclose(between, np.maximum(SD.time(sigma), 0), rtol=1e-5, atol=1e-4)
    assert between.min() == 0.0 and between.max() == 999.0  # outside of the table, its ends
    assert coefficients(quantized, jnp.float32(1.0))[3] == 354  # of k-diffusion
    seen = []
    denoisers.eps(lambda x, t: seen.append(t) or x, SD, quantize=True)(jnp.ones((2, 1)), 1.0)
    assert seen[0].dtype == jnp.int32 and seen[0].shape == ()


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(
    "name", ["ddpm, zero snr", "flow", "sub_vp", *later("ddpm", "cosine", "vp")]
)
def test_the_largest_levels_are_finite_in_float32(name, kind):
    """At 2^40, where an infinite level is evaluated, x is all noise and v is -x0."""
    sigma, process = 2.0**40, PROCESSES[name]
    n = np.float32(np.random.default_rng(2).standard_normal((4, 2)))
    x0 = np.float32([[0.3, -0.6]])
    seen = []

    def net(x, t):
        seen.append((np.asarray(x), float(t)))
        return {"epsilon": jnp.asarray(n), "v_prediction": -x0 + 0 * x, "sample": x0 + 0 * x}[kind]

    got = TYPES[kind](net, process)(sigma * n, sigma)
    assert np.isfinite(got).all()
    np.testing.assert_allclose(seen[0][0], n, rtol=1e-5)  # in the scale of the process
    if name in ("ddpm", "ddpm, zero snr", "cosine", "flow"):
        np.testing.assert_allclose(seen[0][1], process.t_max, rtol=1e-5)
    if kind != "epsilon":
        np.testing.assert_allclose(got, x0 + 0 * n, rtol=1e-5, atol=2e-5)


def test_a_learned_variance_comes_as_it_is():
    def net(x, t):
        return jnp.concatenate([x, 0.25 + 0 * x], axis=-1)

    x = jnp.linspace(-1, 1, 12).reshape(2, 2, 3)
    alone = denoisers.eps(lambda x, t: x, SD)(x, 2.0)
    for make in (
        lambda net: denoisers.eps(net, SD, learned_range=True),
        lambda net: denoisers.iddpm(net, learned_range=True),
    ):
        out = make(net)(x, 2.0)
        assert set(out) == {"x0", "log_var"}
        np.testing.assert_allclose(out["x0"], alone, rtol=1e-6)
        np.testing.assert_array_equal(out["log_var"], jnp.full((2, 2, 3), 0.25))
        tree = make(lambda x, t: jax.tree.map(lambda leaf: net(leaf, t), x))({"a": x}, 2.0)
        np.testing.assert_array_equal(tree["x0"]["a"], out["x0"])
    # A plan without a learned variance does not read it.
    plan = ej.make_plan(ej.samplers.euler(), SD.grid(5).sigmas)
    runs = [
        ej.sample(denoise, plan, x)
        for denoise in (denoisers.eps(net, SD, learned_range=True),
                        denoisers.eps(lambda x, t: x, SD))
    ]  # fmt: skip
    np.testing.assert_allclose(*runs, rtol=1e-6)


def _slow_but(name):
    return [
        pytest.param(case, id=case["id"], marks=() if name in case["id"] else pytest.mark.slow)
        for case in SAMPLES
    ]


@pytest.mark.parametrize("case", _slow_but("zero_snr"))
def test_samples_are_diffusers(x64, case):
    """Process, grid and denoiser together, with an exact network, sample what DDIM samples."""
    options, n = case["config"], case["n"]
    process = processes.ddpm(
        options.get("beta_schedule", "linear"),
        options.get("beta_start"),
        options.get("beta_end"),
        rescale_zero_snr=options.get("rescale_betas_zero_snr", False),
    )
    data = json.loads((FOLDER / "problem.json").read_text())
    problem = ej.problems.Mixture(data["weights"], data["means"], data["std"] ** 2)
    kind = options.get("prediction_type", "epsilon")

    def net(x, t):
        sigma = jnp.minimum(process.sigma(t), 2.0**40)
        alpha = 1 / jnp.hypot(1, sigma)
        x0 = problem.denoise(x / alpha, sigma)
        eps = (x / alpha - x0) / sigma
        v = alpha * eps - sigma * alpha * x0
        return {"epsilon": eps, "v_prediction": v, "sample": x0}[kind]

    spacing, to_data = (
        options.get("timestep_spacing", "leading"), options.get("set_alpha_to_one", True)
    )  # fmt: skip
    offset = options.get("steps_offset", 0)
    if to_data or offset:
        grid = process.grid(n, spacing, steps_offset=offset, set_alpha_to_one=to_data)
    else:
        grid = process.levels(process.timesteps(n, spacing))
    plan = ej.make_plan(ej.samplers.ddim(case["eta"]), grid)
    noise = np.array(data["bank"])[: plan.num_draws] if plan.num_draws else None
    x = case["init_scale"] * np.array(data["noise"])
    got = ej.sample(denoisers.prediction(net, process, kind), plan, x, noise=noise)
    want = np.array(case["x"])
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-12 * np.abs(want).max())


def test_vp_is_table_1(x64):
    golden = GOLDEN["continuous"]["vp(beta_d=19.9,beta_min=0.1)"]
    sigma, t = np.array(golden["sigma"]), np.array(golden["t"])
    c_skip, c_out, c_in, c_noise = coefficients(denoisers.vp(lambda x, t: x), jnp.array(sigma))
    np.testing.assert_allclose(c_noise, 999 * t, rtol=1e-10)
    np.testing.assert_allclose(c_in, golden["alpha"], rtol=1e-12)
    np.testing.assert_array_equal(c_skip, 1)
    np.testing.assert_array_equal(c_out, -sigma)
    other = coefficients(denoisers.vp(lambda x, t: x, 0.4, 9.4, 101), jnp.array(sigma[:5]))[3]
    np.testing.assert_allclose(other, 100 * processes.vp(0.4, 9.4).time(sigma[:5]), rtol=1e-12)


def test_ve_is_table_1(x64):
    sigma = jnp.array([0.02, 1.0, 100.0])
    c_skip, c_out, c_in, c_noise = coefficients(denoisers.ve(lambda x, t: x), sigma)
    np.testing.assert_array_equal(c_skip, 1)
    np.testing.assert_array_equal(c_in, 1)
    np.testing.assert_array_equal(c_out, sigma)
    np.testing.assert_allclose(c_noise, [math.log(0.01), math.log(0.5), math.log(50)], rtol=1e-14)
    assert np.isfinite(coefficients(denoisers.ve(lambda x, t: x), jnp.zeros(()))[3])


def test_iddpm_is_table_1(x64):
    golden = GOLDEN["iddpm"]
    index, u = np.array(golden["u_index"]), np.array(golden["u"])
    denoise = denoisers.iddpm(lambda x, t: x)
    c_skip, c_out, c_in, c_noise = coefficients(denoise, jnp.array(u))
    np.testing.assert_array_equal(c_noise, 999 - index)
    np.testing.assert_array_equal(c_skip, 1)
    np.testing.assert_array_equal(c_out, -u)
    np.testing.assert_allclose(c_in, 1 / np.sqrt(1 + u**2), rtol=1e-12)
    # Nearest in sigma itself, not in its logarithm: u_0 is 20291 and u_1 is 642.
    assert coefficients(denoise, jnp.array(10466.0))[3] == 998
    assert coefficients(denoise, jnp.array(10467.0))[3] == 999
    assert coefficients(denoise, jnp.array(1e-9))[3] == 0
    assert coefficients(denoise, jnp.array(80.0, jnp.float32))[3].dtype == jnp.float32
    assert len(denoisers.iddpm(lambda x, t: x, 250).table) == 250


def test_flow_is_exact_for_the_exact_velocity(x64):
    sigma = np.array([0.0, 0.05, 1.0, 14.0, 1e6])
    rng = np.random.default_rng(3)
    x0, n = rng.standard_normal((2, 5, 2))

    def net(x, t):
        np.testing.assert_allclose(t, sigma / (1 + sigma), rtol=1e-12)
        t = t[:, None]
        np.testing.assert_allclose(x, (1 - t) * x0 + t * n, rtol=1e-9)
        return n - x0

    got = denoisers.flow(net)(x0 + sigma[:, None] * n, sigma)
    np.testing.assert_allclose(got, x0, rtol=0, atol=1e-13)


def test_consistency_is_x_at_its_boundary(x64):
    x = np.random.default_rng(4).standard_normal((3, 2))
    for low, width in ((0.002, 0.5), (0.01, 1.0)):
        f = denoisers.consistency(lambda x, c: 5 + jnp.sin(x), sigma_min=low, sigma_data=width)
        for sigma in (low, low / 2, 0.0):
            np.testing.assert_array_equal(f(x, sigma), x)
        for sigma in (0.02, 1.0, 80.0):
            c_in = 1 / math.sqrt(sigma**2 + width**2)
            c_skip = width**2 / ((sigma - low) ** 2 + width**2)
            c_out = width * (sigma - low) / math.sqrt(width**2 + sigma**2)
            want = c_skip * x + c_out * (5 + np.sin(c_in * x))
            np.testing.assert_allclose(f(x, sigma), want, rtol=1e-12)
        level = coefficients(f, jnp.array(3.0))[3]
        np.testing.assert_allclose(level, math.log(3.0) / 4, rtol=1e-14)


MAKE = {
    "eps": lambda net: denoisers.eps(net, SD),
    "quantized v": lambda net: denoisers.v(net, SD, quantize=True),
    "vp": denoisers.vp,
    "ve": denoisers.ve,
    "iddpm": denoisers.iddpm,
    "flow": denoisers.flow,
    "consistency": denoisers.consistency,
}


@pytest.mark.parametrize("name", over(MAKE, ["quantized v", "flow", "consistency"], MAKE))
def test_parameters_and_tables_travel_through_jit(name):
    make, traces = MAKE[name], []

    @jax.jit
    def run(denoise, x, sigma):
        traces.append(None)
        return denoise(x, sigma)

    def net(w, x, t):
        return w * jnp.sin(x) + 0 * t.reshape(t.shape + (1,) * (x.ndim - t.ndim))

    x = {"a": jnp.linspace(-1, 1, 6).reshape(2, 3), "b": jnp.ones((2, 1), jnp.bfloat16)}
    tree = Partial(lambda w, x, t: jax.tree.map(lambda leaf: net(w, leaf, t).astype(leaf.dtype), x))
    sigma = jnp.array([0.5, 3.0])
    outs = [run(make(Partial(tree.func, w)), x, sigma) for w in jnp.array([1.0, 3.0])]
    assert len(traces) == 1
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), outs[0]) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), x
    )
    assert all(np.isfinite(leaf.astype(jnp.float32)).all() for leaf in jax.tree.leaves(outs))
    assert np.abs(outs[0]["a"] - outs[1]["a"]).max() > 0.1
    # Sample by sample, and with float64 levels of a schedule.
    alone = make(Partial(tree.func, 1.0))(jax.tree.map(lambda leaf: leaf[1:], x), np.float64(3.0))
    np.testing.assert_allclose(alone["a"][0], outs[0]["a"][1], rtol=1e-5)
    assert 'dense<"' not in run.lower(make(Partial(tree.func, 1.0)), x, sigma).as_text()


X = jnp.ones((4, 2))
TWICE = lambda x, t: jnp.concatenate([x, x], -1)  # noqa: E731
SAME = lambda x, t: x  # noqa: E731
BAD = [
    (lambda: denoisers.prediction(SAME, SD, "velocity"), ValueError, "got 'velocity'; for the"),
    (lambda: denoisers.eps(SAME, SD.table), TypeError, "`process` must be a process, such as"),
    (lambda: denoisers.eps(3.0, SD), TypeError, "`net` must be a function of"),
    (lambda: denoisers.eps(SAME, processes.vp(), quantize=True), ValueError, "quantize rounds to"),
    (lambda: denoisers.eps(TWICE, SD)(X, 1.0), ValueError, "pass learned_range=True"),
    (lambda: denoisers.iddpm(TWICE)(X, 1.0), ValueError, "twice the channels of `x`"),
    (lambda: denoisers.edm(TWICE)(X, 1.0), ValueError, "twice the channels of `x`"),
    (
        lambda: denoisers.eps(SAME, SD, learned_range=True)(X, 1.0),
        ValueError,
        r"twice the channels on the last axis, \[\(4, 4\)\], got \[\(4, 2\)\]",
    ),
    (lambda: denoisers.eps(lambda x, t: x[:2], SD)(X, 1.0), ValueError, "must return the shape"),
    (lambda: denoisers.vp(SAME, 0.0), ValueError, "`beta_min` must be one positive number"),
    (lambda: denoisers.consistency(SAME, sigma_min=-1.0), ValueError, "`sigma_min` must be one"),
    (lambda: denoisers.iddpm(SAME, 0), ValueError, "`num_timesteps` must be at least 1"),
]  # fmt: skip


@pytest.mark.parametrize("make, error, message", BAD)
def test_bad_input_gets_a_sentence(make, error, message, unchecked):
    with pytest.raises(error, match=message):
        make()


def test_levels_of_consistency_in_their_former_order_warn():
    new = denoisers.consistency(SAME, sigma_min=0.01, sigma_data=1.0)
    with pytest.warns(DeprecationWarning, match=r"by name: sigma_min=..., sigma_data=..."):
        old = denoisers.consistency(SAME, 0.01, 1.0)
    assert (old.sigma_min, old.sigma_data) == (new.sigma_min, new.sigma_data) == (0.01, 1.0)
    with pytest.raises(TypeError, match="positional"):
        denoisers.consistency(SAME, 0.01, 1.0, 2.0)


@pytest.mark.parametrize("name", ["EDM", "VP", "Prediction", "Converted"])
def test_classes_of_the_functions_are_former_names(name):
    with pytest.warns(DeprecationWarning, match=rf"denoisers.{name} is now edmjax.denoisers"):
        kind = getattr(denoisers, name)
    assert kind.__name__ == name and name not in denoisers.__all__
