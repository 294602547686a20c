"""Adams-Bashforth: parity, the papers' formulas, order in both columns, the step to zero."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import mixture, uniform
from multistep import (
    GRID,
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
from numpy.polynomial import Polynomial
from orders import as_shipped, formal

import edmjax as ej
from edmjax import samplers as s
from edmjax.samplers.adams import adams_weights

FAMILY = [s.lms, s.ipndm, s.ipndm_v]
ORDERS = [1, 2, 3, 4]


@pytest.mark.parametrize(
    "case", golden("sample_lms", "LMSDiscreteScheduler"), ids=lambda case: case["id"]
)
def test_lms_of_k_diffusion_and_diffusers(x64, case):
    """They integrate the same polynomials by quadrature, which is exact for them."""
    plan = ej.make_plan(s.lms(case["config"].get("order", 4)), case["sigmas"])
    assert plan.nfe == case["nfe"]
    got = ej.sample(golden_problem(), plan, NOISE * case["sigmas"][0])
    assert_close(got, case["x"], 1e-12)


@pytest.mark.parametrize("case", golden("IPNDMScheduler"), ids=lambda case: case["id"])
def test_ipndm_of_diffusers(x64, case):
    """It starts at alpha = 0, an infinite level, where it takes x0 for 0 whatever the network says:
    any high level and a denoiser that says so do the same."""
    (alphas, betas), problem, high = np.array(case["alphas_betas"]), golden_problem(), 1e3
    plan = ej.make_plan(s.ipndm(), [high, *(betas[1:] / alphas[1:])])
    assert plan.nfe == case["nfe"]
    got = ej.sample(
        lambda x, sigma: jnp.where(sigma == high, 0.0, problem.denoise(x, sigma)),
        plan,
        NOISE * high,
    )
    assert_close(got, case["x"], 1e-12)


# ---- the papers' formulas


def adams_bashforth(denoise, x, t, order):
    """Hairer, Norsett and Wanner (1993), Section III.5: the interpolation polynomial, integrated.

    NumPy's polynomials in the power basis: nothing in common with the weights of the package.
    """
    slopes = []
    for i, (a, b) in enumerate(itertools.pairwise(t)):
        slopes.append((x - denoise(x, a)) / a)
        behind = range(max(0, i - order + 1), i + 1)
        for j in behind:
            lagrange = Polynomial([1.0])
            for k in behind:
                if k != j:  # around a, so that powers stay small
                    lagrange *= Polynomial([a - t[k], 1.0]) / (t[j] - t[k])
            x = x + lagrange.integ()(b - a) * slopes[j]
    return x


def ipndm_v_formulas(denoise, x, t):
    """Order 3 written out: with h, h_1, h_2 the steps, newest first, and

        c = (1 - h / (3 (h + h_1))) h (h + h_1) / (2 h_1 (h_1 + h_2))

    the slopes weigh 1 + h / (2 h_1) + c, -h / (2 h_1) - (1 + h_1 / h_2) c and c h_1 / h_2.
    """
    slopes = []
    for i, (a, b) in enumerate(itertools.pairwise(t)):
        slopes.insert(0, (x - denoise(x, a)) / a)
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


@pytest.mark.parametrize("order", ORDERS)
def test_lms_equals_the_textbook(x64, order):
    problem, x = mixture(), start()
    got = ej.sample(problem, ej.make_plan(s.lms(order), GRID), x)
    assert_close(got, adams_bashforth(problem.denoise, x, GRID, order), 1e-11)


def test_ipndm_v_equals_the_papers_formulas(x64):
    problem, x = mixture(), start()
    got = ej.sample(problem, ej.make_plan(s.ipndm_v(3), GRID), x)
    assert_close(got, ipndm_v_formulas(problem.denoise, x, GRID), 1e-11)


@pytest.mark.parametrize("order", ORDERS)
def test_ipndm_equals_the_papers_formulas(x64, order):
    """Liu et al. (2022), eq. 12, and its lower orders while the history fills."""
    problem, y, slopes = mixture(), start(), []
    tables = [[1], [3, -1], [23, -16, 5], [55, -59, 37, -9]]
    for a, b in itertools.pairwise(GRID):
        slopes.insert(0, (y - problem.denoise(y, a)) / a)
        table = tables[min(order, len(slopes)) - 1]
        slope = sum(w * d for w, d in zip(table, slopes, strict=False))
        y = y + (b - a) * slope / (1, 2, 12, 24)[len(table) - 1]
    assert_close(ej.sample(problem, ej.make_plan(s.ipndm(order), GRID), start()), y, 1e-11)


# ---- equalities


@pytest.mark.parametrize("make", FAMILY)
def test_order_1_is_euler(make):
    same(make(1), s.euler())


@pytest.mark.parametrize("order", ORDERS)
def test_ipndm_is_lms_where_the_steps_are_equal_and_ipndm_v_everywhere(order):
    grid = np.linspace(5.0, 0.5, 12)
    lms, constant = (ej.make_plan(make(order), grid) for make in (s.lms, s.ipndm))
    np.testing.assert_allclose(lms.d, constant.d, atol=1e-13)
    np.testing.assert_allclose(lms.y, constant.y, atol=1e-13)
    same(s.ipndm_v(order), s.lms(order, final="denoise"))


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
        formula = ej.make_plan(make(3, final="multistep"), GRID)
        assert np.count_nonzero(formula.d[-1]) == np.count_nonzero(formula.y[-1]) == 3
        assert np.isfinite(ej.sample(problem, formula, x)).all()
        same(make(3, final="multistep") if make is not s.ipndm_v else make(3), make(3))
        # Without a past the formula is the denoiser, exactly.
        plan = ej.make_plan(make(4), [2.0, 0.0])
        np.testing.assert_array_equal([plan.y[1, 0], plan.d[1, 0]], [0, 1])


# ---- order


@pytest.mark.parametrize("order", ORDERS)
def test_formal_order(x64, order):
    """From exact starting values; constant weights are second order wherever steps differ."""
    assert abs(formal(s.lms(order), order - 1) - order) < 0.15
    assert abs(formal(s.ipndm_v(order), order - 1) - order) < 0.15
    assert abs(formal(s.ipndm(order), order - 1) - min(order, 2)) < 0.15


@pytest.mark.parametrize("order", ORDERS)
def test_order_as_shipped(x64, order):
    """The error of Euler's first step stays: 2 at most. At order 3 it shows late, see below."""
    for make in FAMILY:
        on_mixture, on_gaussian = as_shipped(make(order))
        if order != 3 or make is s.ipndm:
            assert abs(on_mixture - min(order, 2)) < 0.15
            assert on_gaussian > min(order, 2) - 0.15


def test_the_first_step_caps_order_3_on_fine_grids(x64):
    """Between 160 and 320 steps the slope of `lms(3)` is 2.5 still, from 3 on its way to 2."""
    problem, x = mixture(), start(5.0, (64, 2))
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
def test_gradient_in_the_levels(x64, make):
    check_gradient_in_the_levels(make(4))
    check_traced_levels(make(4))


@pytest.mark.parametrize("make", FAMILY)
def test_fresh_noise_starts_it_again(make):
    same(s.ancestral(make(4)), s.ancestral(s.euler()))
    same(s.churn(make(4), 8.0), s.churn(s.euler(), 8.0))


@pytest.mark.parametrize("make", FAMILY)
def test_bad_options_get_a_sentence(make):
    for order in (0, 5):
        with pytest.raises(ValueError, match=f"`order` must be 1, 2, 3 or 4, got {order}"):
            make(order)
    with pytest.raises(ValueError, match="`final` must be 'multistep' or 'denoise', got 'euler'"):
        make(4, final="euler")
