"""DEIS: parity, the paper's integrals by quadrature, order in both columns."""

import itertools

import numpy as np
import pytest
from helpers import mixture, uniform
from multistep import (
    NOISE,
    assert_close,
    check_gradient_in_the_levels,
    check_traced_levels,
    golden,
    golden_problem,
    same,
    start,
    widths,
)
from orders import as_shipped, formal

import edmjax as ej
from edmjax import samplers as s
from edmjax.samplers.deis import log_weights

KINDS = ["tab", "rho_ab"]
ORDERS = [1, 2, 3]
POINTS, GAUSS = np.polynomial.legendre.leggauss(60)


@pytest.mark.parametrize("case", golden("DEISMultistepScheduler"), ids=lambda case: case["id"])
def test_deis_of_diffusers(x64, case):
    """It holds points as x / sqrt(1 + sigma^2), and its grid ends above 0."""
    grid = np.array(case["sigmas"])
    plan = ej.make_plan(s.deis(case["config"]["solver_order"]), grid)
    assert plan.nfe == case["nfe"]
    x = ej.sample(golden_problem(), plan, NOISE * np.sqrt(1 + grid[0] ** 2))
    assert_close(x / np.sqrt(1 + grid[-1] ** 2), case["x"], 1e-12)


def paper(denoise, x, t, order, variable):
    """Zhang and Chen (2023), eq. 14 and 15 at scale 1: integrals by Gauss-Legendre quadrature in
    log sigma, where the integrand is smooth. First order into 0."""
    slopes = []
    for i, (a, b) in enumerate(itertools.pairwise(t)):
        slopes.append((x - denoise(x, a)) / a)
        if b == 0:
            return x - a * slopes[-1]
        middle, half = np.log(a * b) / 2, np.log(b / a) / 2
        sigma = np.exp(middle + half * POINTS)
        behind = range(max(0, i - order + 1), i + 1)
        for j in behind:
            lagrange = np.ones_like(sigma)
            for k in behind:
                if k != j:
                    lagrange *= variable(sigma) - variable(t[k])
                    lagrange /= variable(t[j]) - variable(t[k])
            x = x + np.sum(half * GAUSS * sigma * lagrange) * slopes[j]
    return x


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", ORDERS)
def test_deis_equals_the_papers_integrals(x64, kind, order):
    problem, x, grid = mixture(), start(), ej.schedules.karras(16, 0.01, 20.0)
    variable = {"tab": np.log, "rho_ab": lambda sigma: sigma}[kind]
    expected = paper(problem.denoise, x, grid, order, variable)
    got = ej.sample(problem, ej.make_plan(s.deis(order, kind), grid), x)
    assert_close(got, expected, 1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_steps_of_few_are_of_lower_order(x64, kind):
    """Below 15 steps: order 1 at the end and 2 before it; from 15 on nothing is lowered."""
    for n, orders in ((14, [3, 3, 2, 1]), (15, [3, 3, 3, 3])):
        plan = ej.make_plan(s.deis(3, kind), uniform(n))
        np.testing.assert_array_equal(np.count_nonzero(plan.d[-4:], axis=1), orders)
        plan = ej.make_plan(s.deis(3, kind, lower_order_final=False), uniform(n))
        np.testing.assert_array_equal(np.count_nonzero(plan.d[-4:], axis=1), 3)


@pytest.mark.parametrize("kind", KINDS)
def test_order_1_is_euler(kind):
    same(s.deis(1, kind), s.euler())


@pytest.mark.parametrize("order", ORDERS)
def test_rho_ab_is_lms_in_this_frame(order):
    same(s.deis(order, "rho_ab", lower_order_final=False), s.lms(order, final="denoise"))


def test_weights_integrate_powers_of_log_sigma_exactly():
    """Antiderivatives by hand: of 1, log s and log^2 s."""
    nodes, to = [0.8, 1.0, 1.5], 0.3

    def primitive(s):
        log = np.log(s)
        return np.array([s, s * (log - 1), s * (log**2 - 2 * log + 2)])

    for count in (1, 2, 3):
        w = log_weights(nodes[0], to, nodes[1:count])
        moments = [np.dot(w, np.log(nodes[:count]) ** k) for k in range(count)]
        expected = (primitive(to) - primitive(nodes[0]))[:count]
        np.testing.assert_allclose(moments, expected, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", ORDERS)
def test_formal_order(x64, kind, order):
    assert abs(formal(s.deis(order, kind), order - 1) - order) < 0.15


@pytest.mark.parametrize("order", ORDERS)
def test_order_as_shipped(x64, order):
    """The error of Euler's first step stays: 2 at most."""
    on_mixture, on_gaussian = as_shipped(s.deis(order))
    assert abs(on_mixture - min(order, 2)) < 0.15
    assert on_gaussian > min(order, 2) - 0.15


@pytest.mark.parametrize("order", ORDERS)
def test_windows_are_as_wide_as_the_order(order):
    assert widths(s.deis(order), 20) == widths(s.deis(order), 200) == (order, order)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_in_the_levels(x64, kind):
    check_gradient_in_the_levels(s.deis(3, kind, lower_order_final=False))
    check_traced_levels(s.deis(3, kind))


def test_fresh_noise_starts_it_again():
    same(s.ancestral(s.deis()), s.ancestral(s.euler()))


def test_bad_options_get_a_sentence():
    with pytest.raises(ValueError, match="`order` must be 1, 2 or 3, got 4"):
        s.deis(4)
    with pytest.raises(ValueError, match="`kind` must be 'tab' or 'rho_ab', got 'log'"):
        s.deis(3, "log")
