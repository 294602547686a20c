"""Methods that extrapolate the slope `eps = (x - D) / sigma`: Adams-Bashforth, DEIS, PNDM."""

import itertools

import numpy as np
from numpy.polynomial import Polynomial

from support.papers.single_step import slope

POINTS, GAUSS = np.polynomial.legendre.leggauss(60)
# Liu et al. (2022, PNDM), eq. 12, and the lower orders: slopes newest first, and the divisor.
EQUAL_STEPS = [([1], 1), ([3, -1], 2), ([23, -16, 5], 12), ([55, -59, 37, -9], 24)]


def adams_bashforth(denoise, x, t, order, final="multistep"):
    """Hairer, Norsett and Wanner (1993), Section III.5: the interpolation polynomial, integrated.

    NumPy's polynomials in the power basis: nothing in common with the weights of the package.
    """
    slopes = []
    for i, (a, b) in enumerate(itertools.pairwise(t)):
        slopes.append(slope(denoise, x, a))
        if b == 0 and final == "denoise":
            return x - a * slopes[-1]
        behind = range(max(0, i - order + 1), i + 1)
        for j in behind:
            lagrange = Polynomial([1.0])
            for k in behind:
                if k != j:  # around a, so that powers stay small
                    lagrange *= Polynomial([a - t[k], 1.0]) / (t[j] - t[k])
            x = x + lagrange.integ()(b - a) * slopes[j]
    return x


def ipndm(denoise, x, t, order, final="multistep"):
    """Liu et al. (2022), eq. 12, and its lower orders while the history fills."""
    slopes = []
    for a, b in itertools.pairwise(t):
        slopes.insert(0, slope(denoise, x, a))
        if b == 0 and final == "denoise":
            return x - a * slopes[0]
        weights, divisor = EQUAL_STEPS[min(order, len(slopes)) - 1]
        total = sum(w * d for w, d in zip(weights, slopes, strict=False))
        x = x + (b - a) * total / divisor
    return x


def ipndm_v(denoise, x, t):
    """Zhou et al. (2024), order 3 written out: with h, h_1, h_2 the steps, newest first, and

        c = (1 - h / (3 (h + h_1))) h (h + h_1) / (2 h_1 (h_1 + h_2))

    the slopes weigh 1 + h / (2 h_1) + c, -h / (2 h_1) - (1 + h_1 / h_2) c and c h_1 / h_2.
    """
    slopes = []
    for i, (a, b) in enumerate(itertools.pairwise(t)):
        slopes.insert(0, slope(denoise, x, a))
        h, h_1, h_2 = (t[i + 1 - k] - t[i - k] if i >= k else np.nan for k in range(3))
        c = (1 - h / (3 * (h + h_1))) * h * (h + h_1) / (2 * h_1 * (h_1 + h_2))
        weights = [
            [1.0],
            [1 + h / (2 * h_1), -h / (2 * h_1)],
            [1 + h / (2 * h_1) + c, -h / (2 * h_1) - (1 + h_1 / h_2) * c, c * h_1 / h_2],
        ][min(i, 2)]
        if b == 0:
            return denoise(x, a)
        x = x + h * sum(w * d for w, d in zip(weights, slopes, strict=False))
    return x


def deis(denoise, x, t, order, kind, lower_order_final=True):
    """Zhang and Chen (2023), eq. 14 and 15 at scale 1: integrals by Gauss-Legendre quadrature in
    log sigma, where the integrand is smooth. First order into 0."""
    variable = {"tab": np.log, "rho_ab": lambda sigma: sigma}[kind]
    slopes, n = [], len(t) - 1
    for i, (a, b) in enumerate(itertools.pairwise(t)):
        slopes.append(slope(denoise, x, a))
        if b == 0:
            return x - a * slopes[-1]
        used = min(order, n - i) if lower_order_final and n < 15 else order
        middle, half = np.log(a * b) / 2, np.log(b / a) / 2
        sigma = np.exp(middle + half * POINTS)
        behind = range(max(0, i - used + 1), i + 1)
        for j in behind:
            lagrange = np.ones_like(sigma)
            for k in behind:
                if k != j:
                    lagrange *= variable(sigma) - variable(t[k])
                    lagrange /= variable(t[j]) - variable(t[k])
            x = x + np.sum(half * GAUSS * sigma * lagrange) * slopes[j]
    return x


def pndm(denoise, x, t, runge_kutta=True, middle=None, final="multistep"):
    """Liu et al. (2022), Algorithm 2 in the paper's frame, alpha_bar = 1 / (1 + sigma^2), with the
    transfer of eq. 11 and the gradient parts of eq. 12 and 13; or, without Runge-Kutta steps, an
    improved Euler step and then orders 2, 3 and 4. No start on the step to zero."""
    middle = middle or (lambda a, b: np.sqrt(a * b))

    def transfer(x, eps, a, b):
        ab, ab_next = 1 / (1 + a**2), 1 / (1 + b**2)
        lower = np.sqrt(ab) * (np.sqrt((1 - ab_next) * ab) + np.sqrt((1 - ab) * ab_next))
        return np.sqrt(ab_next / ab) * x - (ab_next - ab) / lower * eps

    def eps(x, a):
        return slope(denoise, x * np.sqrt(1 + a**2), a)

    x, past = x / np.sqrt(1 + t[0] ** 2), []
    for a, b in itertools.pairwise(t):
        past.insert(0, eps(x, a))
        if b == 0 and final == "denoise":
            return (x - np.sqrt(1 - 1 / (1 + a**2)) * past[0]) * np.sqrt(1 + a**2)
        if b > 0 and runge_kutta and len(past) <= 3:  # PRK
            e_1, m = past[0], middle(a, b)
            e_2 = eps(transfer(x, e_1, a, m), m)
            e_3 = eps(transfer(x, e_2, a, m), m)
            e_4 = eps(transfer(x, e_3, a, b), b)
            total = (e_1 + 2 * e_2 + 2 * e_3 + e_4) / 6
        elif b > 0 and len(past) == 1:  # improved Euler
            total = (past[0] + eps(transfer(x, past[0], a, b), b)) / 2
        else:  # PLMS
            weights, divisor = EQUAL_STEPS[min(4, len(past)) - 1]
            total = sum(w * d for w, d in zip(weights, past, strict=False)) / divisor
        x = transfer(x, total, a, b)
    return x * np.sqrt(1 + t[-1] ** 2)


def gradient_estimation(denoise, x, t, gamma):
    """Algorithm 2 of Permenter and Yuan (2024), with the denoiser's eps = (x - D) / sigma."""
    eps = []
    for a, b in itertools.pairwise(t):
        eps.append(slope(denoise, x, a))
        if b == 0:
            return x - a * eps[-1]
        mean = gamma * eps[-1] + (1 - gamma) * eps[-2] if len(eps) > 1 else eps[-1]
        x = x + (b - a) * mean
    return x
