"""Measured orders along the flow: the slope of log-error between the two finest grids.

From 5 to 0.5, uniform in log sigma unless a grid is given, in NumPy float64; errors under `FLOOR`
are those of the reference and of rounding. As shipped is the method as it starts; formal is the
method from exact starting values.
"""

import functools
import itertools
import math
from typing import Any

import numpy as np

import edmjax as ej
from support.cases import GAUSSIAN, MIXTURE, Gaussian, Mixture, uniform

STEPS = (320, 160, 80, 40)
FLOOR = 1e-11
WITHIN = 0.15


def run(denoise, plan, x, noise: Any = None):
    """The plan's rows as they stand, in NumPy: `x` is (batch, d), `noise` (draws, batch, d).

    Where `denoise` returns a pair, it is (denoised, raw); else both are what it returns.
    """
    assert plan.v is None, "learned variances are not for closed forms"
    points, outputs, raws = [np.asarray(x)], [], []
    sums: list[tuple[Any, list]] = [(plan.y, points), (plan.d, outputs)]
    if plan.r is not None:
        sums.append((plan.r, raws))
    for k in range(plan.nfe + 1):
        point = np.zeros_like(points[0])
        for weights, vectors in sums:
            for j in np.flatnonzero(weights[k]):
                point += weights[k, j] * vectors[-1 - j]
        for slot in np.flatnonzero(plan.draws[k] >= 0):
            point += plan.z[k, slot] * noise[plan.draws[k, slot]]
        points.append(point)
        if k < plan.nfe:
            output = denoise(point, plan.sigmas[k])
            outputs.append(output[0] if isinstance(output, tuple) else output)
            raws.append(output[1] if isinstance(output, tuple) else output)
    return points[-1]


def rk4(x, sigma, sigma_next, denoise):
    """The classical Runge-Kutta method in `lambda = -log sigma`, where dx/dlambda = D - x."""
    h, middle = math.log(sigma / sigma_next), math.sqrt(sigma * sigma_next)
    k_1 = denoise(x, sigma) - x
    x_2 = x + h / 2 * k_1
    k_2 = denoise(x_2, middle) - x_2
    x_3 = x + h / 2 * k_2
    k_3 = denoise(x_3, middle) - x_3
    x_4 = x + h * k_3
    return x + h / 6 * (k_1 + 2 * k_2 + 2 * k_3 + (denoise(x_4, sigma_next) - x_4))


def start(scale=5.0, shape=(32, 2), seed=0):
    return scale * np.random.default_rng(seed).normal(size=shape)


@functools.cache
def problems():
    """Name -> (denoise, the exact flow of `start()`): on the mixture by small steps, to 1e-13."""
    mixture, gaussian = Mixture(**MIXTURE), Gaussian(**GAUSSIAN)
    x = start()
    for sigma, sigma_next in itertools.pairwise(uniform(3000).tolist()):
        x = rk4(x, sigma, sigma_next, mixture.denoise)
    return {
        "mixture": (mixture.denoise, x),
        "gaussian": (gaussian.denoise, gaussian.flow(start(), 5.0, 0.5)),
    }


def order_on(problem, plan, steps=STEPS):
    """The slope between the two finest of `steps` whose error is above the floor; of `plan(n)`."""
    denoise, reference = problems()[problem]
    errors = []
    for n in sorted(steps, reverse=True):
        got = run(denoise, plan(n), start())
        error = np.sqrt(np.mean((got - reference) ** 2))
        if error > FLOOR:
            errors.append((n, error))
        if len(errors) == 2:
            (fine, small), (coarse, large) = errors
            return np.log(large / small) / np.log(fine / coarse)
    return np.nan  # no error to measure


def as_shipped(sampler, steps=STEPS, grid=uniform):
    """The slopes on the mixture and on the Gaussian."""
    plan = functools.cache(lambda n: ej.make_plan(sampler, grid(n)))
    return order_on("mixture", plan, steps), order_on("gaussian", plan, steps)


def started(inner, history):
    """`inner` from exact starting values: its first `history` steps are taken finely."""

    def step(x, at):
        if at.index >= history:
            return inner(x, at)
        levels = np.geomspace(at.sigma, at.sigma_next, 11).tolist()
        for sigma, sigma_next in itertools.pairwise(levels):
            x = rk4(x, sigma, sigma_next, at.denoise)
        return x

    return step


def formal(sampler, history, steps=STEPS, grid=uniform):
    """The slopes where the first `history` outputs are those of the exact solution."""
    return as_shipped(started(sampler, history), steps, grid)


def as_claimed(measured, order, highest=None):
    """On the mixture the order; on a Gaussian, whose flow is linear, it may be steeper.

    `highest` is the order that a method still shows on these grids where its start, of low order,
    shows later.
    """
    on_mixture, on_gaussian = measured
    top = order if highest is None else highest
    return order - WITHIN < on_mixture < top + WITHIN and on_gaussian > order - WITHIN


def check_order(sampler, order, history=0, highest=None, steps=STEPS):
    measured = formal(sampler, history, steps)
    assert as_claimed(measured, order, highest), f"claimed {order}, measured {measured}"
