"""UniPC: parity, the paper's algorithm with its corrected points, finite at zero, order."""

import math

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
from orders import as_shipped, formal

import edmjax as ej
from edmjax import samplers as s

ORDERS = [1, 2, 3]
VARIANTS = ["bh1", "bh2"]
PREDICT = ["x0", "eps"]
EVERY = range(1000)


@pytest.mark.parametrize("case", golden("UniPCMultistepScheduler"), ids=lambda case: case["id"])
def test_unipc_of_diffusers(x64, case):
    """It holds points as x / sqrt(1 + sigma^2)."""
    grid, config = np.array(case["sigmas"]), case["config"]
    sampler = s.unipc(
        config["solver_order"],
        config.get("solver_type", "bh2"),
        predict="x0" if config.get("predict_x0", True) else "eps",
        disable_corrector=config.get("disable_corrector", ()),
    )
    plan = ej.make_plan(sampler, grid)
    assert plan.nfe == case["nfe"]
    x = ej.sample(golden_problem(), plan, NOISE * np.sqrt(1 + grid[0] ** 2))
    assert_close(x / np.sqrt(1 + grid[-1] ** 2), case["x"], 1e-12)


# ---- the paper's algorithm


def paper_step(x, t, outputs, levels, variant, predict):
    """UniP (Zhao et al. 2023, Algorithm 2) and, with an output at `t` itself, UniC (Algorithm 1),
    at alpha = 1, on eps or on x0; a single coefficient is 1/2.

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


def paper(denoise, x, t, order, variant, predict, lower, uncorrected):
    """Algorithms 1 and 2: predict, evaluate at the predicted point, correct, go on from there."""

    def evaluate(x, level):
        denoised = denoise(x, level)
        return denoised if predict == "x0" else (x - denoised) / level

    outputs, n = [evaluate(x, t[0])], len(t) - 1
    for i in range(1, n + 1):
        if t[i] == 0:
            return outputs[-1] if predict == "x0" else predicted - t[i - 1] * outputs[-1]
        used = min(order, i, n + 1 - i) if lower else min(order, i)
        behind, history = t[i - used : i][::-1], outputs[-used:][::-1]
        predicted = paper_step(x, t[i], history, behind, variant, predict)
        if i == n:
            return predicted
        outputs.append(evaluate(predicted, t[i]))
        if i - 1 in uncorrected:
            x = predicted
        else:
            history, behind = [*history, outputs[-1]], [*behind, t[i]]
            x = paper_step(x, t[i], history, behind, variant, predict)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("predict", PREDICT)
def test_unipc_equals_the_papers_algorithm(x64, order, variant, predict):
    problem, x = mixture(), start()
    for grid, lower, off in ((GRID, True, ()), (GRID, False, (0, 3)), (GRID[:-1], False, ())):
        expected = paper(problem.denoise, x, grid, order, variant, predict, lower, off)
        sampler = s.unipc(order, variant, lower, predict, off)
        assert_close(ej.sample(problem, ej.make_plan(sampler, grid), x), expected, 1e-11)


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
    same(s.unipc(1, variant, predict=predict, disable_corrector=EVERY), s.euler())
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


# ---- order


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("predict", PREDICT)
def test_formal_order(x64, order, predict):
    """The predictor alone has the order p, and the corrector raises it to p + 1 (Theorem 3.1)."""
    for variant in VARIANTS:
        corrected = s.unipc(order, variant, False, predict)
        assert abs(formal(corrected, order - 1) - order - 1) < 0.15
    predictor = s.unipc(order, "bh2", False, predict, EVERY)
    assert abs(formal(predictor, order - 1) - order) < 0.15


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("predict", PREDICT)
def test_order_as_shipped(x64, order, predict):
    """The first step, corrected, is of third order, and so is the whole at most; what that costs
    at p = 3 is below what the others leave, so the slope shows nearly 4 on these grids. A last
    step of order 1 makes it 2."""
    on_mixture, on_gaussian = as_shipped(s.unipc(order, "bh2", False, predict))
    assert on_gaussian > min(order + 1, 3) - 0.15
    if order < 3:
        assert abs(on_mixture - order - 1) < 0.15
    else:
        assert 2.85 < on_mixture < 4.15
    on_mixture, on_gaussian = as_shipped(s.unipc(order, "bh2", True, predict))
    assert abs(on_mixture - 2) < 0.15 and on_gaussian > 1.85


# ---- gradients, restarts, bad options


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("predict", PREDICT)
def test_gradient_in_the_levels(x64, variant, predict):
    check_gradient_in_the_levels(s.unipc(3, variant, False, predict))
    check_traced_levels(s.unipc(3, variant, predict=predict))


def test_fresh_noise_starts_it_again():
    same(s.ancestral(s.unipc()), s.ancestral(s.euler()))
    same(s.churn(s.unipc(), 8.0), s.churn(s.euler(), 8.0))


def test_bad_options_get_a_sentence():
    with pytest.raises(ValueError, match="`order` must be 1, 2 or 3, got 4"):
        s.unipc(4)
    with pytest.raises(ValueError, match="`variant` must be 'bh1' or 'bh2', got 'bh3'"):
        s.unipc(variant="bh3")
    with pytest.raises(ValueError, match="`predict` must be 'x0' or 'eps', got 'v'"):
        s.unipc(predict="v")
    with pytest.raises(ValueError, match=r"numbers of steps, from 0, got \[-1\]"):
        s.unipc(disable_corrector=[-1])
