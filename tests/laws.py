"""What the tests of stochastic samplers share: exact laws on a Gaussian, orders, slopes of weights.

A plan around the denoiser of N(m, s^2), which is affine, is a recursion of means and variances: no
sample is needed to know the law of what it makes.
"""

import itertools
import json
import math
import pathlib

import jax
import numpy as np
from helpers import gaussian, mixture, uniform

import edmjax as ej

GOLDEN = pathlib.Path(__file__).parent / "golden"
VARIANCES = (0.04, 0.09, 0.25, 1.0)


def recursion(plan, mean, variance, sigma0, start=0.0):
    """Mean and variance of what the plan makes of N(start, sigma0^2) with the data N(m, s^2).

    The sample is an affine function of the start and of the draws: each point is held as its
    coefficients on (1, start, draw 0, draw 1, ...).
    """
    points, outputs = [np.zeros(2 + plan.num_draws)], []
    points[0][:2] = start, sigma0
    constant = mean * (np.arange(2 + plan.num_draws) == 0)
    for k in range(plan.nfe + 1):
        new = _mix(plan, k, points, outputs)
        for weight, j in zip(plan.z[k], plan.draws[k], strict=True):
            if j >= 0:
                new[2 + j] += weight
        points.append(new)
        a = variance / (variance + plan.sigmas[min(k, plan.nfe - 1)] ** 2)
        outputs.append(a * new + (1 - a) * constant)
    return points[-1][0], np.sum(points[-1][1:] ** 2)


def _mix(plan, k, points, outputs):
    """Row k of a plan without its draws."""
    new = np.zeros_like(points[0])
    for weights, vectors in ((plan.y, points), (plan.d, outputs)):
        for weight, vector in zip(weights[k], reversed(vectors), strict=False):
            new += weight * vector
    return new


def weak_order(make, steps=(320, 640)):
    """The slope of |Var_N - Var| between the finest grids, the median over widths of the data."""
    slopes, plans = [], [ej.make_plan(make(n), uniform(n)) for n in steps]
    for variance in VARIANCES:
        errors = []
        for plan in plans:
            _, got = recursion(plan, 0.3, variance, math.sqrt(25 + variance), 0.3)
            errors.append(abs(got - variance - 0.25))
        slopes.append(np.log(errors[0] / errors[1]) / np.log(steps[1] / steps[0]))
    return np.median(slopes)


def rk4(x, at):
    """The classical Runge-Kutta method on dx/dlambda = D - x, lambda = -log sigma."""
    h, middle = math.log(at.sigma / at.sigma_next), math.sqrt(at.sigma * at.sigma_next)
    k_1 = at.denoise(x, at.sigma) - x
    x_2 = x + h / 2 * k_1
    k_2 = at.denoise(x_2, middle) - x_2
    x_3 = x + h / 2 * k_2
    k_3 = at.denoise(x_3, middle) - x_3
    x_4 = x + h * k_3
    return x + h / 6 * (k_1 + 2 * k_2 + 2 * k_3 + (at.denoise(x_4, at.sigma_next) - x_4))


def started(inner, history):
    """`inner` from the exact solution's outputs: its first `history` steps are taken finely."""

    def step(x, at):
        if at.index >= history:
            return inner(x, at)
        levels = np.geomspace(at.sigma, at.sigma_next, 11).tolist()
        for sigma, sigma_next in itertools.pairwise(levels):
            x = rk4(x, at._replace(sigma=sigma, sigma_next=sigma_next))
        return x

    return step


def run(problem, plan, x):
    """The plan's rows as they stand, in NumPy: plans of many lengths without a compilation each."""
    denoise = jax.jit(problem.denoise)
    points, outputs = [x], []
    for k in range(plan.nfe):
        points.append(_mix(plan, k, points, outputs))
        outputs.append(np.asarray(denoise(points[-1], plan.sigmas[k])))
    return _mix(plan, plan.nfe, points, outputs)


def flow_orders(sampler):
    """The slope between 160 and 320 steps on the mixture and on the Gaussian."""
    x = 5 * np.random.default_rng(0).normal(size=(32, 2))
    fine = run(mixture(), ej.make_plan(rk4, uniform(1000)), x)  # to 1e-11
    slopes = []
    for problem, reference in ((mixture(), fine), (gaussian(), gaussian().flow(x, 5.0, 0.5))):
        runs = [run(problem, ej.make_plan(sampler, uniform(n)), x) for n in (160, 320)]
        coarse, finest = (np.sqrt(np.mean((run - reference) ** 2)) for run in runs)
        assert finest > 1e-11
        slopes.append(np.log2(coarse / finest))
    return slopes


def check_order(sampler, order):
    """On a mixture as claimed; on a linear flow it may be steeper, not flatter."""
    on_mixture, on_gaussian = flow_orders(sampler)
    assert abs(on_mixture - order) < 0.15
    assert on_gaussian > order - 0.15


def check_slopes(make, values):
    """`jax.grad` of all weights and levels of `make(*values)` against central differences."""
    values = np.asarray(values, float)

    def tables(plan):
        return [plan.y, plan.d, plan.z, plan.sigmas]

    rng = np.random.default_rng(7)
    factors = [rng.normal(size=table.shape) for table in tables(jax.jit(make)(*values))]

    def total(values):
        terms = zip(factors, tables(make(*values)), strict=True)
        return sum((factor * table).sum() for factor, table in terms)

    function = jax.jit(total)
    gradient = jax.jit(jax.grad(total))(values)
    for i, value in enumerate(values):
        bump = 1e-5 * max(value, 0.1) * (np.arange(len(values)) == i)
        slope = (function(values + bump) - function(values - bump)) / (2 * bump[i])
        np.testing.assert_allclose(gradient[i], slope, rtol=1e-6, atol=1e-7)


def finite_slopes(make, *values):
    """Whether the gradient of every weight is finite there, as at the ends of a range."""

    def tables(values):
        plan = make(*values)
        return plan.y, plan.d, plan.z

    gradients = jax.jacfwd(tables)
    return all(
        np.isfinite(leaf).all()
        for leaf in jax.tree.leaves(jax.jit(gradients)(np.asarray(values, float)))
    )


def same_plan(a, b, atol=1e-14):
    """Whether two plans make the same points of the same outputs and draws, to roundings."""
    width = [max(p, q) for p, q in ((x.shape[1], y.shape[1]) for x, y in _tables(a, b))]
    return (
        np.allclose(a.sigmas, b.sigmas, rtol=1e-13)
        and np.array_equal(a.draws, b.draws)
        and all(
            np.allclose(_wide(x, w), _wide(y, w), rtol=1e-13, atol=atol)
            for (x, y), w in zip(_tables(a, b), width, strict=True)
        )
    )


def _tables(a, b):
    return [(a.y, b.y), (a.d, b.d), (a.z, b.z)]


def _wide(table, width):
    return np.pad(table, ((0, 0), (0, width - table.shape[1])))


def golden(name):
    return json.loads((GOLDEN / name).read_text())


def golden_problem():
    """The mixture of the golden numbers, its noise and its bank of draws."""
    stored = golden("problem.json")
    problem = ej.problems.Mixture(stored["weights"], stored["means"], stored["std"] ** 2)
    return problem, np.array(stored["noise"]), np.array(stored["bank"])
