"""Flows and the shift of their clocks: diffusers' numbers, and the formulas."""

import math

import jax
import numpy as np
import pytest
from support.cases import golden

import edmjax as ej
from edmjax.processes import flow

GRIDS = golden("flow_match")["grids"]


def flow_times(levels):
    """The flow's own times of levels, whatever the process counts."""
    sigma = np.asarray(levels.sigmas)
    return np.where(np.isinf(sigma), 1.0, sigma / (1 + np.minimum(sigma, 1e300)))


def ours(case):
    options, times = case["options"], case["times"]
    shift, mu = options.get("shift", 1.0), times.get("mu")
    if mu is not None:
        shift = mu if options.get("time_shift_type") == "linear" else math.exp(mu)
    spacing = "trailing" if "sigmas" in times else "linspace"
    n = times.get("sigmas", times.get("num_inference_steps"))
    return flow(shift).grid(n, spacing, shift_terminal=options.get("shift_terminal"))


@pytest.mark.parametrize("name", GRIDS)
def test_grids_are_those_of_diffusers(name):
    case = GRIDS[name]
    grid, sigmas = ours(case), np.array(case["sigmas"])
    assert grid.sigmas[0] == np.inf and grid.times[0] == 1.0 and grid.sigmas[-1] == 0.0
    if case["class"] == "Heun":  # which lists the inner levels twice
        sigmas = np.append(sigmas[0], sigmas[1::2])
    np.testing.assert_allclose(flow_times(grid), sigmas, rtol=0, atol=1e-14)
    timesteps = np.unique(case["timesteps"])[::-1]
    np.testing.assert_allclose(1000 * flow_times(grid)[:-1], timesteps, rtol=0, atol=1e-11)


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0])
def test_the_shifted_clock(shift):
    process, u = flow(shift), np.linspace(0, 0.99, 12)
    t = shift * u / (1 + (shift - 1) * u)
    np.testing.assert_allclose(process.scale(u), 1 - t, rtol=1e-13)
    np.testing.assert_allclose(process.sigma(u), t / (1 - t), rtol=1e-13)
    np.testing.assert_allclose(process.variance(u), t**2, rtol=1e-13)
    np.testing.assert_allclose(process.time(process.sigma(u)), u, rtol=1e-13)
    assert process.sigma(1.0) == np.inf and process.scale(1.0) == 0.0 == process.time(0.0)
    assert process.time(np.inf) == 1.0 and process.prior_std == 1.0
    alpha, std = process.marginal(u)
    np.testing.assert_allclose(alpha + std, 1.0, rtol=1e-13)
    f, g = process.rates(u[1:])  # of the flow in t, by the chain rule
    rate = shift / (1 + (shift - 1) * u[1:]) ** 2
    np.testing.assert_allclose(f, -rate / (1 - t[1:]), rtol=1e-10)
    np.testing.assert_allclose(g**2, 2 * rate * t[1:] / (1 - t[1:]), rtol=1e-10)


def test_the_shift_travels_through_jit():
    at = jax.jit(lambda process: process.sigma(0.25))
    assert at(flow(3.0)) == 1.0
    np.testing.assert_allclose(at(flow()), 1 / 3, rtol=1e-6)
    slope = jax.grad(lambda shift: flow(shift).sigma(0.25))(3.0)
    np.testing.assert_allclose(slope, 1 / 3, rtol=1e-6)


def test_the_network_is_given_the_flows_time():
    """Not the time that the process counts: SD3's network knows t, whatever the shift."""
    den = ej.denoisers.flow(lambda x, t: x)
    t = den.coefficients(flow(3.0).sigma(0.5))[3]
    np.testing.assert_allclose(t, 0.75, rtol=1e-12)


def test_the_first_time():
    grid = flow(3.0).grid(4, first=0.9999)
    np.testing.assert_array_equal(grid.times, [0.9999, 0.75, 0.5, 0.25, 0.0])
    made = ej.schedules.from_name("simple", package="comfyui", flow=True)
    named = made(4, shift=3.0, first=0.9999)
    np.testing.assert_allclose(named.sigmas, grid.sigmas, rtol=1e-10)
    assert ej.make_plan(ej.samplers.dpmpp_sde(), grid).num_draws == 6


@pytest.mark.parametrize(
    "bad, error, message",
    [
        (lambda: flow(0.0), ValueError, "`shift` must be one positive number, got 0.0"),
        (lambda: flow(3.0).grid(0), ValueError, "`n`"),
        (lambda: flow(3.0).grid(2.0), TypeError, "`n`"),
        (lambda: flow(3.0).grid(4, "leading"), ValueError, "must be 'trailing' or 'linspace'"),
        (lambda: flow().grid(1, shift_terminal=0.1), ValueError, "one step starts at it"),
        (lambda: flow().grid(4, shift_terminal=1.0), ValueError, "`shift_terminal` must be"),
        (lambda: flow().grid(4, first=0.7), ValueError, r"`first` must be in \(0.75, 1\]"),
        (lambda: jax.jit(lambda s: flow(s).grid(4).sigmas)(3.0), ValueError, "must be a number"),
    ],
)
def test_what_is_wrong_is_said(bad, error, message):
    with pytest.raises(error, match=message):
        bad()
