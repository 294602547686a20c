"""Exponential integrators of the flow on the denoised output: RES, DPM-Solver++, and on the noise.

With `lambda = -log sigma` and `h` the length of a step, x_next = e^-h x + int_0^h e^(u-h) D(u) du.
"""

import itertools
import math

import numpy as np

from support.papers.single_step import dpm_2, dpmpp_2s, slope

NODES, WEIGHTS = np.polynomial.legendre.leggauss(30)


def phi(k, z):
    """`int_0^1 e^((1 - s) z) s^(k-1) / (k-1)! ds` by quadrature."""
    u = (NODES + 1) / 2
    return np.sum(WEIGHTS / 2 * np.exp((1 - u) * z) * u ** (k - 1)) / math.factorial(k - 1)


def integrals(h, nodes, rate=-1.0):
    """`int_0^h e^(rate (h - u)) l_j(u) du` of the Lagrange polynomials over `nodes`."""
    u = (NODES + 1) * h / 2
    totals = []
    for j, node in enumerate(nodes):
        others = [other for i, other in enumerate(nodes) if i != j]
        lagrange = np.prod([(u - o) / (node - o) for o in others] or [np.ones_like(u)], axis=0)
        totals.append(h / 2 * np.sum(WEIGHTS * np.exp(rate * (h - u)) * lagrange))
    return totals


# ---- Runge-Kutta


def tableau(denoise, x, t, nodes, a, b):
    """An exponential Runge-Kutta method from its tableau, as printed in the papers.

    Inner point i is `e^(-c_i h) x + h sum_j a_ij(-h) D_j`, the next `e^-h x + h sum_i b_i(-h) D_i`.
    """
    for sigma, sigma_next in itertools.pairwise(t):
        outputs = [denoise(x, sigma)]
        if sigma_next == 0:
            return outputs[0]
        h = np.log(sigma) - np.log(sigma_next)
        for i in range(1, len(nodes)):
            inner = np.exp(-nodes[i] * h) * x
            inner = inner + h * sum(w * d for w, d in zip(a(i, h), outputs, strict=True))
            outputs.append(denoise(inner, np.exp(np.log(sigma) - nodes[i] * h)))
        x = np.exp(-h) * x + h * sum(w * d for w, d in zip(b(h), outputs, strict=True))
    return x


def two_stages(denoise, x, t, c2=0.5):
    """The second-order tableau of Hochbruck and Ostermann (2005) with parameter c2."""
    return tableau(
        denoise,
        x,
        t,
        [0, c2],
        lambda i, h: [c2 * phi(1, -c2 * h)],
        lambda h: [phi(1, -h) - phi(2, -h) / c2, phi(2, -h) / c2],
    )


def three_stages(denoise, x, t, c2=0.5, c3=1.0):
    """The third-order tableau with parameters c2, c3: 2 (gamma c2 + c3) = 3 (gamma c2^2 + c3^2)."""
    gamma = (3 * c3**2 - 2 * c3) / (2 * c2 - 3 * c2**2)
    total = gamma * c2 + c3

    def a(i, h):
        if i == 1:
            return [c2 * phi(1, -c2 * h)]
        a_32 = gamma * c2 * phi(2, -c2 * h) + c3**2 / c2 * phi(2, -c3 * h)
        return [c3 * phi(1, -c3 * h) - a_32, a_32]

    def b(h):
        b_2, b_3 = gamma / total * phi(2, -h), 1 / total * phi(2, -h)
        return [phi(1, -h) - b_2 - b_3, b_2, b_3]

    return tableau(denoise, x, t, [0, c2, c3], a, b)


# ---- multistep


def lowered(n, i, order, lower_order_final, euler_at_final):
    """The order of step i of n, where the end of the grid allows less."""
    if euler_at_final and i == n - 1:
        return 1
    return min(order, n - i) if lower_order_final and n < 15 else order


def dpmpp_multistep(
    denoise,
    x,
    t,
    order,
    solver_type="midpoint",
    lower_order_final=False,
    euler_at_final=False,
    corrected=False,
    start_order=1,
):
    """Lu et al. (2022, DPM-Solver++), Algorithm 2, and the authors' step of three outputs.

    With "heun" and with `corrected` the exact integral of the polynomial through the outputs; else
    "midpoint" takes the line at the middle of the step, and the published third order half of the
    parabola's second derivative.
    """
    lams, outputs, n = [], [], len(t) - 1
    for i, (a, b) in enumerate(itertools.pairwise(t)):
        here, lam = denoise(x, a), -np.log(a)
        if b == 0:
            return here
        lams, outputs = [lam, *lams][:order], [here, *outputs][:order]
        limit = lowered(n, i, order, lower_order_final, euler_at_final)
        used, h = min(limit, len(outputs)), np.log(a) - np.log(b)
        nodes = [old - lam for old in lams[:used]]
        if i == 0 and start_order == 2 and limit > 1:
            x = dpmpp_2s(denoise, x, a, b)
            continue
        if used == 2 and solver_type == "midpoint":
            d = (outputs[0] - outputs[1]) / (lams[0] - lams[1])
            x = b / a * x - np.expm1(-h) * (here + h / 2 * d)
            continue
        x = b / a * x
        for weight, output in zip(integrals(h, nodes), outputs, strict=False):
            x = x + weight * output
        if used == 3 and not corrected:
            # Newton's second divided difference is half of the second derivative.
            first, second = (
                (outputs[j] - outputs[j + 1]) / (lams[j] - lams[j + 1]) for j in (0, 1)
            )
            half = (first - second) / (lams[0] - lams[2])
            x = x - h**3 * phi(3, -h) * half
    return x


def dpm_multistep(denoise, x, t, order, start_order=1):
    """The noise prediction extrapolated: x_next = x - b int_0^h e^(h-u) eps(u) du.

    The line at the middle of the step for two outputs, as DPM-Solver's authors have it, and the
    exact integral of the parabola through three.
    """
    lams, slopes = [], []
    for i, (a, b) in enumerate(itertools.pairwise(t)):
        eps, lam = slope(denoise, x, a), -np.log(a)
        if b == 0:
            return x - a * eps
        lams, slopes = [lam, *lams][:order], [eps, *slopes][:order]
        h = np.log(a) - np.log(b)
        if len(slopes) == 1:
            x = dpm_2(denoise, x, a, b) if start_order == 2 and i == 0 else x + (b - a) * eps
        elif len(slopes) == 2:
            d = (slopes[0] - slopes[1]) / (lams[0] - lams[1])
            x = x - b * np.expm1(h) * (eps + h / 2 * d)
        else:
            weights = integrals(h, [old - lam for old in lams], rate=1.0)
            x = x - b * sum(w * d for w, d in zip(weights, slopes, strict=True))
    return x


def dpmpp_singlestep(denoise, x, t, order, solver_type="midpoint", lower_order_final=True):
    """Lu et al. (2022, DPM-Solver++), Algorithm 1 and the authors' third order, on blocks of the
    grid whose inner points are levels; the k-th step of a block starts again from its start."""
    n, outputs, levels, begin = len(t) - 1, [], [], None
    for i, (a, b) in enumerate(itertools.pairwise(t)):
        if i % order == 0:
            outputs, levels, begin = [], [], x
        here = denoise(x, a)
        if b == 0:
            return here
        outputs.append(here)
        levels.append(a)
        if lower_order_final and i == n - 1 and len(outputs) == order > 1:
            x = b / a * x - np.expm1(np.log(b / a)) * here
            continue
        lam = -np.log(levels)
        h, nodes = -np.log(b) - lam[0], lam - lam[0]
        x = b / levels[0] * begin
        if len(outputs) == 2 and solver_type == "midpoint":
            d = (outputs[1] - outputs[0]) / nodes[1]
            x = x - np.expm1(-h) * (outputs[0] + h / 2 * d)
        elif len(outputs) == 3 and solver_type == "midpoint":  # the line through the ends
            weights = integrals(h, nodes[[0, 2]])
            x = x + weights[0] * outputs[0] + weights[1] * outputs[2]
        else:
            x = x + sum(w * d for w, d in zip(integrals(h, nodes), outputs, strict=True))
    return x
