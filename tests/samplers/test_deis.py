"""DEIS: weights by hand, the last of few steps, gradients, sentences."""

import numpy as np
import pytest
from support.helpers import uniform
from support.laws import check_gradient_in_the_levels, check_traced_levels, same, widths

import edmjax as ej
from edmjax import samplers as s
from edmjax.samplers.adams import log_weights

KINDS = ["tab", "rho_ab"]
ORDERS = [1, 2, 3]


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_steps_of_few_are_of_lower_order(x64, kind):
    """Below 15 steps: order 1 at the end and 2 before it; from 15 on nothing is lowered."""
    for n, orders in ((14, [3, 3, 2, 1]), (15, [3, 3, 3, 3])):
        plan = ej.make_plan(s.deis(3, kind), uniform(n))
        np.testing.assert_array_equal(np.count_nonzero(plan.d[-4:], axis=1), orders)
        plan = ej.make_plan(s.deis(3, kind, lower_order_final=False), uniform(n))
        np.testing.assert_array_equal(np.count_nonzero(plan.d[-4:], axis=1), 3)


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


@pytest.mark.parametrize("order", ORDERS)
def test_windows_are_as_wide_as_the_order(order):
    assert widths(s.deis(order), 20) == widths(s.deis(order), 200) == (order, order)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_gradient_in_the_levels(x64, kind):
    check_gradient_in_the_levels(s.deis(3, kind, lower_order_final=False))
    check_traced_levels(s.deis(3, kind))


def test_fresh_noise_starts_it_again():
    assert same(s.ancestral(s.deis()), s.ancestral(s.euler()))


def test_bad_options_get_a_sentence():
    with pytest.raises(ValueError, match="`order` must be from 1 to 3, got 4"):
        s.deis(4)
    with pytest.raises(ValueError, match="`kind` must be 'tab' or 'rho_ab', got 'log'"):
        s.deis(3, "log")
