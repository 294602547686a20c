"""Methods in the time of a flow: `y = (1 - t) x0 + t n`, with `D` the denoised output there."""

import itertools

import numpy as np


def times(levels):
    return np.asarray(levels) / (1 + np.asarray(levels))


def in_time(denoise, x, levels, method, *options):
    """`method(denoise, y, t, *options)` in the flow's frame, between points of sigma's."""

    def shown(y, t):
        return denoise(y / (1 - t), t / (1 - t))

    t = times(levels)
    return method(shown, x * (1 - t[0]), t, *options) / (1 - t[-1])


def flow_ancestral(denoise, x, levels, noise, step, eta=1.0, s_noise=1.0):
    """ComfyUI's ancestral step of rectified flows ("RF"), with any step in sigma."""
    draws = iter(noise)
    for a, b in itertools.pairwise(levels):
        t, t_next = times([a, b])
        down = t_next * (1 + (t_next / t - 1) * eta)
        level = down / (1 - down)
        x = step(denoise, x, a, level)
        if t_next > 0 and eta > 0:
            # In the flow: (1 - t_next) / (1 - down) y + sqrt(...) noise.
            kept = (1 - t_next) / (1 - down)
            y = kept * x / (1 + level)
            y = y + s_noise * np.sqrt(t_next**2 - down**2 * kept**2) * next(draws)
            x = y / (1 - t_next)
    return x


def lcm(denoise, x, levels, noise, s_noise=1.0):
    """Luo et al. (2023), Algorithm 3, in sigma: each denoised output with new noise."""
    draws = iter(noise)
    for a, b in itertools.pairwise(levels):
        x = denoise(x, a)
        x = x + s_noise * b * next(draws) if b > 0 else x
    return x
