"""UniPC: finite at zero, its variants, what it keeps, gradients, sentences."""

import numpy as np
import pytest
from support.helpers import uniform
from support.laws import check_gradient_in_the_levels, check_traced_levels, same, widths

import edmjax as ej
from edmjax import samplers as s

ORDERS = [1, 2, 3]
VARIANTS = ["bh1", "bh2"]
PREDICT = ["x0", "eps"]


# ---- zero, equalities


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("predict", PREDICT)
def test_it_is_finite_at_zero_and_ends_with_the_denoiser(order, variant, predict):
    """diffusers' bh1 is NaN there: B(h) = h is infinite."""
    for n in (1, 2, 3, 10):
        for lower in (True, False):
            sampler = s.unipc(order, variant, lower, predict)
            plan = ej.make_plan(sampler, ej.schedules.karras(n))
            assert np.isfinite(plan.y).all() and np.isfinite(plan.d).all()
            np.testing.assert_array_equal(plan.y[-1], 0)
            np.testing.assert_array_equal(plan.d[-1], np.eye(plan.d.shape[1])[0])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("predict", PREDICT)
def test_order_1_without_its_corrector_is_euler(variant, predict):
    assert same(s.unipc(1, variant, predict=predict, disable_corrector=range(1000)), s.euler())
    two_steps = ej.make_plan(s.unipc(3, variant, predict=predict), [3.0, 1.0, 0.0])
    np.testing.assert_allclose(two_steps.d, ej.make_plan(s.euler(), [3.0, 1.0, 0.0]).d)


def test_the_variants_differ_where_the_paper_fixes_a_weight():
    """bh1 and bh2 have the same exact weights: from the third step of order 3 on."""
    one, two = (ej.make_plan(s.unipc(3, v, False), uniform(12)) for v in VARIANTS)
    np.testing.assert_allclose(one.d[5:], two.d[5:], rtol=1e-12)
    assert abs(one.d[2, 0] - two.d[2, 0]) > 1e-3


def test_the_corrected_point_is_never_evaluated():
    """One evaluation a step, and one point kept, however many steps there are."""
    for order in ORDERS:
        plan = ej.make_plan(s.unipc(order), ej.schedules.karras(30))
        np.testing.assert_array_equal(plan.sigmas, plan.grid[:-1])
        assert widths(s.unipc(order), 20) == widths(s.unipc(order), 200) == (1, order + 1)
        slopes = s.unipc(order, predict="eps")
        assert widths(slopes, 20) == widths(slopes, 200) == (order + 1, order + 1)


# ---- gradients, restarts, bad options


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("predict", PREDICT)
def test_gradient_in_the_levels(x64, variant, predict):
    check_gradient_in_the_levels(s.unipc(3, variant, False, predict))
    check_traced_levels(s.unipc(3, variant, predict=predict))


def test_fresh_noise_starts_it_again():
    assert same(s.ancestral(s.unipc()), s.ancestral(s.euler()))
    assert same(s.churn(s.unipc(), 8.0), s.churn(s.euler(), 8.0))


def test_bad_options_get_a_sentence():
    with pytest.raises(ValueError, match="`order` must be from 1 to 3, got 4"):
        s.unipc(4)
    with pytest.raises(ValueError, match="`variant` must be 'bh1' or 'bh2', got 'bh3'"):
        s.unipc(variant="bh3")
    with pytest.raises(ValueError, match="`predict` must be 'x0' or 'eps', got 'v'"):
        s.unipc(predict="v")
    with pytest.raises(ValueError, match=r"numbers of steps, from 0, got \[-1\]"):
        s.unipc(disable_corrector=[-1])
