"""DPM-Solver and DPM-Solver++: blocks of the grid, last and first steps, gradients, sentences."""

import numpy as np
import pytest
from support.helpers import mixture
from support.laws import check_slopes
from support.orders import start

import edmjax as ej
from edmjax import samplers as s

GRID = [5.0, 2.0, 1.0, 0.4, 0.3, 0.0]


# ---- identities


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
@pytest.mark.slow
def test_slopes_in_the_levels(x64, name, end):
    def plan(*levels):
        return ej.make_plan(OWN[name](), [*levels, *end], ends_at_zero=bool(end))

    check_slopes(plan, GRID[:-1])


@pytest.mark.thorough
def test_slopes_in_the_options_of_dpm_fast(x64):
    grid = ej.schedules.dpm_fast(8, 0.05, 5.0)
    check_slopes(lambda *v: ej.make_plan(s.dpm_fast(8, *v), grid), [0.6, 1.1])
    check_slopes(
        lambda *v: ej.make_plan(s.dpm_fast(8, 0.6), v, ends_at_zero=False), [5.0, 1.0, 0.4, 0.1]
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
        (lambda: s.dpmpp_3m(start_order=3), "`start_order` must be from 1 to 2, got 3"),
        (lambda: s.dpm_solver(4), "`order` must be from 1 to 3, got 4"),
        (lambda: s.dpm_solver(2, "multi"), "`kind` must be 'singlestep' or 'multistep', got 'mu"),
        (lambda: s.dpm_solver(2, "multistep", 0), "`start_order` must be from 1 to 2, got 0"),
        (lambda: s.dpmpp_singlestep(0), "`order` must be from 1 to 3, got 0"),
        (lambda: s.dpmpp_singlestep(2, "x"), "`solver_type` must be 'midpoint' or 'heun', got 'x'"),
        (lambda: s.dpm_fast(0), "`nfe` must be at least 1, got 0"),
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
