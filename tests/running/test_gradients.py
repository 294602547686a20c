"""Gradients of a sample through every sampler, against finite differences in float64.

A scalar of the sample is differentiated in all at once: in the start and in every positive level,
or in every continuous option. Both go through the weights, the loop and the exact denoiser.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import ALL, mixture, over

import edmjax as ej
from edmjax import samplers as s

LEVELS = np.array([5.0, 2.6, 1.3, 0.5, 0.2])
RNG = np.random.default_rng(3)
START = 5 * RNG.normal(size=(2, 2))
BANK = RNG.normal(size=(40, 2, 2))  # of draws: more than any plan here makes
STATIC_LEVELS = {"restart_heun"}  # the levels choose the step that is followed by restarts


def scalar(plan, x):
    """A function of the sample with no symmetry that would hide an error."""
    noise = BANK[: plan.num_draws] if plan.num_draws else None
    x0 = ej.sample(mixture(), plan, x, noise=noise)
    return jnp.sum(jnp.sin(x0) * np.array([1.0, -0.7]) + 0.3 * x0**2)


def check(function, values):
    """`jax.grad` against central differences, every component; returns values -> gradient."""
    values = np.asarray(values, float)
    both = jax.jit(jax.value_and_grad(function))  # one program, as it is the compiling that costs
    gradient = both(values)[1]
    for i, value in enumerate(values):
        bump = 1e-5 * max(abs(value), 0.1) * (np.arange(len(values)) == i)
        slope = (both(values + bump)[0] - both(values - bump)[0]) / (2 * bump[i])
        np.testing.assert_allclose(gradient[i], slope, rtol=1e-6, atol=1e-7, err_msg=f"[{i}]")
    return lambda values: both(np.asarray(values, float))[1]


@pytest.mark.parametrize("name", over(ALL, ["churn_heun"], ["heun"]))
def test_in_the_start_and_every_level(x64, name):
    n = 0 if name in STATIC_LEVELS else len(LEVELS)

    def function(values):
        grid = jnp.append(values[:n], 0.0) if n else [*LEVELS, 0.0]
        plan = ej.make_plan(ALL[name][0](), grid, ends_at_zero=True)
        return scalar(plan, values[n:].reshape(START.shape))

    check(function, np.concatenate([LEVELS[:n], START.ravel()]))


# name -> (make, values inside the range, values at its ends): every option that may be traced.
OPTIONS = {
    "churn": (
        lambda v: s.churn(s.heun(), v[0], s_min=0.3, s_max=3.0, s_noise=v[1]),
        [0.8, 1.1],
        [[0, 1], [9, 0]],
    ),
    "ancestral": (
        lambda v: s.ancestral(s.dpm_2(), eta=v[0], s_noise=v[1]),
        [0.6, 1.1],
        [[0, 1], [1, 1], [1, 0]],
    ),
    "ancestral_dpmpp_2m": (
        lambda v: s.ancestral(s.dpmpp_2m(), eta=v[0], s_noise=v[1]),
        [0.6, 1.1],
        [[0, 1], [1, 0]],
    ),
    "ddim": (lambda v: s.ddim(eta=v[0]), [0.6], [[0], [1]]),
    "euler_maruyama": (lambda v: s.euler_maruyama(eta=v[0]), [0.8], [[0], [1]]),
    "dpmpp_2s": (lambda v: s.dpmpp_2s(r=v[0]), [0.4], [[1]]),
    "dpmpp_sde": (
        lambda v: s.dpmpp_sde(eta=v[0], s_noise=v[1], r=v[2]),
        [0.6, 1.1, 0.4],
        [[0, 1, 0.5], [1, 0, 0.5], [1, 1, 1]],
    ),
    "dpmpp_2m_sde": (
        lambda v: s.dpmpp_2m_sde(eta=v[0], s_noise=v[1]),
        [0.6, 1.1],
        [[0, 1], [1, 0]],
    ),
    "dpmpp_3m_sde": (
        lambda v: s.dpmpp_3m_sde(eta=v[0], s_noise=v[1]),
        [0.6, 1.1],
        [[0, 1], [1, 0]],
    ),
    "seeds_2": (
        lambda v: s.seeds_2(eta=v[0], s_noise=v[1], r=v[2]),
        [0.6, 1.1, 0.4],
        [[0, 1, 0.5], [1, 0, 0.5], [1, 1, 1]],
    ),
    "seeds_3": (
        lambda v: s.seeds_3(eta=v[0], s_noise=v[1], r_1=v[2], r_2=v[3]),
        [0.6, 1.1, 0.3, 0.7],
        [[0, 1, 0.3, 0.7], [1, 0, 0.3, 0.7], [1, 1, 0.5, 1]],
    ),
    "er_sde": (lambda v: s.er_sde(s_noise=v[0]), [1.1], [[0]]),
    "sa_solver": (
        lambda v: s.sa_solver(eta=v[0], interval=(0.3, 3.0), s_noise=v[1]),
        [0.6, 1.1],
        [[0, 1], [1, 0]],
    ),
    "restart": (lambda v: s.restart(s.heun(), [(0.5, 2.0, 2, 2)], s_noise=v[0]), [1.1], [[0]]),
    "res_2s": (lambda v: s.res_2s(c2=v[0]), [0.4], [[1]]),
    "res_3s": (lambda v: s.res_3s(c2=v[0], c3=v[1]), [0.4, 0.9], [[0.5, 1]]),
    "gradient_estimation": (lambda v: s.gradient_estimation(gamma=v[0]), [1.7], [[1]]),
    "dpm_fast": (
        lambda v: s.dpm_fast(14, eta=v[0], s_noise=v[1]),
        [0.6, 1.1],
        [[0, 1], [1, 0], [1, 1]],
    ),
}


@pytest.mark.parametrize(
    "name",
    over(OPTIONS, ["churn"]),
)
def test_in_every_continuous_option(x64, name):
    """And finite at the ends of the range, where a square root is that of 0."""
    make, inside, ends = OPTIONS[name]
    grid = [*LEVELS, 0.0]

    def function(values):
        return scalar(ej.make_plan(make([*values]), grid), START)

    slope = check(function, inside)
    for values in ends:
        assert np.isfinite(slope(values)).all(), values


# The option, and what takes it.
STATIC = [
    ("s_min", lambda v: s.churn(s.heun(), 1.0, s_min=v)),
    ("s_max", lambda v: s.churn(s.heun(), 1.0, s_max=v)),
    ("interval", lambda v: s.sa_solver(interval=(0.0, v))),
    ("t_min", lambda v: s.restart(s.heun(), [(v, 2.0, 3, 1)])),
    ("t_max", lambda v: s.restart(s.heun(), [(0.05, v, 3, 1)])),
    ("predictor_order", lambda v: s.sa_solver(predictor_order=v)),
    ("corrector_order", lambda v: s.sa_solver(corrector_order=v)),
    ("start_order", lambda v: s.dpmpp_3m(start_order=v)),
    ("start_order", lambda v: s.dpm_solver(2, "multistep", start_order=v)),
    ("nfe", lambda v: s.dpm_fast(v)),
]
ORDERS = [s.lms, s.ipndm, s.ipndm_v, s.deis, s.unipc, s.dpm_solver, s.dpmpp_singlestep, s.er_sde]


@pytest.mark.parametrize("option, make", [*STATIC, *(("order", make) for make in ORDERS)])
def test_a_tracer_in_an_option_that_chooses(option, make, unchecked):
    """In a sentence that names the option and says what to do."""
    with pytest.raises(TypeError, match=f"`{option}` decides .* outside of jit"):
        jax.jit(lambda v: ej.make_plan(make(v), [1.0, 0.5, 0.0]))(1)


def test_a_traced_level_under_restart_is_a_sentence():
    """Which step is followed by restarts would depend on it."""
    with pytest.raises(TypeError, match="`sigmas` decides which steps are taken"):
        jax.jit(lambda g: ej.make_plan(ALL["restart_heun"][0](), g, ends_at_zero=True))(LEVELS)
