"""DPM-Solver and DPM-Solver++: parity, the papers' formulas, orders formal and as shipped."""

import itertools
import json
import pathlib

import numpy as np
import pytest
from helpers import mixture
from orders import as_shipped, check_slopes_of_weights, formal, start

import edmjax as ej
from edmjax import samplers as s

GOLDEN = pathlib.Path(__file__).parent / "golden"
PROBLEM = json.loads((GOLDEN / "problem.json").read_text())
DPM = json.loads((GOLDEN / "dpm.json").read_text())
BANK, NOISE = np.array(PROBLEM["bank"]), np.array(PROBLEM["noise"])
GRID = [5.0, 2.0, 1.0, 0.4, 0.3, 0.0]


def golden_problem():
    return ej.problems.Mixture(PROBLEM["weights"], PROBLEM["means"], PROBLEM["std"] ** 2)


def close(got, expected, tolerance):
    expected = np.array(expected)
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * np.abs(expected).max())


# ---- parity


@pytest.mark.parametrize(
    "case",
    [case for case in DPM["kdiffusion"] if case["sampler"].endswith("m_sde")],
    ids=lambda case: case["id"],
)
def test_multistep_without_noise_equals_k_diffusion(x64, case):
    make = s.dpmpp_3m if "3m" in case["sampler"] else s.dpmpp_2m
    sampler = make(solver_type=case["options"].get("solver_type", "heun"))
    grid = DPM["grids"][case["grid"]]
    plan = ej.make_plan(sampler, grid)
    assert plan.nfe == case["nfe"]
    close(ej.sample(golden_problem(), plan, NOISE * grid[0]), case["x"], 1e-11)


@pytest.mark.parametrize("case", DPM["d2_doubled"], ids=lambda case: case["grid"])
def test_3m_with_the_second_difference_doubled(x64, case):
    grid = DPM["grids"][case["grid"]]
    plan = ej.make_plan(s.dpmpp_3m("heun", corrected=True), grid)
    close(ej.sample(golden_problem(), plan, NOISE * grid[0]), case["x"], 1e-11)


@pytest.mark.parametrize("case", DPM["dpm_fast"], ids=lambda case: case["id"])
def test_dpm_fast_equals_k_diffusion(x64, case):
    grid = ej.schedules.dpm_fast(case["n"], 0.002, 80.0)
    plan = ej.make_plan(s.dpm_fast(case["n"], case["eta"]), grid)
    assert plan.nfe == case["n"] == case["nfe"]
    # Draw i of the bank belongs to step i; the last step, and one that would end below the grid,
    # multiply theirs by 0.
    noise = BANK[[plan.step[np.argwhere(plan.draws == j)[0, 0]] - 1 for j in range(plan.num_draws)]]
    assert plan.num_draws == (len(grid) - 2 if case["eta"] and case["n"] > 2 else 0)
    close(ej.sample(golden_problem(), plan, NOISE * 80.0, noise=noise), case["x"], 1e-11)


def of_diffusers(name, options):
    """Our sampler for a class of diffusers, with that class's defaults."""
    order = options.get("solver_order", 2)
    options = {k: v for k, v in options.items() if k != "solver_order"}
    if "Euler" in name or order == 1:
        return s.euler()
    if name == "HeunDiscrete":
        return s.heun()
    if name == "DPMSolverSinglestep":
        return s.dpmpp_singlestep(order, **options)
    make = {2: s.dpmpp_2m, 3: s.dpmpp_3m}[order]
    return make(**{"lower_order_final": True} | options)


@pytest.mark.parametrize("case", DPM["diffusers"], ids=lambda case: case["id"])
def test_diffusers(x64, case):
    grid = np.array(case["sigmas"])
    plan = ej.make_plan(of_diffusers(case["class"], case["options"]), grid)
    assert plan.nfe == case["nfe"]
    scale = np.sqrt(1 + grid**2) if case["space"].startswith("vp") else np.ones_like(grid)
    x = NOISE * case["init_scale"] * scale[0]
    # They keep levels as alpha and sigma, and take logarithms of both.
    close(ej.sample(golden_problem(), plan, x) / scale[-1], case["x"], 1e-10)


# ---- the papers' formulas


def paper_dpm_solver_3(denoise, x, t, r1=1 / 3, r2=2 / 3):
    """Lu et al. (2022, DPM-Solver), Algorithm 2 with alpha = 1."""
    for a, b in itertools.pairwise(t):
        if b == 0:
            return denoise(x, a)

        def eps(x, level):
            return (x - denoise(x, level)) / level

        h = np.log(a) - np.log(b)
        s1, s2 = np.exp(np.log(a) - r1 * h), np.exp(np.log(a) - r2 * h)
        u1 = x - s1 * (np.exp(r1 * h) - 1) * eps(x, a)
        d1 = eps(u1, s1) - eps(x, a)
        u2 = x - s2 * (np.exp(r2 * h) - 1) * eps(x, a)
        u2 = u2 - s2 * r2 / r1 * ((np.exp(r2 * h) - 1) / (r2 * h) - 1) * d1
        d2 = eps(u2, s2) - eps(x, a)
        x = x - b * (np.exp(h) - 1) * eps(x, a) - b / r2 * ((np.exp(h) - 1) / h - 1) * d2
    return x


def by_interpolation(denoise, x, t, order, noise_prediction):
    """The exact integral of the polynomial through the newest outputs, by quadrature.

    With D: x_next = e^-h x + int_0^h e^(u-h) D(u) du. With eps: x - b int_0^h e^(h-u) eps(u) du.
    The start is of first order.
    """
    nodes, weights = np.polynomial.legendre.leggauss(30)
    lams, outputs = [], []
    for a, b in itertools.pairwise(t):
        denoised = denoise(x, a)
        if b == 0:
            return denoised
        lams = [-np.log(a), *lams][:order]
        outputs = [(x - denoised) / a if noise_prediction else denoised, *outputs][:order]
        h = np.log(a) - np.log(b)
        u = (nodes + 1) * h / 2
        kernel = np.exp(h - u) * -b if noise_prediction else np.exp(u - h)
        x = x if noise_prediction else b / a * x
        for j, output in enumerate(outputs):
            others = [lam for i, lam in enumerate(lams) if i != j]
            lagrange = np.prod(
                [(lams[0] + u - lam) / (lams[j] - lam) for lam in others], axis=0
            ) * np.ones_like(u)
            x = x + h / 2 * np.sum(weights * kernel * lagrange) * output
    return x


@pytest.mark.parametrize("n", [1, 2, 3, 9])
@pytest.mark.parametrize("final_zero", [True, False])
def test_equal_to_the_papers_formulas(x64, n, final_zero):
    grid = ej.schedules.karras(n + (not final_zero), 0.05, 10.0, final_zero=final_zero)
    problem, x = mixture(), start()
    for sampler, expected in (
        (s.dpm_solver(3), paper_dpm_solver_3(problem.denoise, x, grid)),
        (
            s.dpmpp_3m("heun", corrected=True),
            by_interpolation(problem.denoise, x, grid, 3, False),
        ),
        (s.dpmpp_2m("heun"), by_interpolation(problem.denoise, x, grid, 2, False)),
    ):
        got = ej.sample(problem, ej.make_plan(sampler, grid), x)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11)


def test_multistep_noise_prediction_of_order_3(x64):
    """Its second step is the published one of order 2, which a history of two outputs goes past."""
    grid, problem, x = ej.schedules.karras(9, 0.05, 10.0), mixture(), start()
    paper = s.dpm_solver(2, "multistep")

    def sampler(x, at):
        return (paper if len(at.past) < 2 else s.dpm_solver(3, "multistep"))(x, at)

    def record(x, denoised, sigma):
        return x

    plan = ej.make_plan(sampler, grid)
    _, points = ej.trajectory(problem, plan, x, save=record)
    points = np.asarray(points)
    # From the third step on, the integral of the parabola.
    for k in range(2, 8):
        h, lams = np.log(grid[k] / grid[k + 1]), -np.log(grid[k - 2 : k + 1])
        eps = [
            (points[j] - problem.denoise(points[j], grid[j])) / grid[j] for j in (k - 2, k - 1, k)
        ]
        nodes, weights = np.polynomial.legendre.leggauss(30)
        u = (nodes + 1) * h / 2
        expected = points[k]
        for j in range(3):
            i, m = (i for i in range(3) if i != j)
            basis = (lams[2] + u - lams[i]) * (lams[2] + u - lams[m])
            basis = basis / ((lams[j] - lams[i]) * (lams[j] - lams[m]))
            total = np.sum(weights * np.exp(h - u) * basis) * h / 2
            expected = expected - grid[k + 1] * total * eps[j]
        np.testing.assert_allclose(points[k + 1], expected, rtol=0, atol=1e-11)


# ---- identities


@pytest.mark.parametrize("grid", [GRID, GRID[:-1]])
def test_equalities(x64, grid):
    for a, b in (
        (s.dpm_solver(1), s.euler()),
        (s.dpm_solver(1, "multistep"), s.euler()),
        (s.dpm_solver(2), s.dpm_2()),
        (s.dpmpp_singlestep(1), s.euler()),
    ):
        for x, y in zip(tables(a, grid), tables(b, grid), strict=True):
            np.testing.assert_allclose(x, y, rtol=0, atol=1e-14)


def tables(sampler, grid):
    plan = ej.make_plan(sampler, grid)
    return plan.y, plan.d, plan.sigmas


@pytest.mark.parametrize("r", [0.25, 0.5])
def test_a_block_of_the_grid_is_a_single_step(x64, r):
    """Two steps of orders 1 and 2 are one of `dpmpp_2s` with its inner point on the grid."""
    coarse = np.array([5.0, 2.0, 0.4])
    inner = coarse[:-1] ** (1 - r) * coarse[1:] ** r
    fine = [5.0, inner[0], 2.0, inner[1], 0.4]
    blocks = ej.make_plan(s.dpmpp_singlestep(2, lower_order_final=False), fine)
    problem, x = mixture(), start()
    expected = ej.sample(problem, ej.make_plan(s.dpmpp_2s(r), coarse), x)
    np.testing.assert_allclose(ej.sample(problem, blocks, x), expected, rtol=0, atol=1e-12)


def test_options_of_the_last_steps():
    """On a grid above zero, where nothing else lowers the order."""

    def last_outputs(sampler, n):
        d = ej.make_plan(sampler, ej.schedules.karras(n + 1, final_zero=False)).d
        return [int((row != 0).sum()) for row in d[-3:]]

    for make, full in ((s.dpmpp_2m, 2), (s.dpmpp_3m, 3)):
        assert last_outputs(make(), 10) == [full] * 3
        lowered = [full, min(full, 2), 1]
        assert last_outputs(make(lower_order_final=True), 14) == lowered
        assert last_outputs(make(lower_order_final=True), 15) == [full] * 3
        for n in (10, 20):
            assert last_outputs(make(euler_at_final=True), n) == [full, full, 1]


def test_a_start_of_second_order_takes_one_evaluation_more():
    for sampler in (s.dpmpp_3m(start_order=2), s.dpm_solver(3, "multistep", start_order=2)):
        assert [ej.make_plan(sampler, ej.schedules.karras(n)).nfe for n in (1, 2, 7)] == [1, 3, 8]


# ---- orders


FORMAL = {
    "dpmpp_2m": (s.dpmpp_2m, 1, 2),
    "dpmpp_3m": (s.dpmpp_3m, 2, 2),  # as published everywhere: half of the second difference
    "dpmpp_3m_corrected": (lambda: s.dpmpp_3m(corrected=True), 2, 3),
    "dpm_solver_2m": (lambda: s.dpm_solver(2, "multistep"), 1, 2),
    "dpm_solver_3m": (lambda: s.dpm_solver(3, "multistep"), 2, 3),
}


@pytest.mark.parametrize("name", FORMAL)
def test_order_from_exact_starting_values(x64, name):
    make, history, order = FORMAL[name]
    assert abs(formal(make(), history) - order) < 0.15


@pytest.mark.parametrize(
    "make",
    [
        lambda: s.dpmpp_3m(corrected=True),
        lambda: s.dpm_solver(3, "multistep"),
        lambda: s.dpm_solver(2, "multistep"),
    ],
)
def test_a_first_order_start_caps_the_order_at_2(x64, make):
    on_mixture, on_gaussian = as_shipped(make())
    assert abs(on_mixture - 2) < 0.15
    assert on_gaussian > 2 - 0.15


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("solver_type", ["midpoint", "heun"])
def test_order_of_whole_blocks(x64, order, solver_type):
    sampler = s.dpmpp_singlestep(order, solver_type, lower_order_final=False)
    on_mixture, on_gaussian = as_shipped(sampler, [42, 84, 168, 336])
    assert abs(on_mixture - order) < 0.15
    assert on_gaussian > order - 0.15


@pytest.mark.parametrize("rest, order", [(0, 2), (1, 2), (2, 3)])
def test_order_of_dpm_fast(x64, rest, order):
    """Its last step is of first order, which leaves an error of h^2, or of second."""

    def sampler(x, at):
        return s.dpm_fast(3 * at.num_steps - 3 + rest)(x, at)

    on_mixture, on_gaussian = as_shipped(sampler)
    assert abs(on_mixture - order) < 0.15
    assert on_gaussian > order - 0.15


def test_windows_of_what_the_table_of_samplers_lacks():
    for make in (
        lambda n: s.dpm_fast(3 * n - 1, 0.5),
        lambda n: s.dpmpp_singlestep(3, "heun"),
        lambda n: s.dpmpp_singlestep(3, "heun", lower_order_final=False),
    ):
        plans = [
            ej.make_plan(make(n), ej.schedules.exponential(n, final_zero=True)) for n in (20, 200)
        ]
        widths = [(plan.y.shape[1], plan.d.shape[1]) for plan in plans]
        assert widths[0] == widths[1] and max(widths[0]) <= 3 + 2


# ---- limits, gradients, time, sentences


OWN = {
    "dpmpp_2m_heun": lambda: s.dpmpp_2m("heun"),
    "dpmpp_3m": s.dpmpp_3m,
    "dpmpp_3m_start_2": lambda: s.dpmpp_3m(corrected=True, start_order=2),
    "dpm_solver_3": s.dpm_solver,
    "dpm_solver_2m": lambda: s.dpm_solver(2, "multistep"),
    "dpm_solver_3m": lambda: s.dpm_solver(3, "multistep", start_order=2),
    "dpmpp_singlestep_3": lambda: s.dpmpp_singlestep(3, "heun"),
}


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("end", [[0.0], []])
def test_slopes_in_the_levels(x64, name, end):
    def plan(levels):
        return ej.make_plan(OWN[name](), [*levels, *end], ends_at_zero=bool(end))

    check_slopes_of_weights(plan, GRID[:-1])


def test_slopes_in_the_options_of_dpm_fast(x64):
    grid = ej.schedules.dpm_fast(8, 0.05, 5.0)
    check_slopes_of_weights(lambda v: ej.make_plan(s.dpm_fast(8, v[0], v[1]), grid), [0.6, 1.1])
    check_slopes_of_weights(
        lambda v: ej.make_plan(s.dpm_fast(8, 0.6), v, ends_at_zero=False), [5.0, 1.0, 0.4, 0.1]
    )


def test_fresh_noise_in_a_block_ends_it():
    sampler = s.churn(s.dpmpp_singlestep(3, "heun"), 1.0, s_min=0.9, s_max=1.1)
    plan = ej.make_plan(sampler, GRID)
    assert plan.num_draws == 1
    quiet = ej.make_plan(s.dpmpp_singlestep(3, "heun"), GRID)
    # The third step, of order 3 otherwise, starts at the noise and has no history to use.
    outputs = [[(row != 0).sum() for row in table.d] for table in (quiet, plan)]
    assert outputs == [[0, 1, 2, 3, 1, 1], [0, 1, 2, 1, 1, 1]]


def test_dpm_fast_to_zero_ends_with_the_denoiser():
    plan = ej.make_plan(s.dpm_fast(5), [5.0, 1.0, 0.0])
    assert plan.nfe == 4
    np.testing.assert_array_equal(plan.d[-1], [1, 0, 0])


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: s.dpmpp_2m("euler"), "`solver_type` must be 'midpoint' or 'heun', got 'euler'"),
        (lambda: s.dpmpp_3m("euler"), "`solver_type` must be 'midpoint' or 'heun', got 'euler'"),
        (lambda: s.dpmpp_3m(start_order=3), "`start_order` must be 1 or 2, got 3"),
        (lambda: s.dpm_solver(4), "`order` must be 1, 2 or 3, got 4"),
        (lambda: s.dpm_solver(2, "multi"), "`kind` must be 'singlestep' or 'multistep', got 'mu"),
        (lambda: s.dpm_solver(2, "multistep", 0), "`start_order` must be 1 or 2, got 0"),
        (lambda: s.dpmpp_singlestep(0), "`order` must be 1, 2 or 3, got 0"),
        (lambda: s.dpmpp_singlestep(2, "x"), "`solver_type` must be 'midpoint' or 'heun', got 'x'"),
        (lambda: s.dpm_fast(0), "`nfe` must be a whole number of at least 1, got 0"),
        (lambda: s.dpm_fast(5, 1.5), r"`eta` must be in \[0, 1\], got 1.5"),
        (lambda: s.dpm_fast(5, s_noise=-1.0), "`s_noise` must not be negative, got -1"),
        (
            lambda: ej.make_plan(s.dpm_fast(5), GRID),
            r"takes 2 steps, nfe // 3 \+ 1, got a grid of 5",
        ),
    ],
)
def test_bad_options_get_a_sentence(make, words):
    with pytest.raises(ValueError, match=words):
        make()
