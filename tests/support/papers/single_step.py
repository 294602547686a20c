"""One-step methods for the flow, and the loops around them: churn, ancestral noise, restart.

A step is `step(denoise, x, a, b)`, from the level `a` to the level `b`, which may be 0.
"""

import itertools

import numpy as np


def slope(denoise, x, t):
    return (x - denoise(x, t)) / t


def euler(denoise, x, a, b):
    """Karras et al. (2022), Algorithm 1 without lines 6 to 8."""
    return x + (b - a) * slope(denoise, x, a)


def heun(denoise, x, a, b):
    """Karras et al. (2022), Algorithm 1."""
    d = slope(denoise, x, a)
    ahead = x + (b - a) * d
    return ahead if b == 0 else x + (b - a) * (d / 2 + slope(denoise, ahead, b) / 2)


def midpoint(denoise, x, a, b, alpha=1 / 2):
    """Karras et al. (2022), Algorithm 3 with sigma(t) = t and s(t) = 1."""
    h, d = b - a, slope(denoise, x, a)
    if b == 0:
        return x + h * d
    d_inner = slope(denoise, x + alpha * h * d, a + alpha * h)
    return x + h * ((1 - 1 / (2 * alpha)) * d + 1 / (2 * alpha) * d_inner)


def dpm_2(denoise, x, a, b):
    """Lu et al. (2022, DPM-Solver), Algorithm 1 with alpha = 1 and r_1 = 1/2."""
    eps = slope(denoise, x, a)
    if b == 0:
        return x - a * eps
    h, middle = np.log(a) - np.log(b), np.exp((np.log(a) + np.log(b)) / 2)
    u = x - middle * np.expm1(h / 2) * eps
    return x - b * np.expm1(h) * slope(denoise, u, middle)


def dpm_3(denoise, x, a, b, r_1=1 / 3, r_2=2 / 3):
    """Lu et al. (2022, DPM-Solver), Algorithm 2 with alpha = 1."""
    eps = slope(denoise, x, a)
    if b == 0:
        return x - a * eps
    h = np.log(a) - np.log(b)
    s_1, s_2 = np.exp(np.log(a) - r_1 * h), np.exp(np.log(a) - r_2 * h)
    u_1 = x - s_1 * np.expm1(r_1 * h) * eps
    d_1 = slope(denoise, u_1, s_1) - eps
    u_2 = x - s_2 * np.expm1(r_2 * h) * eps
    u_2 = u_2 - s_2 * r_2 / r_1 * (np.expm1(r_2 * h) / (r_2 * h) - 1) * d_1
    d_2 = slope(denoise, u_2, s_2) - eps
    return x - b * np.expm1(h) * eps - b / r_2 * (np.expm1(h) / h - 1) * d_2


def dpmpp_2s(denoise, x, a, b, r=0.5):
    """Lu et al. (2022, DPM-Solver++), Algorithm 1 with alpha = 1 and lambda = -log sigma."""
    denoised = denoise(x, a)
    if b == 0:
        return denoised
    lam, lam_next = -np.log(a), -np.log(b)
    h = lam_next - lam
    s = np.exp(-(lam + r * h))
    u = s / a * x - np.expm1(-r * h) * denoised
    d = (1 - 1 / (2 * r)) * denoised + 1 / (2 * r) * denoise(u, s)
    return b / a * x - np.expm1(-h) * d


def flow(denoise, x, t, step):
    """The step, from level to level."""
    for a, b in itertools.pairwise(t):
        x = step(denoise, x, a, b)
    return x


def churn(denoise, x, t, noise, step, s_churn, s_min=0.0, s_max=np.inf, s_noise=1.0):
    """Karras et al. (2022), Algorithm 2, with any step; a draw in each step that is churned."""
    n, draws = len(t) - 1, iter(noise)
    for a, b in itertools.pairwise(t):
        gamma = min(s_churn / n, np.sqrt(2) - 1) if s_min <= a <= s_max else 0
        hat = a + gamma * a
        if gamma > 0:
            x = x + np.sqrt(hat**2 - a**2) * s_noise * next(draws)
        x = step(denoise, x, hat, b)
    return x


def ancestral(denoise, x, t, noise, step, eta=1.0, s_noise=1.0, lowest=0.0):
    """Song et al. (2021, DDIM), eq. 16, with any step: a variance of eta^2 times DDPM's.

    `lowest` is the level under which no step goes, as in DPM-Solver-fast.
    """
    draws = iter(noise)
    for a, b in itertools.pairwise(t):
        up2 = eta**2 * b**2 * (a**2 - b**2) / a**2
        down = max(np.sqrt(b**2 - up2), lowest)
        x = step(denoise, x, a, down)
        if down < b:
            x = x + s_noise * np.sqrt(b**2 - down**2) * next(draws)
    return x


def dpm_fast(denoise, x, t, noise, nfe, eta=0.0, s_noise=1.0):
    """Lu et al. (2022, DPM-Solver), DPM-Solver-fast: steps of order 3, and what is left over."""
    orders = [3] * (nfe // 3 + 1)
    spare = 3 * len(orders) - nfe  # of the last steps: 3, 2 or 1 evaluations fewer
    orders[-1] -= min(spare, 2)
    if spare == 3:
        orders[-2] -= 1
    draws = iter(noise)
    for i, (order, (a, b)) in enumerate(zip(orders, itertools.pairwise(t), strict=True)):
        step = (euler, dpm_2, dpm_3)[order - 1]
        if i == len(orders) - 1:
            return step(denoise, x, a, b)
        before = next(draws) if eta else None
        x = ancestral(denoise, x, [a, b], [before], step, eta, s_noise, t[-1])


def restart(denoise, x, t, noise, step, after, s_noise=1.0):
    """Xu et al. (2023), Algorithm 1: `after` maps the number of a step to its restarts.

    A restart is (t_max, steps, repeats), on Karras' grid from t_max to the level reached.
    """
    draws = iter(noise)
    for i, (a, b) in enumerate(itertools.pairwise(t)):
        x = step(denoise, x, a, b)
        for t_max, steps, repeats in after.get(i, ()):
            roots = np.linspace(t_max ** (1 / 7), b ** (1 / 7), steps + 1)
            levels = [t_max, *roots[1:-1] ** 7, b]
            for _ in range(repeats):
                x = x + s_noise * np.sqrt(t_max**2 - b**2) * next(draws)
                x = flow(denoise, x, levels, step)
    return x


def heunpp2(denoise, x, t):
    """Heun++ 2: means of one, two or three slopes, with weights in units of the first level."""
    n = len(t) - 1
    for i in range(n):
        point, slopes = x, []
        for j in range(i, min(i + 3, n)):
            slopes.append(slope(denoise, point, t[j]))
            point = point + (t[j + 1] - t[j]) * slopes[-1]
        later = [t[j] / (len(slopes) * t[0]) for j in range(i + 1, i + len(slopes))]
        weights = [1 - sum(later), *later]
        x = x + (t[i + 1] - t[i]) * sum(w * d for w, d in zip(weights, slopes, strict=True))
    return x


def restarted(method, denoise, x, t, noise, level, t_max, steps, repeats, s_noise=1.0):
    """Xu et al. (2023), Algorithm 1, with a method that has a history, run over levels.

    It comes down to `t[level]`, starts anew after each noise, and goes on from the last way down.
    """
    b, draws = t[level], iter(noise)
    roots = np.linspace(t_max ** (1 / 7), b ** (1 / 7), steps + 1)
    again = [t_max, *roots[1:-1] ** 7, b]
    x = method(denoise, x, list(t[: level + 1]))
    for left in reversed(range(repeats)):
        x = x + s_noise * np.sqrt(t_max**2 - b**2) * next(draws)
        x = method(denoise, x, again if left else [*again, *t[level + 1 :]])
    return x
