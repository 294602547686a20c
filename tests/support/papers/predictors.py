"""The predictors of Song et al. (2021), on points held as the paper holds them."""

import itertools

import numpy as np


def steps(t, variance_preserving):
    """Of each step `(sigma, sigma_next, r, G, scale)`: the forward step is y = r y_next + G z.

    Variance exploding (eq. 8 and 31): r = 1 and G^2 = sigma_i^2 - sigma_(i-1)^2. Variance
    preserving (eq. 10): r = sqrt(1 - beta_i) and G^2 = beta_i, at alpha_i = 1 / (1 + sigma_i^2).
    """
    for a, b in itertools.pairwise(t):
        beta = 1 - (1 + b**2) / (1 + a**2)
        if variance_preserving:
            yield a, b, np.sqrt(1 - beta), np.sqrt(beta), 1 / np.sqrt(1 + a**2)
        else:
            yield a, b, 1.0, np.sqrt(a**2 - b**2), 1.0


def reverse_diffusion(denoise, x, t, noise, variance_preserving=False, lam=1.0, final="denoise"):
    """Eq. 46: `y - f(y) + G^2 score + G noise` with the forward step `y + f(y) + G noise`.

    With `lam` the score counts (1 + lam^2) / 2 times, and the noise lam times.
    """
    draws, end = iter(noise), 1.0
    y = x / np.sqrt(1 + t[0] ** 2) if variance_preserving else x
    for i, (a, b, r, spread, scale) in enumerate(steps(t, variance_preserving)):
        denoised = denoise(y / scale, a)
        if b == 0 and final == "denoise":
            return denoised
        score = (scale * denoised - y) / (scale * a) ** 2
        y = y - (r - 1) * y + (1 + lam**2) / 2 * spread**2 * score
        if b > 0 and lam > 0 and not (final == "mean" and i == len(t) - 2):
            y = y + lam * spread * next(draws)
        end = scale / r
    return y / end


def ancestral(denoise, x, t, noise, variance_preserving=False, final="denoise"):
    """Eq. 4 where the variance is preserved, and eq. 47 where it explodes."""
    draws, end = iter(noise), 1.0
    y = x / np.sqrt(1 + t[0] ** 2) if variance_preserving else x
    for i, (a, b, r, spread, scale) in enumerate(steps(t, variance_preserving)):
        score = (scale * denoise(y / scale, a) - y) / (scale * a) ** 2
        y = (y + spread**2 * score) / r
        if not variance_preserving:
            spread = np.sqrt(b**2 * (a**2 - b**2) / a**2)
        if b > 0 and not (final == "mean" and i == len(t) - 2):
            y = y + spread * next(draws)
        end = scale / r
    return y / end
