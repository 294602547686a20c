"""Gradient estimation: the slope is extrapolated past its newest value."""

import math

from edmjax.planning.point import Combination
from edmjax.planning.step import Sampler, Step
from edmjax.scalar import Scalar, host, is_traced


def gradient_estimation(gamma: Scalar = 2.0) -> Sampler:
    """The sampler of Permenter and Yuan (2024), Algorithm 2, in the frame of sigma.

        d = (x - D(x, sigma)) / sigma
        x_next = x + (sigma_next - sigma) (gamma d + (1 - gamma) d_prev)

    First order, one evaluation a step; Euler on the first step, and the denoiser on the step to
    zero. `gamma = 1` is `euler()`. Even steps in sigma are of second order with `gamma = 3/2`,
    Adams and Bashforth's; the paper's 2 is for few steps.

    Raises:
        ValueError: if `gamma` is infinite or NaN.
    """
    gamma = host(gamma, "gamma")
    if not is_traced(gamma) and not math.isfinite(gamma):
        raise ValueError(f"`gamma` must be finite, got {gamma}.")

    def step(x: Combination, at: Step) -> Combination:
        denoised = at.denoise(x, at.sigma)
        if at.last:
            return denoised
        d = (x - denoised) / at.sigma
        if at.past:
            old = at.past[0]
            d = gamma * d + (1 - gamma) * (old.x - old.denoised) / old.sigma
        return x + (at.sigma_next - at.sigma) * d

    return step
