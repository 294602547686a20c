"""Exponential integrators of the reverse SDE in lambda: DPM-Solver++ multistep, SA-Solver, SEEDS.

With `h` the length of a step and strength `eta`,

    x_next = e^(-(1+eta) h) x + (1 + eta) int_0^h e^(-(1+eta) (h-u)) D(u) du
             + sigma_next sqrt(1 - e^(-2 eta h)) noise
"""

import itertools

import numpy as np

from support.papers.exponential import integrals


def weights(h, eta, nodes):
    """Of outputs at `nodes`: the kernel times the Lagrange polynomials, by quadrature."""
    return [(1 + eta) * w for w in integrals(h, nodes, rate=-(1 + eta))]


def dpmpp_multistep_sde(
    denoise, x, t, noise, order, eta=1.0, s_noise=1.0, solver_type="heun", corrected=False
):
    """Lu et al. (2022, DPM-Solver++), Section 5, for any eta: two outputs, or three.

    Of the parabola through three outputs, what is published (without `corrected`) has half of the
    second derivative. "midpoint" takes the line at the middle of the step.
    """
    draws, lams, outputs = iter(noise), [], []
    for a, b in itertools.pairwise(t):
        here, lam = denoise(x, a), -np.log(a)
        if b == 0:
            return here
        lams, outputs = [lam, *lams][:order], [here, *outputs][:order]
        h = np.log(a) - np.log(b)
        decay = np.exp(-(1 + eta) * h)
        x = decay * x
        if len(outputs) == 2 and solver_type == "midpoint":
            d = (outputs[0] - outputs[1]) / (lams[0] - lams[1])
            x = x + (1 - decay) * (here + h / 2 * d)
        else:
            nodes = [old - lam for old in lams]
            x = x + sum(w * d for w, d in zip(weights(h, eta, nodes), outputs, strict=True))
        if len(outputs) == 3 and not corrected:
            first, second = (
                (outputs[j] - outputs[j + 1]) / (lams[j] - lams[j + 1]) for j in (0, 1)
            )
            half = (first - second) / (lams[0] - lams[2])
            # Half of the integral of `half u^2`, by the Lagrange basis on any three nodes.
            u = np.array([0.0, h / 2, h])
            x = x - np.dot(weights(h, eta, u), u**2) * half / 2
        if eta and s_noise:
            x = x + s_noise * b * np.sqrt(-np.expm1(-2 * eta * h)) * next(draws)
    return x


def sa_solver(denoise, x, t, noise, p, c, tau, s_noise=1.0):
    """Xue et al. (2023), Algorithm 1: predict, evaluate, correct with the same noise.

    `tau` is a function of the level at which a step starts.
    """
    lam = [-np.log(level) if level else np.inf for level in t]
    draws, out, predicted = iter(noise), [denoise(x, t[0])], x
    for i, b in enumerate(t[1:]):
        if b == 0:
            return out[0]
        eta, h = tau(t[i]) ** 2, lam[i + 1] - lam[i]
        base = np.exp(-(1 + eta) * h) * x
        if eta and s_noise:
            base = base + s_noise * b * np.sqrt(-np.expm1(-2 * eta * h)) * next(draws)
        back = [old - lam[i] for old in lam[i::-1]]
        used = weights(h, eta, back[: min(p, len(out))])
        predicted = base + sum(w * d for w, d in zip(used, out, strict=False))
        if i == len(t) - 2:
            return predicted
        out = [denoise(predicted, b), *out]
        used = weights(h, eta, [h, *back][: min(c, len(out))])
        x = base + sum(w * d for w, d in zip(used, out, strict=False)) if c else predicted


def seeds(denoise, x, t, noise, fractions, eta=1.0, s_noise=1.0, solver_type="phi_2"):
    """Gonzalez et al. (2023), SEEDS-2 and SEEDS-3 on the denoised output: a joint Gaussian W(c).

    The noise at the fraction c is sigma(c) times an integral of one Brownian motion with variance
    1 - e^(-2 eta c h), so it is formed from increments of e^(eta c h) scaled back.
    """
    draws = iter(noise)
    for a, b in itertools.pairwise(t):
        out = [denoise(x, a)]
        if b == 0:
            return out[0]
        h, martingale, before, noises = np.log(a / b), 0.0, 0.0, []
        for c in [*fractions, 1.0]:
            grown = np.expm1(2 * eta * c * h)
            if s_noise and grown > before:
                martingale = martingale + s_noise * np.sqrt(grown - before) * next(draws)
            before = grown
            noises.append(a * np.exp(-(1 + eta) * c * h) * martingale)

        def base(c, drawn, h=h, x=x, out=out):
            decay = np.exp(-(1 + eta) * c * h)
            return decay * x + (1 - decay) * out[0] + drawn

        def psi(c, h=h):
            decay = (1 + eta) * c * h
            return 1 - (1 - np.exp(-decay)) / decay

        u, newest, c_1 = base(fractions[0], noises[0]), None, fractions[0]
        for j, c in enumerate(fractions):
            if j:
                u = base(c, noises[j]) + c / c_1 * psi(c) * (newest - out[0])
            newest = denoise(u, a * np.exp(-c * h))
        weight = psi(1.0) / fractions[-1]
        if solver_type == "phi_1":
            weight = (1 - np.exp(-(1 + eta) * h)) / (2 * fractions[-1])
        x = base(1.0, noises[-1]) + weight * (newest - out[0])
    return x
