"""Random plans against the exact law on Gaussian data; exits 1 where one fails.

    python checks/soak.py                       # 10,000 plans in NumPy, 300 of them with samples
    python checks/soak.py --plans 200 --samples 20 --seed 1

A plan is a random sampler, with random options and perhaps inside `churn`, `ancestral` or
`restart`, over a random schedule of 1 to 40 steps. Around the denoiser of N(0.4, 0.7^2), which is
affine, what it makes is an affine function of its start and its draws.

In NumPy: every weight is finite; every point of a plan reproduces a constant, where the sampler
does; and the plan, run on starts and draws, is the affine function that the recursion of
`tests/support/laws.py` gives, to 1e-9 of the largest number on the way. With samples: `ej.sweep`
draws with each plan, and their mean and variance are compared with the recursion's, as z-scores.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import jax
import numpy as np
from support.laws import recursion

import edmjax as ej

MEAN, VARIANCE, START = 0.4, 0.49, 80.0
ONE_STEP = [
    "euler()",
    "heun()",
    "midpoint()",
    "dpm_2()",
    "heunpp2()",
    "exp_heun()",
    "res_2s(c2={u:.3f})",
    "res_3s(c2={u:.3f})",
    "dpmpp_2s(r={u:.3f})",
    "dpm_solver({three})",
]
HISTORY = [
    "lms({four})",
    "ipndm({four})",
    "ipndm_v({four})",
    "deis({three})",
    "unipc({three}, '{bh}')",
    "dpmpp_2m()",
    "dpmpp_3m()",
    "dpmpp_singlestep({three})",
    "res_multistep()",
    "pndm()",
    "gradient_estimation({one:.3f})",
    "dpm_solver({three}, 'multistep')",
    "dpmpp_2m('heun')",
    "unipc({three}, predict='eps')",
]
NOISY = [
    "ddim({u:.3f})",
    "ddpm()",
    "euler_maruyama(eta={one:.3f})",
    "dpmpp_sde({u:.3f}, r={u:.3f})",
    "er_sde({three})",
    "dpmpp_2m_sde({one:.3f}, solver_type='{kind}')",
    "dpmpp_3m_sde({one:.3f})",
    "seeds_2({u:.3f})",
    "seeds_3({u:.3f})",
    "sa_solver({three}, {four}, eta={one:.3f})",
    "dpmpp_sde(noise='independent')",
]
WRAPPED = [
    "churn({inner}, {churn:.3f}, {low:.3f}, {high:.3f}, {noise:.4f})",
    "ancestral({inner}, {u:.3f})",
    "restart({inner}, [({low:.3f}, {high:.3f}, {four}, {three})])",
]
# The methods in the network's own output hold a Gaussian around zero, and not a constant.
OWN = ("f_ab({three})", "f_pc({two})", "f_rk({f_rk})", "f_trig({flag})")
SCHEDULES = [
    "karras({n}, {tiny:.4g}, {top}, {rho:.3f})",
    "exponential({n}, {tiny:.4g}, {top})",
    "polyexponential({n}, {tiny:.4g}, {top}, {one:.3f})",
    "linear({n}, {tiny:.4g}, {top})",
    "kl_optimal({n}, {tiny:.4g}, {top})",
    "theta({n}, {tiny:.4g}, {top})",
]


def random_plan(rng: np.random.Generator, top: str | None = None) -> tuple[str, str]:
    """The text of a sampler and of a schedule."""
    low = rng.uniform(0.05, 1.0)
    options: dict[str, Any] = {
        "u": rng.uniform(0.05, 0.95),
        "one": rng.uniform(0.5, 1.5),
        "two": rng.integers(1, 3),
        "three": rng.integers(1, 4),
        "four": rng.integers(1, 5),
        "f_rk": rng.integers(2, 5),
        "flag": rng.choice([True, False]),
        "bh": rng.choice(["bh1", "bh2"]),
        "kind": rng.choice(["midpoint", "heun"]),
        "churn": rng.uniform(0, 40),
        "low": low,
        "high": low + rng.uniform(1, 30),
        "noise": rng.uniform(0.98, 1.02),
        "n": rng.integers(1, 41),
        "tiny": 10 ** rng.uniform(-3, -1),
        "top": top or f"{10 ** rng.uniform(0.3, 3):.4g}",
        "rho": rng.uniform(1, 10),
    }
    families = (ONE_STEP, HISTORY, NOISY, WRAPPED, OWN)
    chosen = families[rng.choice(len(families), p=[0.25, 0.25, 0.25, 0.2, 0.05])]
    inner = [*ONE_STEP, *HISTORY][rng.integers(len(ONE_STEP) + len(HISTORY))]
    options["inner"] = "s." + inner.format(**options)
    sampler = chosen[rng.integers(len(chosen))].format(**options)
    schedule = SCHEDULES[rng.integers(len(SCHEDULES))].format(**options)
    above = "" if rng.random() < 0.8 or options["n"] == 1 else ", final_zero=False"
    return f"s.{sampler}", f"c.{schedule[:-1]}{above})"


def make(sampler: str, schedule: str) -> ej.Plan:
    names = {"s": ej.samplers, "c": ej.schedules}
    return ej.make_plan(eval(sampler, names), eval(schedule, names))


def run(plan: ej.Plan, x: np.ndarray, draws: np.ndarray, denoise: Any) -> tuple[np.ndarray, float]:
    """What the plan makes of `x`, and the largest number on the way."""
    points, outputs, largest = [x], [], np.abs(x).max()
    d = plan.d if plan.r is None else plan.d + plan.r
    for k in range(plan.nfe + 1):
        new = np.zeros_like(x)
        for weights, vectors in ((plan.y[k], points), (d[k], outputs)):
            for j in np.flatnonzero(weights):
                term = weights[j] * vectors[-1 - j]
                new, largest = new + term, max(largest, np.abs(term).max())
        for weight, j in zip(plan.z[k], plan.draws[k], strict=True):
            if j >= 0:
                new = new + weight * draws[j]
        points.append(new)
        if k < plan.nfe:
            outputs.append(denoise(new, plan.sigmas[k]))
    return points[-1], largest


def fault(sampler: str, plan: ej.Plan, rng: np.random.Generator) -> str:
    """What is wrong with a plan; empty where nothing is."""
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(plan)):
        return "a weight is not finite"

    def exact(x: np.ndarray, sigma: float) -> np.ndarray:
        return MEAN + VARIANCE / (VARIANCE + sigma**2) * (x - MEAN)

    size = float(plan.grid[0])
    if not sampler.startswith("s.f_"):
        still = np.zeros((plan.num_draws, 1))
        got, largest = run(plan, np.full(1, 3.0), still, lambda x, sigma: np.full(1, 3.0))
        if not abs(got[0] - 3.0) <= 1e-10 * largest:
            return f"a constant of 3 becomes {got[0]}"
    x, draws = size * rng.normal(size=4), rng.normal(size=(plan.num_draws, 4))
    got, largest = run(plan, x, draws, exact)
    # The affine function by its columns: what it makes of 0, of the start, of each draw alone.
    unit = np.eye(2 + plan.num_draws)
    columns, _ = run(plan, size * unit[1], unit[2:], exact)
    shift, slopes = columns[0], columns[1:] - columns[0]
    mean, variance = recursion(plan, MEAN, VARIANCE, size, 0.0)
    combined = shift + slopes[0] * x / size + slopes[1:] @ draws
    total = np.sum(slopes**2)
    for name, one, other, scale in (
        ("sample", combined, got, largest),
        ("mean", shift, mean, largest),
        ("variance", total, variance, max(largest, size) ** 2 + variance),
    ):
        if not np.all(np.abs(one - other) <= 1e-9 * scale):
            return f"its {name} is {other}, by the affine function {one}"
    return ""


def z_scores(plans: Sequence[ej.Plan], num_samples: int, seed: int) -> np.ndarray:
    """z of the mean and of the variance of each plan's samples, drawn by `sweep`; (plans, 2)."""
    start, steps = jax.random.split(jax.random.key(seed))
    x = START * jax.random.normal(start, (num_samples, 1))
    problem = ej.problems.Gaussian([MEAN], VARIANCE)
    found = []
    for plan, x0 in zip(plans, ej.sweep(problem, list(plans), x, steps), strict=True):
        values = np.asarray(x0, np.float64)
        mean, variance = recursion(plan, MEAN, VARIANCE, START)
        by_mean = (values.mean() - mean) / np.sqrt(variance / num_samples)
        # The variance of n normal values has the standard deviation variance * sqrt(2 / n).
        by_variance = (((values - mean) ** 2).mean() / variance - 1) / np.sqrt(2 / num_samples)
        found.append((by_mean, by_variance))
    return np.array(found)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--plans", type=int, default=10_000, help="plans in NumPy")
    parser.add_argument("--samples", type=int, default=300, help="plans with samples")
    parser.add_argument("--batch", type=int, default=4096, help="samples of each of those")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    rng, began, faults, evaluations = np.random.default_rng(args.seed), time.time(), [], 0
    for number in range(args.plans):
        sampler, schedule = random_plan(rng)
        plan = make(sampler, schedule)
        evaluations += plan.nfe
        wrong = fault(sampler, plan, rng)
        if wrong:
            faults.append(f"{sampler} over {schedule}: {wrong}")
            print(faults[-1], flush=True)
        if (number + 1) % 1000 == 0:
            print(
                f"{number + 1} plans, {len(faults)} faults, {time.time() - began:.0f} s", flush=True
            )
    print(f"{args.plans} plans of {evaluations} evaluations: {len(faults)} faults")
    names = [random_plan(rng, "80.0") for _ in range(args.samples)]
    bad = 0
    if names:
        z = z_scores([make(*name) for name in names], args.batch, args.seed)
        worst = np.nanargmax(np.abs(z).max(axis=1))
        bad = int((~(np.abs(z) < 5)).any(axis=1).sum())
        print(
            f"{len(names)} plans with {args.batch} samples each: largest |z| {np.abs(z).max():.2f} "
            f"({' over '.join(names[worst])}), root mean square {np.sqrt((z**2).mean()):.3f}, "
            f"{bad} of 5 or more"
        )
    return int(bool(faults) or bad > 0)


if __name__ == "__main__":
    sys.exit(main())
