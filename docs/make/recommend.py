"""Measures samplers and grids on sixteen problems, and what the table of `ej.recommend` holds.

    python docs/make/recommend.py [--nfe 4 6 8 10 ...] [--samples 512]

Every pair of `edmjax.few_steps` starts at `x0 + 80 n`, stops at sigma 0.002 and is compared there
with Dopri8 at 1e-9, in float64 around the exact denoiser: on P1, P2, P3 and those of
`few_problems.seen`. A figure is how many times an RMS error is below that of another solver of as
many evaluations on Karras 7, and a pair's score

    least(Heun; P1, P2, P3) * sqrt(least(DPM++(2M); all) * mean(DPM++(2M); all))

with the geometric mean. Printed are the pairs of the largest scores and the one in the table. The
best of one set of starts is not that of another, as few samples that end in another mode carry an
RMS error; the table has pairs near the best that hold for neighbouring numbers of evaluations, for
the problems of `few_problems.fresh` and for a network that was trained on MNIST (docs/few.md).

The starts are those of seed 1, which `bench_few.py` and `check_recommend.py` do not use.
"""

import argparse
import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from few_problems import seen, width_of

import edmjax as ej
from edmjax.few_steps import TABLE, grids_for, pair, samplers_for

HIGH, LOW = 80.0, 0.002
HEUN, KNOWN = "heun on karras", "dpmpp_2m on karras"
SIGMA_DATA = {"P1": 0.70807922, "P2": 0.5, "P3": 0.54390235}
BUDGETS = (1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 15, 18, 20, 25, 30, 40)


def run(denoise: Callable[..., Any], plan: ej.Plan, x: np.ndarray) -> np.ndarray:
    """The rows of a plan in NumPy: no compilation a plan."""
    points, outputs = [x], []
    for k in range(plan.nfe + 1):
        point = np.zeros_like(x)
        for weights, vectors in ((plan.y, points), (plan.d, outputs)):
            for j in np.flatnonzero(weights[k]):
                point += weights[k, j] * vectors[-1 - j]
        points.append(point)
        if k < plan.nfe:
            outputs.append(np.asarray(denoise(point, plan.sigmas[k])))
    return points[-1]


def exact(problem: Any, x: Any) -> np.ndarray:
    """Where the flow takes `x` from 80 to 0.002, each sample with steps of its own."""

    def solve(x):
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, x, _: x - problem(x, jnp.exp(t))),
            diffrax.Dopri8(),
            float(np.log(HIGH)),
            float(np.log(LOW)),
            None,
            x,
            stepsize_controller=diffrax.PIDController(rtol=1e-9, atol=1e-9),
            max_steps=4096,
        )
        assert solution.ys is not None
        return solution.ys[0]

    many = jax.jit(jax.vmap(solve))
    return np.concatenate(
        [np.asarray(many(part)) for part in np.array_split(x, math.ceil(len(x) / 128))]
    )


def starts(name: str, samples: int, seed: int) -> tuple[Any, np.ndarray, np.ndarray]:
    """The problem's jitted denoiser, starts at 80, and where they lead."""
    return starts_of(getattr(ej.problems, name)(), samples, seed)


def starts_of(problem: Any, samples: int, seed: int) -> tuple[Any, np.ndarray, np.ndarray]:
    x = np.asarray(problem.sample(jax.random.key(seed), samples, sigma=HIGH))
    return jax.jit(problem.denoise), x, exact(problem, x)


def errors(got: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Of each sample, the root mean square over its components."""
    return np.sqrt(np.mean((got - reference) ** 2, axis=1))


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def scan(problem: Any, width: float, samples: int, nfe: list[int]) -> dict[int, dict[str, float]]:
    """nfe -> "sampler on grid" -> RMS error."""
    denoise, x, reference = starts_of(problem, samples, seed=1)
    karras = functools.partial(ej.schedules.karras, sigma_min=LOW, sigma_max=HIGH, final_zero=False)
    found = {}
    for n in nfe:
        pairs = {
            HEUN: (ej.samplers.heun(), karras(max(n // 2, 1) + 1)),
            KNOWN: (ej.samplers.dpmpp_2m(), karras(n + 1)),
        }
        for sampler, grid in itertools.product(samplers_for(width), grids_for(LOW, HIGH, width)):
            pairs[f"{sampler} on {grid}"] = pair(sampler, grid, n, LOW, HIGH, width, False)
        found[n] = {
            name: rms(errors(run(denoise, ej.make_plan(*made), x), reference))
            for name, made in pairs.items()
        }
    return found


def scores(errors_at: dict[str, dict[str, float]]) -> dict[str, tuple[float, ...]]:
    """Of each pair, by problem -> pair -> error: the score and the three figures in it."""
    found = {}
    for name in errors_at["P1"].keys() - {HEUN, KNOWN}:
        heun = min(errors_at[problem][HEUN] / errors_at[problem][name] for problem in SIGMA_DATA)
        known = [of[KNOWN] / of[name] for of in errors_at.values()]
        least, mean = min(known), float(np.exp(np.mean(np.log(known))))
        found[name] = (heun * math.sqrt(least * mean), heun, least, mean)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nfe", type=int, nargs="+", default=list(BUDGETS))
    parser.add_argument("--samples", type=int, default=512)
    arguments = parser.parse_args()
    budgets = sorted(arguments.nfe)
    jax.config.update("jax_enable_x64", True)
    problems = {name: (getattr(ej.problems, name)(), SIGMA_DATA[name]) for name in SIGMA_DATA}
    problems |= {name: (problem, width_of(problem)) for name, problem in seen().items()}
    scans = {}
    for name, (problem, width) in problems.items():
        scans[name] = scan(problem, width, arguments.samples, budgets)
        print(name, flush=True)

    for nfe in budgets:
        found = scores({name: scan[nfe] for name, scan in scans.items()})
        order = sorted(found, key=lambda name: (-found[name][0], name))
        _, sampler, grid = max(row for row in TABLE if row[0] <= nfe)
        print(f"\nnfe {nfe}: score; below Heun at least; below DPM++(2M) at least, in the mean")
        for label, names in (("", order[:6]), ("  (in the table)", [f"{sampler} on {grid}"])):
            for name in names:
                figures = "  ".join(f"{figure:7.2f}" for figure in found[name])
                print(f"  {order.index(name) + 1:3}. {figures}  {name}{label}")


if __name__ == "__main__":
    main()
