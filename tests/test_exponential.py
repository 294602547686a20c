"""Exponential Runge-Kutta methods, their multistep relative, and gradient estimation."""

import itertools
import math

import numpy as np
import pytest
from helpers import mixture
from orders import as_shipped, check_slopes_of_weights, formal, start

import edmjax as ej
from edmjax import samplers as s

GRID = [5.0, 2.0, 1.0, 0.4, 0.0]
NODES, WEIGHTS = np.polynomial.legendre.leggauss(30)


def phi(k, z):
    """`int_0^1 e^((1 - s) z) s^(k-1) / (k-1)! ds` by quadrature."""
    u = (NODES + 1) / 2
    return np.sum(WEIGHTS / 2 * np.exp((1 - u) * z) * u ** (k - 1)) / math.factorial(k - 1)


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


def two_stages(denoise, x, t, c2):
    """The second-order tableau of Hochbruck and Ostermann with parameter c2."""
    return tableau(
        denoise,
        x,
        t,
        [0, c2],
        lambda i, h: [c2 * phi(1, -c2 * h)],
        lambda h: [phi(1, -h) - phi(2, -h) / c2, phi(2, -h) / c2],
    )


def three_stages(denoise, x, t, c2, c3):
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


def multistep(denoise, x, t):
    """Exact integrals of the line through two outputs: c2 is the last step in units of this one."""
    old = None
    for i, (sigma, sigma_next) in enumerate(itertools.pairwise(t)):
        denoised = denoise(x, sigma)
        if sigma_next == 0:
            return denoised
        h = np.log(sigma) - np.log(sigma_next)
        weights = [phi(1, -h), 0.0]
        if old is not None:
            c2 = (np.log(sigma) - np.log(t[i - 1])) / h
            weights = [phi(1, -h) - phi(2, -h) / c2, phi(2, -h) / c2]
        x = np.exp(-h) * x + h * weights[0] * denoised
        x = x if old is None else x + h * weights[1] * old
        old = denoised
    return x


def permenter_yuan(denoise, x, t, gamma):
    """Algorithm 2 of Permenter and Yuan (2024), with the denoiser's eps = (x - D) / sigma."""
    eps = []
    for a, b in itertools.pairwise(t):
        eps.append((x - denoise(x, a)) / a)
        if b == 0:
            return denoise(x, a)
        mean = gamma * eps[-1] + (1 - gamma) * eps[-2] if len(eps) > 1 else eps[-1]
        x = x + (b - a) * mean
    return x


@pytest.mark.parametrize("n", [1, 2, 9])
@pytest.mark.parametrize("final_zero", [True, False])
def test_equal_to_the_papers_formulas(x64, n, final_zero):
    grid = ej.schedules.karras(n + (not final_zero), 0.05, 10.0, final_zero=final_zero)
    problem, x = mixture(), start()
    denoise = problem.denoise
    for sampler, expected in (
        (s.res_2s(), two_stages(denoise, x, grid, 0.5)),
        (s.res_2s(c2=0.7), two_stages(denoise, x, grid, 0.7)),
        (s.exp_heun(), two_stages(denoise, x, grid, 1.0)),
        (s.res_3s(), three_stages(denoise, x, grid, 0.5, 1.0)),
        (s.res_3s(c2=1 / 3, c3=2 / 3), three_stages(denoise, x, grid, 1 / 3, 2 / 3)),
        (s.res_3s(c2=0.4, c3=0.9), three_stages(denoise, x, grid, 0.4, 0.9)),
        (s.res_multistep(), multistep(denoise, x, grid)),
        (s.gradient_estimation(), permenter_yuan(denoise, x, grid, 2.0)),
        (s.gradient_estimation(1.4), permenter_yuan(denoise, x, grid, 1.4)),
    ):
        got = ej.sample(problem, ej.make_plan(sampler, grid), x)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("grid", [GRID, GRID[:-1]])
def test_equalities(grid):
    for a, b in (
        (s.exp_heun(), s.res_2s(1.0)),
        (s.res_multistep(), s.dpmpp_2m("heun")),
        (s.gradient_estimation(1.0), s.euler()),
    ):
        a, b = ej.make_plan(a, grid), ej.make_plan(b, grid)
        for x, y in ((a.y, b.y), (a.d, b.d), (a.sigmas, b.sigmas)):
            # A window that is wider holds zeros.
            width = max(x.shape[-1], y.shape[-1])
            x, y = (np.pad(v, [(0, 0)] * (v.ndim - 1) + [(0, width - v.shape[-1])]) for v in (x, y))
            np.testing.assert_allclose(x, y, rtol=0, atol=1e-14)


@pytest.mark.parametrize("c2, c3", [(1 / 3, 2 / 3), (0.4, 0.9)])
def test_three_stages_are_of_order_3_with_other_nodes(x64, c2, c3):
    on_mixture, on_gaussian = as_shipped(s.res_3s(c2, c3))
    assert abs(on_mixture - 3) < 0.15
    assert on_gaussian > 3 - 0.15


def test_two_stages_are_of_order_2_with_another_node(x64):
    on_mixture, on_gaussian = as_shipped(s.res_2s(0.7))
    assert abs(on_mixture - 2) < 0.15
    assert on_gaussian > 2 - 0.15


def test_multistep_from_exact_starting_values(x64):
    assert abs(formal(s.res_multistep(), 1) - 2) < 0.15


def test_gradient_estimation_is_of_order_2_where_it_is_adams_and_bashforths(x64):
    on_mixture, on_gaussian = as_shipped(s.gradient_estimation(1.5))
    assert abs(on_mixture - 2) < 0.15
    assert on_gaussian > 2 - 0.15


@pytest.mark.parametrize(
    "make", [s.res_2s, s.res_3s, s.exp_heun, s.res_multistep, s.gradient_estimation]
)
@pytest.mark.parametrize("end", [[0.0], []])
def test_slopes_in_the_levels(x64, make, end):
    def plan(levels):
        return ej.make_plan(make(), [*levels, *end], ends_at_zero=bool(end))

    check_slopes_of_weights(plan, GRID[:-1])


def test_slopes_in_the_options(x64):
    check_slopes_of_weights(lambda v: ej.make_plan(s.res_2s(v[0]), GRID), [0.4])
    check_slopes_of_weights(lambda v: ej.make_plan(s.res_3s(v[0], v[1]), GRID), [0.4, 0.9])
    check_slopes_of_weights(lambda v: ej.make_plan(s.gradient_estimation(v[0]), GRID), [2.0])


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: s.res_2s(0.0), r"`c2`, the place of an inner point, must be in \(0, 1\], got 0.0"),
        (
            lambda: s.res_3s(c3=1.2),
            r"`c3`, the place of an inner point, must be in \(0, 1\], got 1",
        ),
        (lambda: s.res_3s(2 / 3, 1.0), "must differ and `c2` must not be 2/3"),
        (lambda: s.res_3s(0.5, 0.5), "c2 = 0.5 and c3 = 0.5: they must differ"),
        (lambda: s.gradient_estimation(math.nan), "`gamma` must be finite, got nan"),
    ],
)
def test_bad_options_get_a_sentence(make, words):
    with pytest.raises(ValueError, match=words):
        make()
