"""Processes: golden marginals, textbook SDEs, round trips at both ends, float64 on the host."""

import json
import math
import pathlib
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from edmjax import denoisers, processes
from edmjax.problems import Gaussian
from edmjax.processes import Process


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


GOLDEN = pathlib.Path(__file__).parents[1] / "support" / "golden"
ALL = {
    "edm": processes.edm(),
    "ve": processes.ve(),
    "song_ve": processes.song_ve(),
    "vp": processes.vp(),
    "vp, slow": processes.vp(0.4, 9.4),
    "sub_vp": processes.sub_vp(),
    "cosine": processes.cosine(),
    "flow": processes.flow(),
}
everything = pytest.mark.parametrize("process", ALL.values(), ids=ALL)

TIMES = np.array([1e-5, 1e-3, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0])
INSIDE = TIMES[:-1]  # flow and cosine have an infinite level at 1

# An independent NumPy program in float64.
GOLDEN_VP = {
    (0.1, 20.0): {
        "beta": [0.10019900000000001, 0.1199, 0.299, 2.09, 5.074999999999999, 10.049999999999999,
                 15.024999999999999, 18.01, 20.0],
        "alpha": [0.9999994995026252, 0.9999450265110976, 0.9990029973377464, 0.946721798820598,
                  0.7236571850830864, 0.2811828807967524, 0.05866350301188082,
                  0.016996463261689278, 0.006571586494929619],
        "std": [0.0010004971259352385, 0.010485416335094895, 0.04464315524465706,
                0.3220525355247045, 0.6901596036263088, 0.9596542020680363, 0.9982778137444381,
                0.9998555496853503, 0.9999784068923386],
        "sigma": [0.001000497626681674, 0.010485992786702987, 0.04468770900950955,
                  0.3401765290774009, 0.9537107042571108, 3.41291830906912, 17.017016756436483,
                  58.827270961663274, 152.1669702839464],
    },
    (0.4, 9.4): {
        "beta": [0.40009, 0.40900000000000003, 0.49, 1.3, 2.65, 4.9, 7.15, 8.5, 9.4],
        "alpha": [0.9999979997770004, 0.9997977704511525, 0.997777473477664, 0.9583904655209469,
                  0.8264424459664598, 0.5155608199707641, 0.24277383237686276,
                  0.13499736759906575, 0.0862935864993705],
        "std": [0.0020001104965002734, 0.020110151687757517, 0.0666341760700136,
                0.28546053247085257, 0.563021210528498, 0.8568529867550637, 0.9700829172359706,
                0.9908459571201382, 0.9962697510860579],
        "sigma": [0.002000114497175292, 0.0201142193772676, 0.06678260217457721,
                  0.29785410304106724, 0.6812588260397113, 1.661982357006208, 3.9958298130339314,
                  7.3397428019699795, 11.545119301459623],
    },
}  # fmt: skip
GOLDEN_VE = {
    (0.02, 100.0): {
        "sigma": [0.020001703511182925, 0.02017107135355032, 0.021778085360002707,
                  0.04687345823184199, 0.1681792830507429, 1.4142135623730951, 11.892071150027212,
                  42.66807006446485, 100.0],
        "diffusion": [0.08255250046651422, 0.08325152787076655, 0.08988411416238834,
                      0.19345958109957118, 0.6941218949047098, 5.836846131744862,
                      49.081829885717646, 176.1027940411501, 412.727348049926],
    },
    (0.01, 50.0): {
        "sigma": [0.010000851755591462, 0.01008553567677516, 0.010889042680001354,
                  0.023436729115920995, 0.08408964152537145, 0.7071067811865476,
                  5.946035575013606, 21.334035032232425, 50.0],
        "diffusion": [0.04127625023325711, 0.041625763935383274, 0.04494205708119417,
                      0.09672979054978559, 0.3470609474523549, 2.918423065872431,
                      24.540914942858823, 88.05139702057505, 206.363674024963],
    },
}  # fmt: skip
SONG_TIMES = np.array([0.001, 0.01, 0.1, 0.3, 0.5, 0.8, 1.0])
SONG_STD = [0.031673739823351046, 0.10163123359182097, 0.3746570968487605, 0.9572142210615898,
            1.9308054296996553, 5.160860997200112, 9.845214562989446]  # fmt: skip
SONG_DIFFUSION = [1.003224061968681, 1.032712419896443, 1.379729661461215, 2.626527804403767, 5.0,
                  13.132639022018838, 25.0]  # fmt: skip


@pytest.mark.parametrize("betas", GOLDEN_VP)
def test_vp_is_the_golden_one(betas):
    process, golden = processes.vp(*betas), GOLDEN_VP[betas]
    alpha, std = process.marginal(TIMES)
    np.testing.assert_allclose(alpha, golden["alpha"], rtol=1e-14)
    np.testing.assert_allclose(std, golden["std"], rtol=1e-12)
    np.testing.assert_allclose(process.sigma(TIMES), golden["sigma"], rtol=1e-12)
    np.testing.assert_allclose(process.diffusion(TIMES) ** 2, golden["beta"], rtol=1e-13)


@pytest.mark.parametrize("ends", GOLDEN_VE)
def test_ve_is_the_golden_one(ends):
    process, golden = processes.ve(*ends), GOLDEN_VE[ends]
    np.testing.assert_allclose(process.sigma(TIMES), golden["sigma"], rtol=1e-13)
    np.testing.assert_allclose(process.diffusion(TIMES), golden["diffusion"], rtol=1e-13)


def test_song_ve_is_the_golden_one():
    process = processes.song_ve(25.0)
    np.testing.assert_allclose(process.sigma(SONG_TIMES), SONG_STD, rtol=1e-13)
    np.testing.assert_allclose(process.marginal(SONG_TIMES)[1], SONG_STD, rtol=1e-13)
    np.testing.assert_allclose(process.diffusion(SONG_TIMES), SONG_DIFFUSION, rtol=1e-13)
    np.testing.assert_allclose(process.prior_std, SONG_STD[-1], rtol=1e-13)


def test_sub_vp_is_the_golden_one():
    continuous = json.loads((GOLDEN / "schedules.json").read_text())["continuous"]
    process, golden = processes.sub_vp(), continuous["subvp(beta_d=19.9,beta_min=0.1)"]
    times = np.array(golden["t"])
    alpha, std = process.marginal(times)
    np.testing.assert_allclose(alpha, golden["alpha"], rtol=1e-13)
    np.testing.assert_allclose(std, golden["std"], rtol=1e-12)
    np.testing.assert_allclose(process.diffusion(times), golden["diffusion"], rtol=1e-12)


# The forward SDE dx = f x dt + g dw as the papers print it: f(t) and g(t)^2.
TEXTBOOK = {
    "edm": (lambda t: 0 * t, lambda t: 2 * t),
    "ve": (lambda t: 0 * t, lambda t: 2 * math.log(5000) * (0.02 * 5000**t) ** 2),
    "song_ve": (lambda t: 0 * t, lambda t: 25 ** (2 * t)),
    "vp": (lambda t: -(0.1 + 19.9 * t) / 2, lambda t: 0.1 + 19.9 * t),
    "vp, slow": (lambda t: -(0.4 + 9 * t) / 2, lambda t: 0.4 + 9 * t),
    # g^2 = beta (1 - exp(-2 B))
    "sub_vp": (
        lambda t: -(0.1 + 19.9 * t) / 2,
        lambda t: -(0.1 + 19.9 * t) * np.expm1(-2 * (0.1 * t + 19.9 * t**2 / 2)),
    ),
    "cosine": (
        lambda t: -math.pi / 2 * np.tan(math.pi / 2 * t),
        lambda t: math.pi * np.tan(math.pi / 2 * t),
    ),
    "flow": (lambda t: -1 / (1 - t), lambda t: 2 * t / (1 - t)),
}


@pytest.mark.parametrize("name", TEXTBOOK)
def test_sde_is_the_textbooks(x64, name):
    process, (f, g_squared) = ALL[name], TEXTBOOK[name]
    times = np.append(0.0, INSIDE)
    x = jnp.linspace(-1, 1, 27).reshape(9, 3)
    np.testing.assert_allclose(
        process.drift(x, times), f(times)[:, None] * np.asarray(x), rtol=1e-12, atol=1e-300
    )
    np.testing.assert_allclose(process.diffusion(times) ** 2, g_squared(times), rtol=1e-12)
    one = process.drift(x, 0.25), process.diffusion(0.25)
    np.testing.assert_allclose(one[0], f(0.25) * np.asarray(x), rtol=1e-12)
    np.testing.assert_allclose(one[1], math.sqrt(g_squared(0.25)), rtol=1e-12)


@everything
def test_sde_against_finite_differences(process):
    t = np.array([0.01, 0.2, 0.5, 0.8])
    h = 1e-5  # a central difference: error h^2 / 6 f''' plus rounding eps / h
    f = (np.log(process.scale(t + h)) - np.log(process.scale(t - h))) / (2 * h)
    slope = (process.sigma(t + h) - process.sigma(t - h)) / (2 * h)
    g = process.scale(t) * np.sqrt(2 * slope * process.sigma(t))
    np.testing.assert_allclose(process.rates(t)[0], f, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(process.diffusion(t), g, rtol=1e-5)


@everything
def test_marginal_is_scale_and_scale_sigma(process):
    alpha, std = process.marginal(INSIDE)
    np.testing.assert_array_equal(alpha, process.scale(INSIDE))
    np.testing.assert_allclose(std, process.scale(INSIDE) * process.sigma(INSIDE), rtol=1e-13)


@everything
def test_round_trips_at_both_ends(process):
    # 1e-4 and 1e4, and what the process reaches between them.
    sigmas = np.geomspace(1e-4, 1e4, 41)
    assert np.isfinite(process.time(sigmas)).all()
    # A rounding of t, of size eps t, moves sigma by sigma' of it.
    t, eps = process.time(sigmas), 2.0**-53
    h = 1e-6 * np.maximum(np.abs(t), 1e-6) * np.maximum(1e-3, 1 - np.minimum(t, 1.0))
    slope = np.abs(process.sigma(t + h) - process.sigma(t - h)) / (2 * h)
    allowed = 1e-14 + 4 * eps * slope * np.abs(t) / sigmas
    assert (allowed < 1e-11).all()
    assert (np.abs(process.sigma(t) / sigmas - 1) <= allowed).all()
    times = TIMES * 80 if process is ALL["edm"] else INSIDE
    back = process.time(process.sigma(times))
    # sigma_min exp(c t) - sigma_min is lost to rounding where c t is below it.
    np.testing.assert_allclose(back, times, rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("name", ["song_ve", "vp", "vp, slow", "sub_vp"])
def test_round_trip_of_the_small_and_large_levels_to_1e_12(name):
    sigmas = np.geomspace(1e-4, float(ALL[name].sigma(1.0)), 41)
    np.testing.assert_allclose(ALL[name].sigma(ALL[name].time(sigmas)), sigmas, rtol=1e-12)


def test_the_ends():
    for name, process in ALL.items():
        if name != "ve":
            assert process.sigma(0.0) == 0.0 and process.time(0.0) == 0.0, name
        assert process.scale(0.0) == 1.0
        assert process.marginal(process.t_max)[1] == process.prior_std
    assert processes.ve().sigma(0.0) == 0.02
    assert processes.ve().time(0.0) == -math.inf and processes.ve().scale(-math.inf) == 1.0
    assert processes.edm().prior_std == 80.0 and processes.edm(5.0).prior_std == 5.0
    np.testing.assert_allclose(processes.ve().prior_std, 100.0, rtol=1e-14)
    # All noise and no data: the level is infinite and the noise in the process's scale is 1.
    flow, cosine = processes.flow(), processes.cosine()
    assert flow.sigma(1.0) == math.inf and flow.marginal(1.0) == (0.0, 1.0)
    assert flow.time(math.inf) == 1.0 and flow.prior_std == 1.0
    assert cosine.sigma(1.0) == math.inf and cosine.marginal(1.0) == (0.0, 1.0)
    assert cosine.time(math.inf) == 1.0 and cosine.prior_std == 1.0
    one = jnp.float32(1.0)  # where the tangent of a rounded pi / 2 is negative
    assert cosine.sigma(one) == math.inf and cosine.marginal(one) == (0.0, 1.0)


@everything
def test_numbers_are_float64_on_the_host_without_x64(process):
    assert not jax.config.jax_enable_x64

    def check():
        for t in (0.3, np.float32(0.3), np.array(0.3)):
            for value in (
                process.scale(t),
                process.sigma(t),
                process.time(t),
                process.diffusion(t),
            ):
                assert isinstance(value, np.ndarray | np.float64) and value.dtype == np.float64
        return process.sigma(0.3), process.diffusion(np.array([0.3, 0.6]))

    want = check()
    seen = []

    @jax.jit
    def inside(x):  # numbers stay numbers where another function is being traced
        seen.append(check())
        return x

    inside(jnp.ones(2))
    for got, value in zip(seen[0], want, strict=True):
        np.testing.assert_array_equal(got, value)


@everything
def test_jax_arrays_stay_in_their_precision_and_agree(process):
    t = jnp.array([1e-3, 0.1, 0.5, 0.9])
    host = np.asarray(t, np.float64)

    @jax.jit
    def traced(process, t):
        sigma = process.sigma(t)
        return (
            process.scale(t),
            sigma,
            process.time(sigma),
            *process.rates(t),
            process.marginal(t)[1],
        )

    wide = (
        process.scale(host), process.sigma(host), host, *process.rates(host),
        process.marginal(host)[1],
    )  # fmt: skip
    for got, want in zip(traced(process, t), wide, strict=True):
        assert got.dtype == jnp.float32
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-6)
    assert process.sigma(t[1].astype(jnp.bfloat16)).dtype == jnp.float32


def test_numbers_of_a_process_travel_through_jit():
    traces = []

    @jax.jit
    def run(process, x):
        traces.append(None)
        return process.from_ve(x, 0.5), process.drift(x, 0.5), process.diffusion(0.5)

    x = jnp.ones((2, 3))
    for betas in ((0.1, 20.0), (0.4, 9.4)):
        process = processes.vp(*betas)
        got, drift, g = run(process, x)
        np.testing.assert_allclose(got, process.scale(0.5) * np.ones((2, 3)), rtol=1e-5)
        np.testing.assert_allclose(drift, process.drift(x, 0.5), rtol=1e-5)
        np.testing.assert_allclose(g, process.diffusion(0.5), rtol=1e-5)
    assert len(traces) == 1
    slope = jax.grad(lambda beta: processes.vp(0.1, beta).sigma(0.5))(20.0)
    h = 1e-4
    ends = processes.vp(0.1, 20.0 + h).sigma(0.5), processes.vp(0.1, 20.0 - h).sigma(0.5)
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / (2 * h), rtol=1e-5)


@everything
def test_slopes_at_time_zero_are_finite_in_gradients(x64, process):
    for function in (process.scale, process.variance, process.diffusion):
        assert jnp.isfinite(jax.grad(lambda t, function=function: function(t))(0.0))


@everything
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_points_move_between_the_frames(process, dtype):
    x = {"a": jnp.linspace(-1, 1, 12, dtype=dtype).reshape(4, 3), "b": jnp.ones(4)}
    for t in (0.25, np.array([0.01, 0.1, 0.5, 0.9]), jnp.array([0.01, 0.1, 0.5, 0.9])):
        there = process.to_ve(x, t)
        scale = np.broadcast_to(np.asarray(process.scale(t)), (4,))
        unit = 2.0**-7 if dtype == jnp.bfloat16 else 1e-6
        np.testing.assert_allclose(
            np.float64(there["a"]), np.float64(x["a"]) / scale[:, None], rtol=unit
        )
        np.testing.assert_allclose(there["b"], 1 / scale, rtol=1e-6)
        back = process.from_ve(there, t)
        assert back["a"].dtype == dtype
        np.testing.assert_allclose(np.float64(back["a"]), np.float64(x["a"]), rtol=2 * unit)


@everything
def test_the_forward_sde_keeps_the_marginals(process):
    """d mean / dt = f mean and d var / dt = 2 f var + g^2 for data of variance 0.3."""
    t, h = np.array([0.05, 0.3, 0.7]), 1e-5
    problem = Gaussian([0.8], 0.3)

    def variance(t):
        return process.scale(t) ** 2 * (problem.variances + process.sigma(t) ** 2)

    f, g = process.rates(t)
    slope = (variance(t + h) - variance(t - h)) / (2 * h)
    np.testing.assert_allclose(slope, 2 * f * variance(t) + g**2, rtol=1e-7)


@everything
def test_noise_is_added_as_in_the_marginal(process):
    x0 = {"a": np.float32([[0.5], [-2.0]]), "b": np.float32([1.0, 3.0])}
    noise = {"a": np.float32([[1.0], [0.25]]), "b": np.float32([0.0, -1.0])}
    for t in (0.3, np.array([0.1, 0.7])):
        alpha, std = (np.broadcast_to(v, 2) for v in process.marginal(t))
        got = process.add_noise(x0, noise, t)
        np.testing.assert_allclose(got["b"], alpha * x0["b"] + std * noise["b"], rtol=1e-6)
        want = alpha[:, None] * x0["a"] + std[:, None] * noise["a"]
        np.testing.assert_allclose(got["a"], want, rtol=1e-6)
        frame = process.to_ve(got, t)["b"] - process.sigma(t) * noise["b"]
        np.testing.assert_allclose(frame, x0["b"], rtol=1e-5)


@everything
def test_the_scale_of_a_level(x64, process):
    t = np.array([0.0, 0.1, 0.5, 0.9])
    np.testing.assert_allclose(
        process.scale_of(process.sigma(t)), process.scale(t), rtol=1e-9, atol=0
    )
    exploding = process in (ALL["edm"], ALL["ve"], ALL["song_ve"])
    for sigma in (jnp.float32(2.0**40), 1e30):  # where the scale of the time is lost to rounding
        want = 1.0 if exploding else 1 / float(sigma)
        np.testing.assert_allclose(process.scale_of(sigma), want, rtol=1e-5)


@everything
def test_levels_know_their_times_and_scale(process):
    times = np.array([0.9, 0.5, 0.1, 0.01])
    levels = process.levels(times)
    assert len(levels) == 4 and levels.process is process
    np.testing.assert_array_equal(levels.times, times)
    np.testing.assert_array_equal(levels.sigmas, process.sigma(times))
    np.testing.assert_array_equal(np.asarray(levels), levels.sigmas)
    np.testing.assert_array_equal(levels.scale, process.scale(times))
    assert levels.sigmas.dtype == levels.scale.dtype == np.float64
    np.testing.assert_array_equal(process.levels([0.9, 0.5, 0.1, 0.01]).sigmas, levels.sigmas)


def test_levels_may_be_traced():
    def last(t):
        levels = processes.vp().levels([0.9, t, 0.0])
        return levels.sigmas[1] + levels.scale[1]

    slope = jax.jit(jax.grad(last))(0.5)
    h, vp = 1e-5, processes.vp()
    ends = [vp.sigma(t) + vp.scale(t) for t in (0.5 + h, 0.5 - h)]
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / (2 * h), rtol=1e-5)


def test_a_process_of_ones_own():
    def scale(t):
        return 1 / (1 + t)

    def sigma(t):
        return t * t

    def time(sigma):
        xp, sigma = processes.array_module(sigma)
        return xp.sqrt(sigma)

    for process in (Process(scale, sigma, time), Process(Partial(scale), sigma, time)):
        alpha, std = process.marginal(2.0)
        np.testing.assert_allclose([alpha, std], [1 / 3, 4 / 3], rtol=1e-15)
        # f = -1 / (1 + t), g^2 = scale^2 (sigma^2)' = 4 t^3 / (1 + t)^2
        f, g = process.rates(2.0)
        np.testing.assert_allclose([f, g**2], [-1 / 3, 32 / 9], rtol=1e-14)
        assert process.time(4.0) == 2.0


@pytest.mark.parametrize("name", ["vp", "cosine", "flow"])
def test_a_denoiser_of_the_frame_serves_the_process(x64, name):
    """The score of the process's own marginal is 1 / scale times that of the frame."""
    process, problem = ALL[name], Gaussian([0.8, -0.2], [0.3, 0.1])
    t = 0.4
    alpha, std = process.marginal(t)
    x = jnp.array([[0.3, 0.1], [1.0, -1.0]])
    own = -(x - alpha * problem.mean) / (alpha**2 * problem.variances + std**2)
    frame = denoisers.to_score(problem)(process.to_ve(x, t), process.sigma(t)) / alpha
    np.testing.assert_allclose(frame, own, rtol=1e-12)


BAD = [
    (lambda: processes.vp(0.0, 20.0), ValueError, "`beta_min` must be one positive number, got 0"),
    (lambda: processes.vp(20.0, 0.1), ValueError, "`beta_min` must not be above `beta_max`"),
    (lambda: processes.ve(1.0, 1.0), ValueError, "`sigma_min` must be below `sigma_max`"),
    (lambda: processes.ve(-1.0, 1.0), ValueError, "`sigma_min` must be one positive number"),
    (lambda: processes.song_ve(1.0), ValueError, "`sigma` must be above 1"),
    (lambda: processes.song_ve(math.nan), ValueError, "`sigma` must be finite, got nan"),
    (lambda: processes.edm(0.0), ValueError, "`sigma_max` must be one positive number"),
    (lambda: processes.vp().levels([[1.0, 0.5]]), ValueError, "one-dimensional, got shape"),
    (lambda: processes.vp().levels([1.0, math.nan]), ValueError, "`times` must be finite"),
    (lambda: processes.vp().levels([1.0, -0.5]), ValueError, "At t = -0.5 this process has no"),
    (lambda: processes.flow().levels([1.5, 0.5]), ValueError, "times run from 0 to 1.0"),
    (lambda: processes.flow().to_ve(jnp.ones((2, 1)), np.ones(3) / 2), ValueError, "t has shape"),
    (lambda: processes.sub_vp(20.0, 0.1), ValueError, "`beta_min` must not be above `beta_max`"),
    (lambda: processes.vp().add_noise(np.ones(2), np.ones(2), -0.1), ValueError, "At t = -0.1"),
    (lambda: processes.vp().add_noise(np.ones(2), np.ones(3), 0.1), ValueError, "`noise` must"),
    (lambda: Process(1.0, 2.0, 3.0), TypeError, "`scale` must be a function, got 1.0"),
    (lambda: Process(abs, abs, abs, 3), TypeError, "`variance` must be a function, got 3"),
    (lambda: Process(abs, abs, abs, None, "a"), TypeError, "`t_max` must be a real scalar"),
    (lambda: Process(abs, abs, abs, None, math.nan), ValueError, "`t_max` must be positive"),
]  # fmt: skip


@pytest.mark.parametrize("make, error, message", BAD)
def test_bad_input_gets_a_sentence(make, error, message):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(error, match=message):
            make()


NO_NUMBERS = ("a", None, True, 1j, ["a"], [None], [[0.5], [0.5, 0.1]], [True, False])


@pytest.mark.parametrize("name", [*ALL, "ddpm"])
def test_what_is_no_number_gets_a_sentence_from_every_function(name):
    process = ALL.get(name, processes.ddpm())
    x = jnp.ones((2, 1))
    of_time = {
        "marginal": process.marginal,
        "rates": process.rates,
        "diffusion": process.diffusion,
        "drift": lambda t: process.drift(x, t),
        "to_ve": lambda t: process.to_ve(x, t),
        "from_ve": lambda t: process.from_ve(x, t),
        "within": lambda t: process.within(t, x),
        "add_noise": lambda t: process.add_noise(x, x, t),
        "levels": process.levels,
    }
    fields = (process.scale, process.sigma, process.variance, process.time, process.scale_of)
    for function in (*of_time.values(), *fields):
        for value in (*NO_NUMBERS, jnp.array([True, False])):
            with pytest.raises(TypeError, match=r"real numbers, got|a noise level, got"):
                function(value)
    for what, function in of_time.items():
        with pytest.raises(ValueError, match=r"NaN, got t = nan|At t = nan|be finite, got"):
            function([math.nan] if what == "levels" else math.nan)


@everything
def test_there_is_no_time_of_a_level_below_zero(process):
    """Where the level is squared, -1 would have the time of 1."""
    for function in (process.time, process.scale_of):
        for bad in (-1.0, math.nan, [1.0, -1.0]):
            with pytest.raises(ValueError, match="must not be negative or NaN, got sigma = "):
                function(bad)


@everything
def test_the_diffusion_at_a_traced_nan_is_nan(process):
    assert np.isnan(jax.jit(process.diffusion)(jnp.nan))
