"""Training timesteps: diffusers' tables and spacings, both ways between level and timestep, and
denoisers of networks trained on them.
"""

import json
import math
import pathlib
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import edmjax as ej
from edmjax import processes, schedules

ROOT = pathlib.Path(__file__).parents[1] / "support"
GOLDEN = json.loads((ROOT / "golden" / "diffusers_tables.json").read_text())
TABLES, CASES = GOLDEN["tables"], {case["id"]: case for case in GOLDEN["cases"]}
LEGACY = json.loads((ROOT / "golden" / "schedules.json").read_text())["legacy_ddpm"]
SPACINGS = ["trailing", "leading", "linspace", "legacy"]

SD = processes.ddpm("scaled_linear")
ZERO_SNR = processes.ddpm("scaled_linear", rescale_zero_snr=True)


def alphas_cumprod(process):
    return process.scale(np.arange(process.num_timesteps)) ** 2


@pytest.mark.parametrize("name", [name for name in TABLES if name.startswith("betas")])
def test_the_tables_are_diffusers(name):
    golden, spacing = TABLES[name], name.split("/")[1]
    ends = (None, None) if spacing == "squaredcos_cap_v2" else (golden["beta_start"],
                                                                golden["beta_end"])  # fmt: skip
    process = processes.ddpm(spacing, *ends, rescale_zero_snr=golden["zero_snr"])
    assert processes.ddpm(spacing).num_timesteps == 1000
    abar = alphas_cumprod(process)
    np.testing.assert_allclose(abar[golden["index"]], golden["alphas_cumprod_f64"], rtol=1e-12)
    betas = 1 - abar / np.append(1.0, abar[:-1])
    # A beta is a difference of numbers near 1, in diffusers' tables as well.
    np.testing.assert_allclose(betas[golden["index"]], golden["betas_f64"], rtol=0, atol=1e-13)
    np.testing.assert_allclose(process.variance(np.arange(1000)), 1 - abar, rtol=1e-11, atol=0)
    np.testing.assert_allclose(
        process.sigma(np.arange(999)), np.sqrt((1 - abar[:-1]) / abar[:-1]), rtol=1e-11
    )


def test_the_default_ends_are_the_papers():
    for spacing, ends in {"linear": (1e-4, 0.02), "scaled_linear": (0.00085, 0.012),
                          "sigmoid": (1e-4, 0.02)}.items():  # fmt: skip
        np.testing.assert_array_equal(
            processes.ddpm(spacing).table, processes.ddpm(spacing, *ends).table
        )
    betas = [1e-3 + (0.05 - 1e-3) / (1 + math.exp(6 - 12 * i / 49)) for i in range(50)]
    sigmoid = processes.ddpm("sigmoid", 1e-3, 0.05, 50)
    np.testing.assert_allclose(alphas_cumprod(sigmoid), np.cumprod(1 - np.array(betas)), rtol=1e-13)
    np.testing.assert_allclose(processes.ddpm(betas).table, sigmoid.table, rtol=1e-13)


def test_zero_snr_is_algorithm_1_of_lin_et_al():
    betas = np.linspace(1e-3, 0.2, 20)
    root = np.sqrt(np.cumprod(1 - betas))
    first, last = root[0], root[-1]
    root = (root - last) * first / (first - last)
    process = processes.ddpm(betas, rescale_zero_snr=True)
    np.testing.assert_allclose(process.scale(np.arange(20)), root, rtol=1e-12, atol=0)
    assert process.sigma(19) == math.inf and process.scale(19) == 0.0
    assert process.variance(19) == 1.0 == process.prior_std and process.time(math.inf) == 19.0
    assert process.table[0] == processes.ddpm(betas).table[0]
    grid = process.grid(5)
    assert (
        grid.sigmas[0] == math.inf and grid.scale[0] == 0.0 and np.isfinite(grid.sigmas[1:]).all()
    )
    # `leading` misses the last timestep, and so the point of it.
    assert process.grid(5, "leading").sigmas[0] < math.inf


@pytest.mark.parametrize("name", [name for name in TABLES if name.startswith("timesteps")])
def test_the_timesteps_are_diffusers(name):
    _, spacing, n = name.split("/")
    process, n = processes.ddpm(), int(n)
    for scheduler in ("DDPMScheduler", "DDIMScheduler"):
        np.testing.assert_array_equal(process.timesteps(n, spacing), TABLES[name][scheduler])
    multistep = TABLES[name]["DPMSolverMultistepScheduler"]
    got = process.timesteps(n, spacing)
    if spacing != "trailing":
        got = process.timesteps(n + 1, spacing)[:-1]
    np.testing.assert_array_equal(got, multistep)
    assert got.dtype.kind == "i"


@pytest.mark.parametrize("name", [name for name in CASES if "steps_offset" in name])
def test_an_offset_is_diffusers(name):
    case = CASES[name]
    process = processes.ddpm("scaled_linear")
    grid = process.grid(case["n"], "leading", steps_offset=1, set_alpha_to_one=False)
    np.testing.assert_array_equal(grid.times[:-1], case["timesteps"])
    assert grid.times[-1] == 0 and grid.sigmas[-1] == process.sigma(0) > 0


@pytest.mark.parametrize("spacing", SPACINGS)
def test_a_step_leads_to_the_next_timestep_of_the_grid(spacing):
    for n in (1, 2, 7, 13, 20, 61, 333, 1000):
        grid = SD.grid(n, spacing)
        assert len(grid) == n + 1 and grid.process is SD
        np.testing.assert_array_equal(grid.times, np.append(SD.timesteps(n, spacing), -1))
        np.testing.assert_array_equal(grid.sigmas[:-1], SD.table[grid.times[:-1].astype(int)])
        assert grid.sigmas[-1] == 0.0 and grid.scale[-1] == 1.0
        assert (np.diff(grid.sigmas) < 0).all()
        if spacing != "leading":
            assert grid.times[0] == 999
        np.testing.assert_array_equal(schedules.ddpm(n, spacing=spacing), grid.sigmas)


@pytest.mark.parametrize("name", LEGACY)
def test_the_sdxl_grid_is_the_golden_one(name):
    n, start, end = (float(part.split("=")[1]) for part in name.split(","))
    grid = processes.ddpm("scaled_linear", start, end).grid(int(n), "legacy")
    np.testing.assert_array_equal(grid.times[:-1], LEGACY[name]["timesteps_ascending"][::-1])
    np.testing.assert_allclose(grid.sigmas, LEGACY[name]["sigmas"], rtol=1e-13)


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("Euler")])
def test_levels_and_times_are_those_of_euler_discrete(name):
    case = CASES[name]
    zero_snr = "zero_snr" in name
    process = ZERO_SNR if zero_snr else SD
    sigmas, times = np.array(case["sigmas"][:-1]), np.array(case["timesteps"])
    whole = times == np.rint(times)
    whole[0] &= not zero_snr  # there it has 4096 for infinity
    np.testing.assert_allclose(process.sigma(times[whole]), sigmas[whole], rtol=1e-11)
    if "karras" in name:  # times from levels; between timesteps log sigma is linear
        np.testing.assert_allclose(process.time(sigmas), times, rtol=1e-11, atol=1e-10)


def test_levels_and_times_are_those_of_k_diffusion():
    """Its DiscreteSchedule of Stable Diffusion's table, as printed to four digits."""
    sigmas = [14.6146, 7.8399, 4.6092, 2.9183, 1.9502, 1.3449, 0.9324, 0.6250, 0.3687, 0.0292]
    np.testing.assert_allclose(SD.sigma(np.linspace(999, 0, 10)), sigmas, atol=6e-5)
    assert abs(SD.time(1.0) - 353.8904) < 6e-5


@pytest.mark.parametrize("process", [SD, ZERO_SNR, processes.ddpm([0.3, 0.4])])
def test_level_and_time_are_inverse(process):
    last = process.num_timesteps - 1
    t = np.linspace(-1, last, 8 * (last + 1) + 1)
    np.testing.assert_allclose(process.time(process.sigma(t)), t, rtol=0, atol=1e-11 * (last + 1))
    sigma = process.sigma(t)
    assert (np.diff(sigma) > 0).all() and sigma[0] == 0.0
    np.testing.assert_array_equal(process.sigma(np.arange(last + 1)), process.table)
    np.testing.assert_array_equal(process.time(process.table), np.arange(last + 1))
    # Continuous at the timesteps from either side.
    inner = np.arange(last)
    np.testing.assert_allclose(process.sigma(inner - 1e-9), process.table[:-1], rtol=1e-7)
    assert process.time(2 * process.table[-1]) == last
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for t in (-1.1, last + 0.1, 1e9, math.nan):
            assert all(map(np.isnan, (process.sigma(t), process.scale(t), process.variance(t))))


def test_between_timesteps_log_sigma_is_linear():
    a, b = SD.table[[400, 401]]
    np.testing.assert_allclose(SD.sigma(400.25), a**0.75 * b**0.25, rtol=1e-14)
    np.testing.assert_allclose(SD.time(math.sqrt(a * b)), 400.5, rtol=1e-14)
    np.testing.assert_allclose(SD.sigma(-0.25), 0.75 * SD.table[0], rtol=1e-14)
    np.testing.assert_allclose(ZERO_SNR.sigma(998.75), 4 * ZERO_SNR.table[998], rtol=1e-14)


@pytest.mark.parametrize("process", [SD, ZERO_SNR])
def test_in_float32_and_under_jit(process):
    @jax.jit
    def run(process, t):
        sigma = process.sigma(t)
        return sigma, process.scale(t), process.variance(t), process.time(sigma)

    t = np.array([-1.0, -0.5, 0.0, 0.3, 500.0, 998.5, 999.0])
    got, want = run(process, jnp.asarray(t, jnp.float32)), run.__wrapped__(process, t)
    for narrow, wide, tolerance in zip(got, want, (1e-5, 1e-5, 1e-5, 1e-6), strict=True):
        assert narrow.dtype == jnp.float32
        np.testing.assert_allclose(
            narrow, wide, rtol=tolerance, atol=1e-4 if tolerance < 2e-6 else 0
        )
    for function, points in (
        (process.sigma, (-1.0, -0.5, 0.0, 3.3, 998.5)),
        (process.time, (0.0, 1e-3, 1.0, 14.0, 1e9, math.inf)),
        (process.scale, (-1.0, 0.5, 998.5)),
    ):
        slopes = jax.jit(jax.vmap(jax.grad(function)))(jnp.array(points))
        assert np.isfinite(slopes).all()


def test_rates_are_those_of_the_interpolation():
    t, h = np.array([-0.5, 3.3, 500.7]), 1e-6
    f, g = SD.rates(t)
    slope = (SD.sigma(t + h) - SD.sigma(t - h)) / (2 * h)
    np.testing.assert_allclose(
        f, (np.log(SD.scale(t + h)) - np.log(SD.scale(t - h))) / (2 * h), rtol=1e-5
    )
    np.testing.assert_allclose(g, SD.scale(t) * np.sqrt(2 * slope * SD.sigma(t)), rtol=1e-6)


def test_noise_is_added_and_velocity_is_what_v_prediction_learns():
    rng = np.random.default_rng(0)
    x0, n = rng.standard_normal((2, 4, 3))
    t = np.array([0, 10, 500, 999])
    with jax.enable_x64(True):
        for process in (SD, ZERO_SNR):
            abar = (1 / (1 + process.table**2))[t][:, None]
            got, v = process.add_noise(x0, n, t), process.get_velocity(x0, n, t)
            np.testing.assert_allclose(got, abar**0.5 * x0 + (1 - abar) ** 0.5 * n, rtol=1e-10)
            np.testing.assert_allclose(v, abar**0.5 * n - (1 - abar) ** 0.5 * x0, rtol=1e-10)
            np.testing.assert_array_equal(process.add_noise(x0, n, 10)[1], got[1])
        assert (ZERO_SNR.add_noise(x0, n, 999) == n).all()
        assert (ZERO_SNR.get_velocity(x0, n, 999) == -x0).all()
        assert (SD.add_noise(x0, n, -1) == x0).all()
    tree = {"a": jnp.ones((2, 3), jnp.bfloat16), "b": jnp.zeros(2)}
    noise = jax.tree.map(jnp.ones_like, tree)
    out = jax.jit(lambda process, t: process.add_noise(tree, noise, t))(SD, jnp.array([0, 999]))
    assert jax.tree.map(lambda v: (v.shape, v.dtype), out) == jax.tree.map(
        lambda v: (v.shape, v.dtype), tree
    )
    np.testing.assert_allclose(out["b"], SD.marginal(np.array([0, 999]))[1], rtol=1e-5)


def test_the_table_travels_through_jit_as_one_argument():
    traces = []

    @jax.jit
    def run(process, t):
        traces.append(None)
        return process.sigma(t), process.prior_std

    for process in (SD, ZERO_SNR):
        assert [leaf.shape for leaf in jax.tree.leaves(process)] == [(1000,)]
        np.testing.assert_allclose(run(process, 20.0)[0], process.sigma(20), rtol=1e-6)
    assert len(traces) == 1
    same = jax.tree.map(lambda leaf: leaf, SD)
    assert type(same) is processes.DDPM and same.num_timesteps == 1000 and same.t_max == 999
    jax.tree.map(lambda leaf: None, SD)  # any leaves may stand in a tree
    text = run.lower(SD, 20.0).as_text()
    assert "1000xf32>, " in text and 'dense<"' not in text


N = np.ones((2, 3))
BAD = [
    (lambda: processes.ddpm("cosine"), ValueError, "`betas` must be 'linear', .* got 'cosine'"),
    (lambda: processes.ddpm(None), TypeError, "name a spacing, or be a .* numbers, got None"),
    (lambda: processes.ddpm(["a"]), TypeError, "or be a sequence of numbers, got \\['a'\\]"),
    (lambda: processes.ddpm([[0.1, 0.2]]), TypeError, "or be a sequence of numbers, got"),
    (lambda: processes.ddpm([0.1, math.nan]), ValueError, "Every beta must be .* betas.1. = nan"),
    (lambda: processes.ddpm([0.1, 1.0]), ValueError, r"Every beta must be in \(0, 1\), got betas"),
    (lambda: processes.ddpm([0.1, -0.1]), ValueError, r"Every beta must be in \(0, 1\)"),
    (lambda: processes.ddpm("linear", 0.1, 1.5), ValueError, r"Every beta must be in \(0, 1\)"),
    (lambda: processes.ddpm("linear", -0.1), ValueError, "`beta_start` must be positive"),
    (lambda: processes.ddpm("squaredcos_cap_v2", 1e-4), ValueError, "there are no ends to choose"),
    (lambda: processes.ddpm([0.1, 0.2], beta_end=0.2), ValueError, "With given betas there are no"),
    (lambda: processes.ddpm([0.1, 0.2], num_timesteps=3), ValueError, "but there are 2 betas"),
    (lambda: processes.ddpm(num_timesteps=0), ValueError, "`num_timesteps` must be at least 1"),
    (lambda: processes.ddpm([0.1], rescale_zero_snr=True), ValueError, "at least two timesteps"),
    (lambda: SD.timesteps(1001), ValueError, "1000 training timesteps, got n = 1001: ask for"),
    (lambda: SD.timesteps(0), ValueError, "`n` must be at least 1, got 0"),
    (lambda: SD.timesteps(2.5), TypeError, "must be an integer, got 2.5"),
    (lambda: SD.timesteps(10, "quadratic"), ValueError, "spacing must be .* got 'quadratic'"),
    (lambda: SD.grid(10, steps_offset=1), ValueError, "steps_offset moves the timesteps of 'lead"),
    (lambda: SD.timesteps(10, "leading", steps_offset=-1), ValueError, "`steps_offset` must be at"),
    (lambda: SD.grid(1000, "leading", steps_offset=1), ValueError, "first timestep is 1000, and"),
    (lambda: SD.grid(10, "leading", set_alpha_to_one=False), ValueError, "to itself does nothing"),
    (lambda: SD.grid(10, "linspace", set_alpha_to_one=False), ValueError, "to itself does nothing"),
    (lambda: SD.levels([1000, 0]), ValueError, "At t = 1000.0 .* times run from -1 to 999"),
    (lambda: SD.levels([10, -2]), ValueError, "At t = -2.0 this process has no noise level"),
    (lambda: SD.add_noise(N, N, 1000), ValueError, "At t = 1000.0 this process has no noise"),
    (lambda: SD.add_noise(N, N, np.array([0, -2])), ValueError, "At t = -2.0 this process"),
    (lambda: SD.get_velocity(N, N, -1.5), ValueError, "At t = -1.5 this process has no noise"),
    (lambda: SD.add_noise(N, N, math.nan), ValueError, "At t = nan this process has no noise"),
    (lambda: SD.add_noise(N, N, np.arange(3)), ValueError, "t has shape"),
    (lambda: SD.add_noise(N, N[:1], 5), ValueError, "`noise` must have the shape of `x0`"),
]  # fmt: skip


@pytest.mark.parametrize("make, error, message", BAD)
def test_bad_input_gets_a_sentence(make, error, message):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(error, match=message):
            make()


def test_former_names_of_the_ends_of_betas_warn():
    with pytest.warns(DeprecationWarning, match="`linear_end` .* is now called `beta_end`"):
        old = schedules.ddpm_table(linear_end=0.02)
    np.testing.assert_array_equal(old, schedules.ddpm_table(beta_end=0.02))
    with pytest.raises(TypeError, match="`linear_end`, its former name: pass `beta_end` alone"):
        schedules.ddpm_table(linear_end=0.02, beta_end=0.02)


@pytest.mark.parametrize("process", [SD, processes.ddpm("linear", num_timesteps=1100), ZERO_SNR])
@pytest.mark.parametrize(
    "n", [10, *(pytest.param(n, marks=pytest.mark.thorough) for n in (1, 2, 27, 999))]
)
def test_times_that_are_not_rounded(process, n):
    """diffusers' Euler and others: `linspace`, and the table linearly in between."""
    grid = process.grid(n, "linspace", rounded=False)
    last = process.num_timesteps - 1
    times = np.linspace(0, last, n)[::-1] if n > 1 else np.array([last])
    np.testing.assert_allclose(grid.times, [*times, -1], rtol=1e-15)
    low = np.minimum(np.floor(times).astype(int), last - 1)
    with np.errstate(invalid="ignore"):
        linear = (1 - times + low) * process.table[low] + (times - low) * process.table[low + 1]
    linear[times == last] = process.table[-1]
    np.testing.assert_allclose(grid.sigmas, [*linear, 0], rtol=1e-12)
    # The network is shown these times at these levels, and at others the times of the model.
    np.testing.assert_allclose(grid.process.time(grid.sigmas), grid.times, rtol=1e-13)
    whole = np.arange(0, last, 7)
    np.testing.assert_array_equal(grid.process.sigma(whole), process.sigma(whole))
    seen = []
    denoise = ej.denoisers.eps(lambda x, t: seen.append(t) or x, grid.process)
    level = grid.sigmas[n // 2]
    if np.isfinite(level):
        denoise(jnp.ones((1, 1)), float(level))
        np.testing.assert_allclose(seen[0], grid.times[n // 2], rtol=1e-5)
    inside = np.linspace(0.0, last - 1, 57)
    np.testing.assert_allclose(grid.process.time(grid.process.sigma(inside)), inside, atol=1e-9)


def test_a_process_through_given_levels():
    process = SD.through([10.0, 20.5], [SD.sigma(10.4), SD.sigma(20.0) * 1.01])
    assert process.sigma(10.0) == SD.sigma(10.4) and process.time(SD.sigma(20.0) * 1.01) == 20.5
    assert process.sigma(9.0) == SD.sigma(9.0) and process.t_max == 999
    assert SD.sigma(9.0) < process.sigma(9.5) < SD.sigma(10.4)
    leaves, structure = jax.tree.flatten(process)
    again = jax.tree.unflatten(structure, leaves)
    np.testing.assert_array_equal(again.sigma([3.3, 10.2, 500.0]), process.sigma([3.3, 10.2, 500]))
    on_device = jax.jit(lambda p, t: p.sigma(t))(process, jnp.asarray([3.3, 10.2, 500.0]))
    np.testing.assert_allclose(on_device, process.sigma([3.3, 10.2, 500]), rtol=1e-5)
    stand_in = ZERO_SNR.through([999], [4096.0])  # abar = 2^-24, which diffusers has there
    assert stand_in.grid(5).sigmas[0] == 4096.0 and stand_in.time(5000.0) == 999
    np.testing.assert_allclose(stand_in.scale(999.0) ** 2, 2.0**-24, rtol=1e-6)
    for times, sigmas, message in [
        ([1.0, 2.0], [0.1], "of one length"),
        ([-1.0], [0.1], "must be from 0 to 999"),
        ([5.0], [SD.sigma(7.0)], "must rise with time"),
        ([5.5, 5.5], [SD.sigma(5.5)] * 2, "must rise with time"),
    ]:
        with pytest.raises(ValueError, match=message):
            SD.through(times, sigmas)
    for call, message in [
        (lambda: SD.grid(10, rounded=False), "for the times of 'linspace'"),
        (lambda: SD.grid(10, "linspace", rounded=False).process.grid(5, "linspace", rounded=False),
         "has such times already"),
        (lambda: SD.grid(10, "linspace", rounded=False, set_alpha_to_one=False), "leave one of"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=message):
            call()
