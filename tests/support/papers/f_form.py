"""Methods on `F = (D - c_skip x) / c_out` as they are written: polynomials through the outputs
themselves (SciPy's Krogh interpolation), integrated over theta by adaptive quadrature."""

import itertools

import numpy as np
from scipy.integrate import quad_vec
from scipy.interpolate import KroghInterpolator

POSITIONS = {
    "theta": (lambda s, d: np.arctan(s / d), lambda u, d: d * np.tan(u)),
    "log_sigma": (lambda s, d: np.log(s), lambda u, d: np.exp(u)),
    "sigma^(1/7)": (lambda s, d: s ** (1 / 7), lambda u, d: u**7),
}


def network(denoise, y, s, d):
    """Karras et al. (2022), eq. 7 with the coefficients of Table 1, solved for F."""
    x = y * np.sqrt(s**2 + d**2)
    c_skip, c_out = d**2 / (s**2 + d**2), s * d / np.sqrt(s**2 + d**2)
    return (denoise(x, s) - c_skip * x) / c_out


def change(outputs, levels, a, b, variable, d):
    """`-int F dtheta` from level a to b, of the polynomial through `outputs` at `levels`."""
    position, _ = POSITIONS[variable]
    if len(levels) == 1:
        return -(np.arctan(b / d) - np.arctan(a / d)) * outputs[0]
    polynomial = KroghInterpolator([position(s, d) for s in levels], np.array(outputs))
    integral, _ = quad_vec(
        lambda theta: polynomial(position(d * np.tan(theta), d)),
        np.arctan(b / d),
        np.arctan(a / d),
        epsabs=1e-13,
        epsrel=1e-13,
    )
    return integral


def f_ab(denoise, x, t, order=2, variable="theta", d=0.5):
    """Adams-Bashforth with variable steps (Hairer, Norsett and Wanner 1993, Section III.5)."""
    y, outputs = x / np.sqrt(t[0] ** 2 + d**2), []
    for i, (a, b) in enumerate(itertools.pairwise(t)):
        if b == 0:
            return denoise(y * np.sqrt(a**2 + d**2), a)
        outputs.append(network(denoise, y, a, d))
        kept = slice(max(0, i + 1 - order), i + 1)
        y = y + change(outputs[kept], t[kept], a, b, variable, d)
    return y * np.sqrt(t[-1] ** 2 + d**2)


def f_pc(denoise, x, t, order=2, variable="log_sigma", d=0.5):
    """Predict, evaluate, correct; the corrected point is kept as a point."""
    corrected = predicted = x / np.sqrt(t[0] ** 2 + d**2)
    outputs = []
    for i, (a, b) in enumerate(itertools.pairwise(t)):
        if b == 0:
            return denoise(predicted * np.sqrt(a**2 + d**2), a)
        outputs.append(network(denoise, predicted, a, d))
        if i:  # Adams-Moulton on the step that led here
            kept = slice(max(0, i - order), i + 1)
            step = change(outputs[kept], t[kept], t[i - 1], a, variable, d)
            corrected = corrected + step
        kept = slice(max(0, i + 1 - order), i + 1)
        predicted = corrected + change(outputs[kept], t[kept], a, b, variable, d)
    return predicted * np.sqrt(t[-1] ** 2 + d**2)


BASES = {
    1: lambda theta: np.array([np.sin(theta)]),
    2: lambda theta: np.array([np.sin(theta), np.cos(theta)]),
    3: lambda theta: np.array([np.ones_like(theta), np.sin(theta), np.cos(theta)]),
}


def trigonometric_change(outputs, levels, a, b, d):
    """`-int F dtheta` of the combination of the basis that goes through `outputs`: a system."""
    basis = BASES[len(levels)]
    rows = np.array([basis(np.arctan(s / d)) for s in levels])
    shape = np.shape(outputs[0])
    coefficients = np.linalg.solve(rows, np.reshape(outputs, (len(levels), -1)))
    integral, _ = quad_vec(
        lambda theta: basis(theta), np.arctan(b / d), np.arctan(a / d), epsabs=1e-14, epsrel=1e-13
    )
    return (integral @ coefficients).reshape(shape)


def f_trig(denoise, x, t, corrected=True, d=0.5, above=0.0):
    """Predict by the sine and the cosine, evaluate, correct with the constant too."""
    y = predicted = x / np.sqrt(t[0] ** 2 + d**2)
    outputs = []
    for i, (a, b) in enumerate(itertools.pairwise(t)):
        if b == 0:
            return denoise(predicted * np.sqrt(a**2 + d**2), a)
        outputs.append(network(denoise, predicted, a, d))
        if i and corrected and a >= above * d:
            kept = slice(max(0, i - 2), i + 1)
            y = y + trigonometric_change(outputs[kept], t[kept], t[i - 1], a, d)
        elif i:
            y = predicted
        kept = slice(max(0, i - 1), i + 1)
        predicted = y + trigonometric_change(outputs[kept], t[kept], a, b, d)
    return predicted * np.sqrt(t[-1] ** 2 + d**2)


def f_rk(denoise, x, t, order=2, variable="theta", d=0.5):
    """Kutta's formulas for dy/du, u the variable: the chain rule by a complex step of theta."""
    position, level = POSITIONS[variable]

    def slope(y, u):
        rate = np.arctan(level(u + 1e-30j, d) / d).imag / 1e-30
        return -network(denoise, y, level(u, d), d) * rate

    y = x / np.sqrt(t[0] ** 2 + d**2)
    for a, b in itertools.pairwise(t):
        if b == 0:
            return denoise(y * np.sqrt(a**2 + d**2), a)
        u = position(a, d)
        h = position(b, d) - u
        k1 = slope(y, u)
        k2 = slope(y + h / 2 * k1, u + h / 2)
        if order == 2:
            y = y + h * k2
        elif order == 3:
            k3 = slope(y + 3 * h / 4 * k2, u + 3 * h / 4)
            y = y + h * (2 * k1 + 3 * k2 + 4 * k3) / 9
        else:
            k3 = slope(y + h / 2 * k2, u + h / 2)
            k4 = slope(y + h * k3, u + h)
            y = y + h * (k1 + 2 * k2 + 2 * k3 + k4) / 6
    return y * np.sqrt(t[-1] ** 2 + d**2)


def without_first(algorithm, denoise, x, t, d=0.5):
    """`algorithm` around a denoiser that is the Gaussian's at the first level."""
    if len(t) == 2:
        return algorithm(denoise, x, t)
    return algorithm(lambda x, s: d**2 / (s**2 + d**2) * x if s == t[0] else denoise(x, s), x, t)


def analytic_first_step(denoise, x, t):
    return without_first(f_pc, denoise, x, t)


def teleport(denoise, x, t, d=0.5):
    """The law N(0, s^2 + d^2) is scaled to that of the second level."""
    x = x * np.sqrt((t[1] ** 2 + d**2) / (t[0] ** 2 + d**2))
    return f_pc(denoise, x, t[1:])
