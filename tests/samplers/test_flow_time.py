"""Steps in the time of a flow: diffusers' numbers, orders from t = 1, and what is refused."""

import functools
import itertools

import jax
import numpy as np
import pytest
from support.cases import MIXTURE, Mixture, golden, golden_problem
from support.helpers import mixture, over
from support.orders import run

import edmjax as ej
from edmjax import samplers as s

pytestmark = pytest.mark.usefixtures("unchecked")  # checks would take longer than what they check

FLOW = ej.processes.flow()
RUNS = golden("flow_match")["runs"]
START = np.random.default_rng(5).normal(size=(6, 2))
SAMPLERS = {
    "Euler": s.euler(),
    "Heun": s.heun(),
    "Heun, no shift": s.heun(),
    "LCM": s.lcm(),
    "stochastic": s.lcm(),
    "LTX": s.flow_ancestral(s.euler()),
    # In log SNR, which is log sigma here, and not in the flow's time.
    "DPM": s.dpmpp_2m(lower_order_final=True),
    "UniPC": s.unipc(2),
}


def sampled(problem, plan, x, noise=None):
    """In NumPy, where `plan` holds its points in the scale of the flow."""
    scales = dict(zip(plan.sigmas, plan.scale, strict=False))

    def denoise(y, sigma):
        return problem.denoise(y / scales[sigma], sigma)

    return run(denoise, plan, x, noise)


@pytest.mark.parametrize("name", RUNS)
def test_schedulers_of_diffusers(name):
    case, (problem, noise, bank) = RUNS[name], golden_problem()
    if case["class"] in ("Euler", "Heun", "LCM"):
        grid = ej.processes.flow(case["options"].get("shift", 1.0)).grid(case["n"], "linspace")
    elif name == "LTX":
        grid = ej.processes.flow(3.0).grid(case["n"])
    else:
        grid = FLOW.levels(case["sigmas"])
    got = sampled(problem, ej.make_plan(SAMPLERS[name], grid), noise, bank)
    np.testing.assert_allclose(got, case["x"], rtol=0, atol=1e-10 * np.abs(case["x"]).max())


def rk4(problem, x, end, steps=2000):
    """The classical method on dx/dt = v in NumPy, from t = 1 - 1e-6 to `end`."""
    t = np.linspace(1 - 1e-6, end, steps + 1)

    def v(x, t):
        return (x - problem.denoise(x / (1 - t), t / (1 - t))) / t

    for a, b in itertools.pairwise(t):
        h = b - a
        k_1 = v(x, a)
        k_2 = v(x + h / 2 * k_1, a + h / 2)
        k_3 = v(x + h / 2 * k_2, a + h / 2)
        x = x + h / 6 * (k_1 + 2 * k_2 + 2 * k_3 + v(x + h * k_3, b))
    return x


SECOND_ORDER = {
    "heun": s.heun(),
    "midpoint": s.midpoint(),
    "dpm_2": s.dpm_2(),
    "lms": s.lms(2),  # of higher order the start's error is small, and shows later
    "ipndm": s.ipndm(2),
    "ipndm_v": s.ipndm_v(2),
    "pndm": s.pndm(),
    "gradient_estimation(1.5)": s.gradient_estimation(1.5),
    "deis": s.deis(kind="rho_ab"),
    "dpmpp_2m": s.in_flow_time(s.dpmpp_2m()),
    "res_multistep": s.in_flow_time(s.res_multistep()),
    "unipc": s.in_flow_time(s.unipc(2)),
    "dpmpp_2s": s.in_flow_time(s.dpmpp_2s()),
    "exp_heun": s.in_flow_time(s.exp_heun()),
}


@functools.cache
def reference(end):
    return rk4(Mixture(**MIXTURE), START, end)


@pytest.mark.parametrize("name", over(SECOND_ORDER, ("heun", "lms", "dpmpp_2m")))
def test_second_order_from_noise(name):
    """On even steps of t from 1, where sigma is infinite, against RK4 of 2,000 steps."""
    problem, errors = Mixture(**MIXTURE), []
    for n in (30, 60):
        plan = ej.make_plan(SECOND_ORDER[name], FLOW.levels(np.linspace(1, 0.1, n + 1)))
        errors.append(np.sqrt(np.mean((sampled(problem, plan, START) - reference(0.1)) ** 2)))
    assert np.log2(errors[0] / errors[1]) > 1.75, errors
    assert errors[1] < 1e-3


def test_heun_is_better_than_euler_at_ten_steps():
    """Heun in sigma from t = 0.999 had three times Euler's error."""
    grid, problem, rms = FLOW.grid(10), Mixture(**MIXTURE), {}
    for name, made in {"euler": s.euler(), "heun": s.heun(), "f_rk": s.f_rk(2)}.items():
        got = sampled(problem, ej.make_plan(made, grid), START)
        rms[name] = np.sqrt(np.mean((got - reference(1e-5)) ** 2))
    assert rms["heun"] < 0.5 * rms["euler"]
    np.testing.assert_allclose(rms["heun"], rms["f_rk"], rtol=0.3)


def test_the_same_denoiser_and_noise(x64):
    """A network of the flow, and noise of the flow's own scale: as with `euler`."""
    problem, plan = mixture(), ej.make_plan(s.heun(), ej.processes.flow(3.0).grid(6))

    def velocity(x, t):
        return (x - problem(x / (1 - t), t / (1 - t))) / t

    got = ej.sample(ej.denoisers.flow(velocity), plan, START)
    np.testing.assert_allclose(got, sampled(Mixture(**MIXTURE), plan, START), atol=1e-7)
    np.testing.assert_allclose(plan.sigmas[0] * plan.scale[0], 1.0)


def test_in_flow_time_changes_nothing_that_is_in_time():
    for made in (s.heun, s.lms, s.gradient_estimation, s.pndm):
        one, two = (ej.make_plan(x, FLOW.grid(5)) for x in (made(), s.in_flow_time(made())))
        np.testing.assert_array_equal(one.y, two.y)
        np.testing.assert_array_equal(one.d, two.d)


def test_levels_without_the_process_are_levels_of_sigma():
    """The way to step a flow in sigma: the same levels as an array."""
    levels = np.asarray(FLOW.levels(np.linspace(0.9, 0.0, 5)))
    plan = ej.make_plan(s.heun(), levels)
    r = levels[1] / levels[0]
    np.testing.assert_allclose(plan.y[1, 0], r)
    np.testing.assert_allclose(plan.d[1, 0], 1 - r)
    assert plan.scale is None


@pytest.mark.thorough
def test_traced_levels(x64):
    times = np.array([0.9, 0.6, 0.3, 0.0])
    fixed = ej.make_plan(s.heun(), FLOW.levels(times))
    traced = jax.jit(lambda t: ej.make_plan(s.heun(), FLOW.levels(t), ends_at_zero=True))(times)
    for name in ("y", "d", "sigmas", "scale"):
        np.testing.assert_allclose(getattr(traced, name), getattr(fixed, name), atol=1e-12)


def test_encoding():
    times, problem = np.linspace(1e-3, 0.95, 40), Mixture(**MIXTURE)
    up, down = (ej.make_plan(s.heun(), FLOW.levels(t)) for t in (times, times[::-1]))
    x = problem.denoise(START * 0.5, 0.5)
    back = sampled(problem, down, sampled(problem, up, x))
    np.testing.assert_allclose(back, x, atol=3e-2)


def test_wrappers_draw_in_sigma():
    plan = ej.make_plan(s.churn(s.heun(), 4.0, 0.0, 3.0), FLOW.grid(6))
    assert plan.num_draws > 0
    keys = ej.make_plan(s.restart(s.heun(), [(0.2, 1.5, 3, 1)]), FLOW.grid(8))
    assert keys.num_draws == 1


@pytest.mark.parametrize("eta", [0.3, 1.0])
@pytest.mark.parametrize("make", [s.flow_ancestral, s.ancestral])
def test_the_noise_keeps_the_marginals(eta, make):
    """On data of one point every level has its own variance, whatever the step."""
    levels = FLOW.levels(np.linspace(1, 0.1, 7))
    plan = ej.make_plan(make(s.euler(), eta), levels)
    # x_process = t n exactly: the squares of all weights of a row add up to t^2.
    spread = np.zeros((plan.nfe + 1, 1 + plan.num_draws))
    spread[0, 0] = 1.0
    for k in range(1, plan.nfe + 1):
        spread[k] = plan.y[k, 0] * spread[k - 1]
        for weight, j in zip(plan.z[k], plan.draws[k], strict=True):
            spread[k, 1 + j] += weight
    np.testing.assert_allclose((spread**2).sum(1), levels.times**2, rtol=1e-12)


@pytest.mark.parametrize(
    "bad, error, message",
    [
        (lambda: s.in_flow_time(s.heun), TypeError, "pass what `heun"),
        (lambda: s.in_flow_time("heun"), TypeError, "`inner` must be a function of one step"),
        (
            lambda: ej.make_plan(s.in_flow_time(s.ddim(1.0)), FLOW.grid(4)),
            ValueError,
            "`in_flow_time` steps along the flow, and this sampler draws noise",
        ),
        (lambda: s.flow_ancestral(s.euler(), 1.5), ValueError, r"`eta` must be in \[0, 1\]"),
        (lambda: s.lcm(-1.0), ValueError, "`s_noise`"),
    ],
)
def test_what_is_wrong_is_said(bad, error, message):
    with pytest.raises(error, match=message):
        bad()
