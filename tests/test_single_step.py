"""Single-step methods: parity, the papers' formulas, orders, and what happens at zero."""

import itertools
import json
import pathlib

import numpy as np
import pytest
from helpers import mixture
from orders import as_shipped, check_slopes_of_weights, start

import edmjax as ej
from edmjax import samplers as s

GOLDEN = pathlib.Path(__file__).parent / "golden"
PROBLEM = json.loads((GOLDEN / "problem.json").read_text())
DPM = json.loads((GOLDEN / "dpm.json").read_text())
GRID = [5.0, 2.0, 1.0, 0.4, 0.0]


@pytest.mark.parametrize(
    "case",
    [case for case in DPM["kdiffusion"] if case["sampler"] == "sample_dpmpp_2s_ancestral"],
    ids=lambda case: case["id"],
)
def test_ancestral_dpmpp_2s_equals_k_diffusion(x64, case):
    problem = ej.problems.Mixture(PROBLEM["weights"], PROBLEM["means"], PROBLEM["std"] ** 2)
    grid = DPM["grids"][case["grid"]]
    plan = ej.make_plan(s.ancestral(s.dpmpp_2s(), **case["options"]), grid)
    assert plan.nfe == case["nfe"]
    # Draw i of the bank belongs to step i, and the last step draws none.
    noise = np.array(PROBLEM["bank"])[: plan.num_draws]
    got = ej.sample(problem, plan, np.array(PROBLEM["noise"]) * grid[0], noise=noise)
    expected = np.array(case["x"])
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11 * np.abs(expected).max())


def slope(denoise, x, t):
    return (x - denoise(x, t)) / t


def paper_midpoint(denoise, x, t):
    """Karras et al. (2022), Algorithm 3 with sigma(t) = t, s(t) = 1 and alpha = 1/2."""
    alpha = 1 / 2
    for a, b in itertools.pairwise(t):
        h = b - a
        d = slope(denoise, x, a)
        inner, t_inner = x + alpha * h * d, a + alpha * h
        if b == 0:
            return x + h * d
        d_inner = slope(denoise, inner, t_inner)
        x = x + h * ((1 - 1 / (2 * alpha)) * d + 1 / (2 * alpha) * d_inner)
    return x


def paper_dpmpp_2s(denoise, x, t, r):
    """Lu et al. (2022, DPM-Solver++), Algorithm 1 with alpha = 1 and lambda = -log sigma."""
    for a, b in itertools.pairwise(t):
        if b == 0:
            return denoise(x, a)
        lam, lam_next = -np.log(a), -np.log(b)
        h = lam_next - lam
        sigma_s = np.exp(-(lam + r * h))
        u = sigma_s / a * x - np.expm1(-r * h) * denoise(x, a)
        d = (1 - 1 / (2 * r)) * denoise(x, a) + 1 / (2 * r) * denoise(u, sigma_s)
        x = b / a * x - np.expm1(-h) * d
    return x


def published_heunpp2(denoise, x, t):
    """Heun++ 2: means of one, two or three slopes, with weights in units of the first level."""
    n = len(t) - 1
    for i in range(n):
        points, slopes = x, []
        for j in range(i, min(i + 3, n)):
            slopes.append(slope(denoise, points, t[j]))
            points = points + (t[j + 1] - t[j]) * slopes[-1]
        later = [t[j] / (len(slopes) * t[0]) for j in range(i + 1, i + len(slopes))]
        weights = [1 - sum(later), *later]
        x = x + (t[i + 1] - t[i]) * sum(w * d for w, d in zip(weights, slopes, strict=True))
    return x


@pytest.mark.parametrize("n", [1, 2, 3, 12])
@pytest.mark.parametrize("final_zero", [True, False])
def test_equal_to_the_published_formulas(x64, n, final_zero):
    grid = ej.schedules.karras(n + (not final_zero), 0.05, 10.0, final_zero=final_zero)
    problem, x = mixture(), start()
    for sampler, expected in (
        (s.midpoint(), paper_midpoint(problem.denoise, x, grid)),
        (s.dpmpp_2s(), paper_dpmpp_2s(problem.denoise, x, grid, 0.5)),
        (s.dpmpp_2s(r=0.3), paper_dpmpp_2s(problem.denoise, x, grid, 0.3)),
        (s.dpmpp_2s(r=1.0), paper_dpmpp_2s(problem.denoise, x, grid, 1.0)),
        (s.heunpp2(), published_heunpp2(problem.denoise, x, grid)),
    ):
        got = ej.sample(problem, ej.make_plan(sampler, grid), x)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11)


def test_order_with_another_inner_point(x64):
    on_mixture, on_gaussian = as_shipped(s.dpmpp_2s(r=0.3))
    assert abs(on_mixture - 2) < 0.15
    assert on_gaussian > 2 - 0.15


def test_one_step_to_zero_is_the_denoiser(x64):
    problem, x = mixture(), start()
    for sampler in (s.midpoint(), s.dpmpp_2s(), s.heunpp2()):
        plan = ej.make_plan(sampler, [5.0, 0.0])
        assert plan.nfe == 1
        np.testing.assert_allclose(ej.sample(problem, plan, x), problem.denoise(x, 5.0), rtol=1e-12)


@pytest.mark.parametrize("make", [s.midpoint, s.dpmpp_2s, s.heunpp2])
def test_slopes_in_the_levels(x64, make):
    def plan(levels):
        return ej.make_plan(make(), [*levels, 0.0], ends_at_zero=True)

    check_slopes_of_weights(plan, GRID[:-1])


def test_slope_in_r(x64):
    for r in (0.3, 0.9):
        check_slopes_of_weights(lambda r: ej.make_plan(s.dpmpp_2s(r[0]), GRID), [r])


@pytest.mark.parametrize("r", [0.0, -0.5, 1.5, float("nan")])
def test_an_inner_point_outside_the_step_gets_a_sentence(r):
    with pytest.raises(ValueError, match=r"place of the inner point, must be in \(0, 1\], got"):
        s.dpmpp_2s(r=r)
