"""UniPC (Zhao et al. 2023), predict, evaluate, correct: the corrected point is kept as a point."""

import math

import numpy as np


def step(x, t, outputs, levels, variant, predict):
    """UniP (Algorithm 2) and, with an output at `t` itself, UniC (Algorithm 1), at alpha = 1, on
    eps or on x0; a single coefficient is 1/2.

    `outputs` and `levels` begin with those of the start of the step. Linear equations by LAPACK.
    """
    s_0, (m_0, *rest) = levels[0], outputs
    h = np.log(s_0 / t)
    z = h if predict == "eps" else -h
    b_of_h = z if variant == "bh1" else np.expm1(z)
    r = np.array([np.log(s_0 / level) / h for level in levels[1:]])
    g, value = [], np.expm1(z)  # g_n = z phi_(n+1)(z) n!
    for n in range(1, len(r) + 1):
        value = value / z - 1 / math.factorial(n)
        g.append(value * math.factorial(n))
    if len(r) == 1:
        coefficients = [0.5]
    else:
        coefficients = np.linalg.solve(np.vander(r, increasing=True).T, np.array(g) / b_of_h)
    total = sum(c * (m - m_0) / k for c, m, k in zip(coefficients, rest, r, strict=True))
    if predict == "eps":
        return x - t * np.expm1(z) * m_0 - t * b_of_h * total
    return t / s_0 * x - np.expm1(z) * m_0 - b_of_h * total


def unipc(denoise, x, t, order, variant="bh2", lower=True, predict="x0", uncorrected=()):
    """Algorithms 1 and 2: predict, evaluate at the predicted point, correct, go on from there."""

    def evaluate(x, level):
        denoised = denoise(x, level)
        return denoised if predict == "x0" else (x - denoised) / level

    outputs, n, predicted = [evaluate(x, t[0])], len(t) - 1, x
    for i in range(1, n + 1):
        if t[i] == 0:
            return outputs[-1] if predict == "x0" else predicted - t[i - 1] * outputs[-1]
        used = min(order, i, n + 1 - i) if lower else min(order, i)
        behind, history = t[i - used : i][::-1], outputs[-used:][::-1]
        predicted = step(x, t[i], history, behind, variant, predict)
        if i == n:
            return predicted
        outputs.append(evaluate(predicted, t[i]))
        if i - 1 in uncorrected:
            x = predicted
        else:
            history, behind = [*history, outputs[-1]], [*behind, t[i]]
            x = step(x, t[i], history, behind, variant, predict)
