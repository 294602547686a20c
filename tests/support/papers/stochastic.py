"""Reverse stochastic differential equations of first order, in the papers' own frames."""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from support.papers.single_step import slope


def ddim(denoise, x, t, noise, eta):
    """Song et al. (2021, DDIM), eq. 12 and 16, on alpha_bar = 1 / (1 + sigma^2)."""
    y, draws = x / np.sqrt(1 + t[0] ** 2), iter(noise)
    for a, b in itertools.pairwise(t):
        ab, ab_next = 1 / (1 + a**2), 1 / (1 + b**2)
        eps = slope(denoise, y / np.sqrt(ab), a)
        spread = eta * np.sqrt((1 - ab_next) / (1 - ab) * (1 - ab / ab_next))
        x0 = (y - np.sqrt(1 - ab) * eps) / np.sqrt(ab)
        y = np.sqrt(ab_next) * x0 + np.sqrt(max(1 - ab_next - spread**2, 0.0)) * eps
        if spread > 0:
            y = y + spread * next(draws)
    return y * np.sqrt(1 + t[-1] ** 2)


def ddim_raw(denoise, x, t, noise, eta):
    """The same with the x0 of one output and the eps of another, as Algorithm 2 of Chung et al.
    (2024, CFG++) has it for eta = 0."""
    y, draws = x / np.sqrt(1 + t[0] ** 2), iter(noise)
    for a, b in itertools.pairwise(t):
        ab, ab_next = 1 / (1 + a**2), 1 / (1 + b**2)
        x0, raw = denoise(y / np.sqrt(ab), a)
        eps = (y - np.sqrt(ab) * raw) / np.sqrt(1 - ab)
        spread = eta * np.sqrt((1 - ab_next) / (1 - ab) * (1 - ab / ab_next))
        y = np.sqrt(ab_next) * x0 + np.sqrt(max(1 - ab_next - spread**2, 0.0)) * eps
        if spread > 0:
            y = y + spread * next(draws)
    return y * np.sqrt(1 + t[-1] ** 2)


def ddpm(denoise, x, t, noise):
    """Ho et al. (2020), eq. 6 and 7: the posterior's mean and variance, at alpha_bar of sigma."""
    y, draws = x / np.sqrt(1 + t[0] ** 2), iter(noise)
    for a, b in itertools.pairwise(t):
        ab, ab_next = 1 / (1 + a**2), 1 / (1 + b**2)
        alpha = ab / ab_next
        x0 = denoise(y / np.sqrt(ab), a)
        mean = np.sqrt(ab_next) * (1 - alpha) / (1 - ab) * x0
        mean = mean + np.sqrt(alpha) * (1 - ab_next) / (1 - ab) * y
        variance = (1 - ab_next) / (1 - ab) * (1 - alpha)
        y = mean + np.sqrt(variance) * next(draws) if b > 0 else mean
    return y * np.sqrt(1 + t[-1] ** 2)


class Own(NamedTuple):
    """A process by hand, `dx = f(t) x dt + g(t) dW`, with the time of a level and the scale."""

    time: Callable
    scale: Callable
    f: Callable
    g: Callable


# Karras et al. (2022), Table 1; Song et al. (2021), eq. 11; the sigma^t of Song's tutorial; and
# Nichol and Dhariwal (2021), eq. 17 without its offset.
EDM = Own(lambda sigma: sigma, lambda t: 1.0, lambda t: 0.0, lambda t: np.sqrt(2 * t))
VP = Own(
    lambda sigma: (np.sqrt(0.1**2 + 2 * 19.9 * np.log1p(sigma**2)) - 0.1) / 19.9,
    lambda t: np.exp(-(0.1 * t + 19.9 * t**2 / 2) / 2),
    lambda t: -(0.1 + 19.9 * t) / 2,
    lambda t: np.sqrt(0.1 + 19.9 * t),
)
SONG_VE = Own(
    lambda sigma: np.log1p(2 * np.log(25.0) * sigma**2) / (2 * np.log(25.0)),
    lambda t: 1.0,
    lambda t: 0.0,
    lambda t: 25.0**t,
)
COSINE = Own(
    lambda sigma: 2 / np.pi * np.arctan(sigma),
    lambda t: np.cos(np.pi / 2 * t),
    lambda t: -np.pi / 2 * np.tan(np.pi / 2 * t),
    lambda t: np.sqrt(np.pi * np.tan(np.pi / 2 * t)),
)


def euler_maruyama(denoise, x, t, noise, lam=1.0, final="denoise", process=EDM):
    """Euler-Maruyama on the reverse SDE (Song et al. 2021, eq. 6), in the process's time and scale.

    With lam^2 times the noise (Karras et al. 2022, eq. 6). No noise in a last step that is a mean.
    """
    draws, y = iter(noise), x * process.scale(process.time(t[0]))
    for i, (a, b) in enumerate(itertools.pairwise(t)):
        time, time_next = process.time(a), process.time(b)
        s, s_next = process.scale(time), process.scale(time_next)
        denoised = denoise(y / s, a)
        if b == 0 and final == "denoise":
            return denoised
        score, h = (s * denoised - y) / (s * a) ** 2, time_next - time
        f, g = process.f(time), process.g(time)
        y = y + (f * y - (1 + lam**2) / 2 * g**2 * score) * h
        if lam > 0 and not (final == "mean" and i == len(t) - 2):
            y = y + lam * g * np.sqrt(-h) * next(draws)
    return y / s_next


def dpmpp_sde(denoise, x, t, noise, eta=1.0, s_noise=1.0, r=0.5, kind="brownian"):
    """DPM-Solver++(2S) with noise: two ancestral steps of Euler's from the same point.

    The second goes on with the mean slope of Lu et al. (2022, DPM-Solver++), Algorithm 1. Noises
    are those of one Brownian path in sigma, or apart.
    """
    draws = iter(noise)

    def ancestral(denoised, a, b, z):
        up = eta * np.sqrt(b**2 * (a**2 - b**2) / a**2)
        down = np.sqrt(b**2 - up**2)
        return x + (down - a) * (x - denoised) / a + s_noise * up * z

    for a, b in itertools.pairwise(t):
        here = denoise(x, a)
        if b == 0:
            return here
        m = a ** (1 - r) * b**r
        one, two = (next(draws), next(draws)) if eta * s_noise else (0.0, 0.0)
        if kind == "brownian":
            two = (np.sqrt(a - m) * one + np.sqrt(m - b) * two) / np.sqrt(a - b)
        inner = denoise(ancestral(here, a, m, one), m)
        x = ancestral((1 - 1 / (2 * r)) * here + 1 / (2 * r) * inner, a, b, two)
    return x


def er_sde(denoise, x, t, noise, order, phi, s_noise=1.0):
    """Cui et al. (2023), the variance-exploding solvers of orders 1 to 3, with their integrals."""
    from scipy.integrate import quad

    def integral(f, low, high):
        return quad(f, low, high, epsabs=0, epsrel=1e-13, limit=200)[0]

    draws, out, slopes = iter(noise), [], []
    for i, (a, b) in enumerate(itertools.pairwise(t)):
        out.append(denoise(x, a))
        if b == 0:
            return out[-1]
        r = phi(b) / phi(a)
        x = r * x + (1 - r) * out[-1]
        slopes.append((out[-1] - out[-2]) / (a - t[i - 1]) if i else None)
        if order > 1 and i > 0:
            x = x + (b - a + phi(b) * integral(lambda u: 1 / phi(u), b, a)) * slopes[-1]
        if order > 2 and i > 1:
            second = (slopes[-1] - slopes[-2]) / ((a - t[i - 2]) / 2)
            moment = integral(lambda u, a=a: (u - a) / phi(u), b, a)
            x = x + ((b - a) ** 2 / 2 + phi(b) * moment) * second
        spread = np.sqrt(max(b**2 - a**2 * r**2, 0.0))
        if s_noise and abs(phi(b) / b - phi(a) / a) > 0:
            x = x + s_noise * spread * next(draws)
    return x
