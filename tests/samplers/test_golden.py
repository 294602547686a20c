"""Parity with k-diffusion: the same grid, noise and exact denoiser give the same sample.

`golden/` holds what k-diffusion 0.1.1 made of them in float64, on grids given in float64.
"""

import json
import pathlib

import numpy as np
import pytest

import edmjax as ej
from edmjax import samplers as s

GOLDEN = pathlib.Path(__file__).parents[1] / "support" / "golden"
PROBLEM = json.loads((GOLDEN / "problem.json").read_text())
KDIFFUSION = json.loads((GOLDEN / "kdiffusion.json").read_text())

INNER = {
    "sample_euler": s.euler,
    "sample_heun": s.heun,
    "sample_dpm_2": s.dpm_2,
    "sample_euler_ancestral": s.euler,
    "sample_dpm_2_ancestral": s.dpm_2,
}
CHURN = {"s_churn": "s_churn", "s_tmin": "s_min", "s_tmax": "s_max", "s_noise": "s_noise"}


def build(case):
    options = case["options"]
    if case["sampler"] == "sample_dpmpp_2m":
        return s.dpmpp_2m()
    inner = INNER[case["sampler"]]()
    if case["sampler"].endswith("ancestral"):
        return s.ancestral(inner, **options)
    return s.churn(inner, **{"s_churn": 0.0} | {CHURN[name]: v for name, v in options.items()})


def draws_of(plan, case):
    """k-diffusion's draw of a step is number `step` of the bank, made even where gamma is 0."""
    steps = []
    for j in range(plan.num_draws):
        row = int(np.argwhere((plan.draws == j).any(axis=1))[0, 0])
        # Ancestral noise ends a step, so it enters the point of the next one's first row.
        steps.append(plan.step[row - 1] if "ancestral" in case["sampler"] else plan.step[row])
    return np.array(PROBLEM["bank"])[steps] if steps else None


def tiers(cases):
    """Each algorithm with each set of options is quick on one grid, slow on the others."""
    seen = set()
    for case in cases:
        kind = case["id"].partition("@")[0]
        marks = [pytest.mark.slow] if kind in seen else []
        seen.add(kind)
        yield pytest.param(case, id=case["id"], marks=marks)


@pytest.mark.parametrize("case", list(tiers(KDIFFUSION["cases"])))
def test_k_diffusion(x64, case):
    problem = ej.problems.Mixture(PROBLEM["weights"], PROBLEM["means"], PROBLEM["std"] ** 2)
    grid = KDIFFUSION["grids"][case["grid"]]["sigmas"]
    plan = ej.make_plan(build(case), grid)
    assert plan.nfe == case["nfe"]
    x = np.array(PROBLEM["noise"]) * grid[0]
    got = ej.sample(problem, plan, x, noise=draws_of(plan, case))
    expected = np.array(case["x"])
    # An independent re-implementation agrees to 7e-13 with all of these.
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11 * np.abs(expected).max())
