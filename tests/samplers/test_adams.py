"""Adams-Bashforth: equal steps, weights, the step to zero, how the start caps the order."""

import itertools

import numpy as np
import pytest
from support.certificates import CERTIFICATES
from support.claims import uneven
from support.helpers import mixture, over, uniform
from support.laws import check_gradient_in_the_levels, check_traced_levels, same, widths
from support.orders import start

import edmjax as ej
from edmjax import samplers as s
from edmjax.samplers.adams import adams_weights

GRID = ej.schedules.karras(9, 0.01, 20.0)
FAMILY = [s.lms, s.ipndm, s.ipndm_v]
ORDERS = [1, 2, 3, 4]


# ---- equalities


@pytest.mark.parametrize("order", ORDERS)
def test_ipndm_is_lms_where_the_steps_are_equal_and_ipndm_v_everywhere(order):
    grid = np.linspace(5.0, 0.5, 12)
    lms, constant = (ej.make_plan(make(order), grid) for make in (s.lms, s.ipndm))
    np.testing.assert_allclose(lms.d, constant.d, atol=1e-13)
    np.testing.assert_allclose(lms.y, constant.y, atol=1e-13)
    assert same(s.ipndm_v(order), s.lms(order, final="denoise"))


def test_weights_integrate_powers_exactly():
    levels, sigma, to = [1.0, 1.5, 3.0, 4.0], 0.8, 0.3
    for count in range(1, 5):
        nodes = [sigma, *levels[: count - 1]]
        w = adams_weights(sigma, to, nodes[1:])
        for k in range(count):
            integral = (to ** (k + 1) - sigma ** (k + 1)) / (k + 1)
            np.testing.assert_allclose(np.dot(w, np.power(nodes, k)), integral, rtol=1e-12)


# ---- the step to zero


def test_the_step_to_zero(x64):
    """The formula holds there; with `final="denoise"` it is the denoiser, as for other samplers."""
    problem, x = mixture(), start()
    for make in FAMILY:
        plan = ej.make_plan(make(3, final="denoise"), GRID)
        np.testing.assert_array_equal(plan.y[-1], 0)
        np.testing.assert_array_equal(plan.d[-1], np.eye(plan.d.shape[1])[0])
        formula = ej.make_plan(make(3, final="method"), GRID)
        assert np.count_nonzero(formula.d[-1]) == np.count_nonzero(formula.y[-1]) == 3
        assert np.isfinite(ej.sample(problem, formula, x)).all()
        assert same(make(3, final="method") if make is not s.ipndm_v else make(3), make(3))
        # Without a past the formula is the denoiser, exactly.
        plan = ej.make_plan(make(4), [2.0, 0.0])
        np.testing.assert_array_equal([plan.y[1, 0], plan.d[1, 0]], [0, 1])


@pytest.mark.thorough
def test_the_first_step_caps_order_3_on_fine_grids(x64):
    """Between 160 and 320 steps the slope of `lms(3)` is 2.5 still, from 3 on its way to 2."""
    problem, x = mixture(), start()
    grids = (10, 20, 40, 80)
    got = [ej.sample(problem, ej.make_plan(s.lms(3), uniform(16 * n)), x) for n in grids]
    # Differences between one grid and the next shrink as the error does.
    gaps = [np.sqrt(np.mean((b - a) ** 2)) for a, b in itertools.pairwise(got)]
    slopes = np.log2(np.array(gaps[:-1]) / gaps[1:])
    assert 1.85 < slopes[1] < slopes[0] < 2.85


# ---- windows, gradients, restarts, bad options


@pytest.mark.parametrize("make", FAMILY)
@pytest.mark.parametrize("order", ORDERS)
def test_windows_are_as_wide_as_the_order(make, order):
    assert widths(make(order), 20) == widths(make(order), 200) == (order, order)


@pytest.mark.parametrize("make", FAMILY)
@pytest.mark.slow
def test_gradient_in_the_levels(x64, make):
    check_gradient_in_the_levels(make(4))
    check_traced_levels(make(4))


@pytest.mark.parametrize("make", FAMILY)
def test_fresh_noise_starts_it_again(make):
    assert same(s.ancestral(make(4)), s.ancestral(s.euler()))
    assert same(s.churn(make(4), 8.0), s.churn(s.euler(), 8.0))


@pytest.mark.parametrize("make", FAMILY)
def test_bad_options_get_a_sentence(make):
    for order in (0, 5):
        with pytest.raises(ValueError, match=f"`order` must be from 1 to 4, got {order}"):
            make(order)
    with pytest.raises(ValueError, match="`final` must be 'method' or 'denoise', got 'euler'"):
        make(4, final="euler")


ALTERNATING = {"ipndm": 1, "plms": 1, "pndm": 1, "gradient_estimation(1.5)": 1, "lms": 4}


@pytest.mark.parametrize("name", over(ALTERNATING, ["ipndm"], ALTERNATING))
def test_order_on_steps_that_alternate(name, unchecked):
    """Steps 1:2:1:2, however many: weights of equal steps lose an order or more there."""
    finding = uneven(CERTIFICATES[name])
    assert finding.holds and finding.claimed == str(ALTERNATING[name]), finding
