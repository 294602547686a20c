"""From an infinite first level: which samplers have a plan, and that its weights are limits."""

import itertools

import numpy as np
import pytest
from support.helpers import ALL, later, over

import edmjax as ej

pytestmark = pytest.mark.usefixtures("unchecked")  # checks would take longer than what they check

# Some methods step in the time of a flow, which starts at 1; here all step as in any process.
COSINE = ej.processes.cosine()
LENGTHS = (2, 3, 4, 5, 10, 30)
# Methods whose first step holds a term that grows with the level: an inner evaluation in the first
# step, a slope `(x - D) / sigma` that is extrapolated with fixed weights, noise that grows.
NONE = {
    *("dpmpp_2s", "dpmpp_3m_corrected", "dpm_solver_3", "dpm_solver_3m", "pndm", "plms", "heun"),
    *("dpm_2", "midpoint", "res_2s", "exp_heun", "res_3s", "dpmpp_sde_0", "seeds_2_0"),
    *("ancestral_dpmpp_2s", "ancestral_dpm_2", "churn_euler", "churn_heun", "churn_dpmpp_2m"),
    *("two_draws", "restart_heun", "reverse_diffusion", "euler_maruyama", "dpmpp_sde"),
    *("dpmpp_sde_independent", "seeds_2", "seeds_3"),
}


def levels(n, end):
    return COSINE.levels(np.linspace(1, end, n + 1))


@pytest.mark.parametrize("name", over(ALL, ["lms", "f_trig", "heun"]))
def test_whether_there_is_a_limit_does_not_depend_on_the_number_of_steps(name):
    for n, end in itertools.product(LENGTHS, (0.0, 1e-3)):
        if name in NONE:
            with pytest.raises(ValueError, match="have no limit"):
                ej.make_plan(ALL[name][0](), levels(n, end))
        else:
            assert ej.make_plan(ALL[name][0](), levels(n, end)).nfe >= n


def weights_from(name, first, grid):
    """The weights from a finite first level, in the scale of the process."""
    plan = ej.make_plan(ALL[name][0](), [first, *grid])
    times = np.concatenate([plan.grid[:1], plan.sigmas, plan.grid[-1:]])
    scale = 1 / np.hypot(1, times)
    start, scale = scale[:1], scale[1:]
    age = np.arange(plan.nfe + 1)[:, None] - 1 - np.arange(plan.y.shape[1])
    before = np.where(age >= 0, scale[np.maximum(age, 0)], start)
    tables = [plan.y * scale[:, None] / before, plan.d * scale[:, None], plan.z * scale[:, None]]
    return tables if plan.r is None else [*tables, plan.r * scale[:, None]]


def distance(plan, tables):
    mine = [plan.y, plan.d, plan.z] + ([] if plan.r is None else [plan.r])
    found = 0.0
    for a, b in zip(mine, tables, strict=True):
        width = max(a.shape[1], b.shape[1])
        a, b = (np.pad(table, ((0, 0), (0, width - table.shape[1]))) for table in (a, b))
        found = max(found, np.abs(a - b).max(initial=0))
    return found


@pytest.mark.parametrize(
    "name",
    ["lms", "f_trig", "dpmpp_3m", *later(*sorted(set(ALL) - NONE - {"lms", "f_trig", "dpmpp_3m"}))],
)
def test_weights_from_a_finite_level_tend_to_those_of_the_plan(name):
    """As 1 / level, or, for methods in log sigma, as 1 / log(level)."""
    for n, end in ((2, 1e-3), (3, 0.0), (10, 0.0)):
        plan, grid = ej.make_plan(ALL[name][0](), levels(n, end)), levels(n, end).sigmas[1:]
        decades = np.array([4.0, 6.0, 8.0])
        far = [first * (1 + grid[0]) for first in 10.0**decades]
        gaps = np.array([distance(plan, weights_from(name, first, grid)) for first in far])
        powers = gaps[2] < 1e-6
        logarithms = np.ptp(gaps * decades) < 0.3 * gaps[0] * decades[0]
        assert powers or logarithms, gaps
