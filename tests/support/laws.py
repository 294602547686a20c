"""What the tests of samplers share: exact laws on a Gaussian, equal plans, slopes of weights.

A plan around the denoiser of N(m, s^2), which is affine, is a recursion of means and variances: no
sample is needed to know the law of what it makes.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

import edmjax as ej
from support import orders
from support.cases import MIXTURE, uniform

VARIANCES = (0.04, 0.09, 0.25, 1.0)


def run(problem, plan, x):
    """A plan without draws, in NumPy around a problem of `edmjax`: no compilation a plan."""
    denoise = jax.jit(problem.denoise)
    return orders.run(lambda x, sigma: np.asarray(denoise(x, sigma)), plan, x)


def recursion(plan, mean, variance, sigma0, start=0.0):
    """Mean and variance of what the plan makes of N(start, sigma0^2) with the data N(m, s^2).

    The sample is an affine function of the start and of the draws: each point is held as its
    coefficients on (1, start, draw 0, draw 1, ...). `variance` and `sigma0` may be arrays of one
    shape, and so are the results.
    """
    variance, sigma0 = np.broadcast_arrays(np.asarray(variance, float), sigma0)
    first = np.zeros((*variance.shape, 2 + plan.num_draws))
    first[..., 0], first[..., 1] = start, sigma0
    points, outputs = [first], []
    d = plan.d if plan.r is None else plan.d + plan.r  # around a denoiser of one output
    for k in range(plan.nfe + 1):
        new = np.zeros_like(first)
        for weights, vectors in ((plan.y, points), (d, outputs)):
            for j in np.flatnonzero(weights[k]):
                new += weights[k, j] * vectors[-1 - j]
        for weight, j in zip(plan.z[k], plan.draws[k], strict=True):
            if j >= 0:
                new[..., 2 + j] += weight
        points.append(new)
        if k < plan.nfe:
            a = (variance / (variance + plan.sigmas[k] ** 2))[..., None]
            out = a * new
            out[..., 0] += (1 - a[..., 0]) * mean
            outputs.append(out)
    return points[-1][..., 0], np.sum(points[-1][..., 1:] ** 2, axis=-1)


def weak_order(make, steps=(320, 640)):
    """The slope of |Var_N - Var| between the finest grids, the median over widths of the data.

    From the exact law at sigma 5 to sigma 0.5; `make(n)` is the sampler for n steps.
    """
    widths, errors = np.array(VARIANCES), []
    for n in steps:
        plan = ej.make_plan(make(n), uniform(n))
        _, got = recursion(plan, 0.3, widths, np.sqrt(25 + widths), 0.3)
        errors.append(abs(got - widths - 0.25))
    return np.median(np.log(errors[0] / errors[1])) / math.log(steps[1] / steps[0])


# ---- plans


def same_plan(a, b, rtol=1e-12, atol=1e-13):
    """Whether two plans make the same points of the same outputs and draws, to roundings."""
    width = [max(p.shape[1], q.shape[1]) for p, q in _tables(a, b)]
    return (
        a.nfe == b.nfe
        and np.allclose(a.sigmas, b.sigmas, rtol=1e-13)
        and np.array_equal(_drawn(a), _drawn(b))
        and all(
            np.allclose(_wide(p, w), _wide(q, w), rtol=rtol, atol=atol)
            for (p, q), w in zip(_tables(a, b), width, strict=True)
        )
    )


def same(a, b):
    """Whether two samplers have one plan, to rounding, with and without a step to zero."""
    grids = (ej.schedules.karras(9, 0.01, 20.0), ej.schedules.karras(24), uniform(20))
    return all(same_plan(ej.make_plan(a, grid), ej.make_plan(b, grid)) for grid in grids)


def _tables(a, b):
    none = np.zeros((a.nfe + 1, 1))
    return [
        (none if p is None else p, none if q is None else q)
        for p, q in ((a.y, b.y), (a.d, b.d), (a.z, b.z), (a.r, b.r))
    ]


def _wide(table, width):
    return np.pad(table, ((0, 0), (0, width - table.shape[1])))


def _drawn(plan):
    """Which draws each row uses, without the empty slots."""
    return [(k, int(j)) for k, row in enumerate(plan.draws) for j in row if j >= 0]


def widths(sampler, n):
    plan = ej.make_plan(sampler, ej.schedules.karras(n))
    return plan.y.shape[1], plan.d.shape[1]


# ---- traced levels and options


def check_slopes(make, values):
    """`jax.grad` of all weights and levels of `make(*values)` against central differences."""
    values = np.asarray(values, float)

    def tables(values):
        plan = make(*values)
        return [plan.y, plan.d, plan.z, plan.sigmas]

    rng = np.random.default_rng(7)
    factors = [rng.normal(size=table.shape) for table in tables(values)]

    def total(values):
        return sum((f * table).sum() for f, table in zip(factors, tables(values), strict=True))

    gradient = jax.jit(jax.grad(total))(jnp.asarray(values))
    for i, value in enumerate(values):
        bump = 1e-5 * max(value, 0.1) * (np.arange(len(values)) == i)
        slope = (total(values + bump) - total(values - bump)) / (2 * bump[i])
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


def check_gradient_in_the_levels(sampler):
    """`jax.grad` through the plan and the loop against central differences, every level."""
    x, problem = jnp.asarray(orders.start(5.0, (4, 2), 3)), ej.problems.Mixture(**MIXTURE)

    @jax.jit
    def loss(log_sigmas):
        levels = [*jnp.exp(log_sigmas), 0.0]
        return jnp.sum(jnp.sin(ej.sample(problem, ej.make_plan(sampler, levels), x)) ** 2)

    value = np.log([5.0, 3.0, 1.7, 0.9, 0.4, 0.2])
    gradient = jax.grad(loss)(jnp.asarray(value))
    for i in range(len(value)):
        bump = 1e-5 * (np.arange(len(value)) == i)
        slope = (loss(value + bump) - loss(value - bump)) / 2e-5
        np.testing.assert_allclose(gradient[i], slope, rtol=1e-5, atol=1e-7)


def check_traced_levels(sampler):
    """A plan of traced levels is the plan of the numbers."""
    levels = ej.schedules.karras(9, 0.01, 20.0)[1::2]
    traced = jax.jit(lambda g: ej.make_plan(sampler, g, ends_at_zero=True))(jnp.asarray(levels))
    plan = ej.make_plan(sampler, levels)
    np.testing.assert_allclose(traced.y, plan.y, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(traced.d, plan.d, rtol=1e-9, atol=1e-12)
