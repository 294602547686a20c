"""Measured orders, as shipped and formal (from exact starting values), and slopes of weights."""

import functools
import itertools

import jax
import numpy as np
from helpers import gaussian, mixture, uniform

import edmjax as ej
from edmjax.combination import Combination
from edmjax.step import Evaluation, Step

STEPS = (320, 160, 80, 40)
FLOOR = 1e-11  # errors below are those of the reference and of rounding


def runge_kutta_4(x, at):
    """The classical Runge-Kutta method in `lambda = -log sigma`, where dx/dlambda = D - x."""
    h = np.log(at.sigma / at.sigma_next)
    middle = np.sqrt(at.sigma * at.sigma_next)
    k_1 = at.denoise(x, at.sigma) - x
    x_2 = x + h / 2 * k_1
    k_2 = at.denoise(x_2, middle) - x_2
    x_3 = x + h / 2 * k_2
    k_3 = at.denoise(x_3, middle) - x_3
    x_4 = x + h * k_3
    k_4 = at.denoise(x_4, at.sigma_next) - x_4
    return x + h / 6 * (k_1 + 2 * k_2 + 2 * k_3 + k_4)


def start(shape=(64, 2)):
    return 5 * np.random.default_rng(0).normal(size=shape)


def flow(problem, x, high=5.0, low=0.5, steps=3000):
    """The probability flow from one level to another, to about 1e-13."""
    return ej.sample(problem, ej.make_plan(runge_kutta_4, uniform(steps, high, low)), x)


@functools.cache
def mixture_flow():
    return np.asarray(flow(mixture(), start()))


def slope(error, steps):
    """Between the two finest grids whose error is above the floor: `error(n)` of n steps."""
    errors = ((n, error(n)) for n in sorted(steps, reverse=True))
    (n_fine, fine), (n, coarse) = itertools.islice(
        ((n, value) for n, value in errors if value > FLOOR), 2
    )
    return np.log(coarse / fine) / np.log(n_fine / n)


def as_shipped(sampler, steps=STEPS):
    """Slopes on the mixture and on the Gaussian."""
    x = start()

    def error(n, problem, reference):
        got = ej.sample(problem, ej.make_plan(sampler, uniform(n)), x)
        return np.sqrt(np.mean((got - reference) ** 2))

    return [
        slope(functools.partial(error, problem=problem, reference=reference), steps)
        for problem, reference in (
            (mixture(), mixture_flow()),
            (gaussian(), gaussian().flow(x, 5.0, 0.5)),
        )
    ]


def formal(sampler, history):
    """The slope on the mixture where the first `history` outputs come from the exact solution."""
    problem, x = mixture(), start()
    denoise, reference = jax.jit(problem.denoise), mixture_flow()

    def error(n):
        levels, points = uniform(n), [x]
        for a, b in itertools.pairwise(levels[: history + 1]):
            points.append(np.asarray(flow(problem, points[-1], a, b, 20)))
        return np.sqrt(np.mean((eager(sampler, denoise, points, levels) - reference) ** 2))

    return slope(error, STEPS)


def eager(sampler, denoise, points, levels):
    """Runs a sampler on numbers, step by step, from the last of `points`, the others its past.

    An independent reading of what a step is: nothing of the plan or its loop is used.
    """
    vectors, past, memory = {}, [], {}

    def value(combination):
        return sum(weight * vectors[name] for name, weight in combination.weights.items())

    def evaluate(x, sigma):
        k, point = len(vectors), value(x)
        vectors[("y", k)] = point
        vectors[("d", k)] = np.asarray(denoise(point, sigma))
        x.weights = {("y", k): 1.0}
        denoised = Combination({("d", k): 1.0})
        made.append(Evaluation(sigma, Combination(x.weights), denoised, denoised))
        return Combination(denoised.weights)

    def refuse(*_):
        raise NotImplementedError("orders are those of deterministic samplers")

    for index, sigma in enumerate(levels[: len(points)]):
        made, vectors["x", index] = [], points[index]
        x = Combination({("x", index): 1.0})
        if index < len(points) - 1:
            evaluate(x, float(sigma))
            past.insert(0, made[0])
    levels = tuple(map(float, levels))
    for index in range(len(points) - 1, len(levels) - 1):
        made = []
        at = Step(
            sigma=levels[index],
            sigma_next=levels[index + 1],
            index=index,
            levels=levels,
            last=levels[index + 1] == 0,
            time=None,
            time_next=None,
            past=past,
            memory=memory,
            denoise=evaluate,
            noise=refuse,
            forget=refuse,
        )
        x = sampler(x, at)
        past.insert(0, made[0])
    return value(x)


def check_slopes_of_weights(make, values):
    """What `jax.grad` makes of all weights and levels of `make(values)` against differences."""
    values = np.asarray(values, float)
    like = make([*values])
    factors = [np.random.default_rng(7).normal(size=leaf.shape) for leaf in tables(like)]

    def total(values):
        leaves = tables(make([*values]))
        return sum((c * leaf).sum() for c, leaf in zip(factors, leaves, strict=True))

    gradient = jax.grad(total)(jax.numpy.asarray(values))
    for i, value in enumerate(values):
        step = 1e-5 * value
        bump = step * (np.arange(len(values)) == i)
        difference = (total(values + bump) - total(values - bump)) / (2 * step)
        np.testing.assert_allclose(gradient[i], difference, rtol=1e-6, atol=1e-7)


def tables(plan):
    return [plan.y, plan.d, plan.z, plan.sigmas]
