"""Adams methods on the network's own output that are exact for trigonometric functions of theta.

With `theta = arctan(sigma / sigma_data)` the probability flow is `d(x / sqrt(sigma^2 +
sigma_data^2)) = -F dtheta`, as in `edmjax.samplers.f_form`. Data moved by m add `m sin(theta) /
sigma_data` to F, and data that are one point have an F of sines and cosines. So F is interpolated
from those, and not from polynomials as by `f_pc`: the samples move with the data.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from edmjax.combination import Combination
from edmjax.samplers.f_form import _advance
from edmjax.scalar import Scalar, is_traced, log
from edmjax.step import Evaluation, Sampler, Step

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)


def trigonometric(sigma_data: Scalar, corrected: bool = True) -> Sampler:
    """A two-step method on F, exact for sines and cosines of theta; one evaluation a step.

        y_next = y + sum_j b_j F_j,    b_j = int_theta_next^theta l_j dtheta

    with `l_j` from span{sin, cos} over two outputs (span{sin} on the first step). If `corrected`,
    the next step mends this one by its own output, with `l_j` from span{1, sin, cos} over three.
    Third order where corrected, else second. Exact on N(m, sigma_data^2) for any m and on one
    point; the denoiser on the step to zero.

    Trigonometric Adams methods: Gautschi (1961), "Numerical integration of ordinary differential
    equations based on trigonometric polynomials".
    """

    def step(x: Combination, at: Step) -> Combination:
        denoised = at.denoise(x, at.sigma)
        if at.last:
            return denoised
        made = [Evaluation(at.sigma, x, denoised, denoised), *at.past[:2]]
        levels = [old.sigma for old in made]
        total: list[Scalar] = [0.0] * len(made)
        for j, weight in enumerate(_integrals(levels[:2], at.sigma, at.sigma_next, sigma_data)):
            total[j] = total[j] + weight
        if corrected and at.past:
            # An increment on the evaluated point, as in `f_pc`.
            start, end = levels[1], levels[0]
            for j, weight in enumerate(_integrals(levels, start, end, sigma_data)):
                total[j] = total[j] + weight
            for j, weight in enumerate(_integrals(levels[1:], start, end, sigma_data), start=1):
                total[j] = total[j] - weight
        return _advance(x, at, made, total, sigma_data)

    return step


def _integrals(levels: Sequence[Scalar], start: Scalar, end: Scalar, width: Scalar) -> list[Scalar]:
    """`int l_j dtheta` from theta(end) to theta(start), by Gauss-Legendre in log sigma."""
    xp = jnp if is_traced(*levels, start, end, width) else np
    middle, half = log(start * end) / 2, log(start / end) / 2
    sigma = xp.exp(middle + half * _NODES)
    measure = half * _WEIGHTS * width * sigma / (sigma * sigma + width * width)
    theta, nodes = xp.arctan2(sigma, width), [xp.arctan2(level, width) for level in levels]
    # Of an odd number of nodes (Gauss): the products of sines of half the differences.
    share = 1 if len(nodes) == 2 else 1 / 2
    found = []
    for j, node in enumerate(nodes):
        value = measure * xp.sin(theta) / xp.sin(node) if len(nodes) == 1 else measure
        for k, other in enumerate(nodes):
            if k != j:
                value = value * xp.sin(share * (theta - other)) / xp.sin(share * (node - other))
        total = xp.sum(value)
        found.append(total if xp is jnp else float(total))
    return found
