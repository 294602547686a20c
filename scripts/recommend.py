"""Measures samplers and grids on P1, P2 and P3, and prints the table behind `ej.recommend`.

    python scripts/recommend.py [--nfe 4 6 8 10 ...] [--samples 256] [--problems P1 P2 P3]

Every pair of `edmjax._recommend` starts at `x0 + 80 n`, stops at sigma 0.002 and is compared there
with Dopri8 at 1e-9, in float64 around the exact denoiser; P3 has half the samples. A pair's figure
is the smallest, over the problems, of the ratio of the RMS error of Heun's method on Karras 7 (in
half as many steps) to its own; the table has the pair with the largest. Paste what is printed last
into `edmjax/_recommend.py`.

The starts are those of seed 1, which `bench_few.py` does not use.
"""

import argparse
from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

import edmjax as ej
from edmjax._recommend import grids_for, pair, samplers_for

HIGH, LOW = 80.0, 0.002
HEUN = ("heun", "karras")
SIGMA_DATA = {"P1": 0.70807922, "P2": 0.5, "P3": 0.54390235}
BUDGETS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 40)


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
    return np.concatenate([np.asarray(many(part)) for part in np.array_split(x, len(x) // 128)])


def starts(name: str, samples: int, seed: int) -> tuple[Any, np.ndarray, np.ndarray]:
    """The problem's jitted denoiser, starts at 80, and where they lead."""
    problem = getattr(ej.problems, name)()
    x = np.asarray(problem.sample(jax.random.key(seed), samples, sigma=HIGH))
    return jax.jit(problem.denoise), x, exact(problem, x)


def errors(got: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Of each sample, the root mean square over its components."""
    return np.sqrt(np.mean((got - reference) ** 2, axis=1))


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def scan(name: str, samples: int, budgets: list[int]) -> dict[int, dict[tuple[str, str], float]]:
    """nfe -> (sampler, grid) -> RMS error."""
    width = SIGMA_DATA[name]
    denoise, x, reference = starts(name, samples, seed=1)
    found: dict[int, dict[tuple[str, str], float]] = {}
    for nfe in budgets:
        found[nfe] = {}
        for sampler in samplers_for(width):
            for grid in grids_for(LOW, HIGH, width):
                plan = ej.make_plan(*pair(sampler, grid, nfe, LOW, HIGH, width, False))
                assert plan.nfe == nfe
                found[nfe][sampler, grid] = rms(errors(run(denoise, plan, x), reference))
        karras = ej.schedules.karras(max(nfe // 2, 1) + 1, LOW, HIGH, final_zero=False)
        plan = ej.make_plan(ej.samplers.heun(), karras)
        found[nfe][HEUN] = rms(errors(run(denoise, plan, x), reference))
        best = min(found[nfe], key=found[nfe].__getitem__)
        print(f"{name} nfe {nfe:3}: best {found[nfe][best]:.2e} by {best}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nfe", type=int, nargs="+", default=list(BUDGETS))
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--problems", nargs="+", default=list(SIGMA_DATA), choices=SIGMA_DATA)
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    scans = {}
    for name in arguments.problems:
        samples = arguments.samples // (2 if name == "P3" else 1)
        scans[name] = scan(name, samples, sorted(arguments.nfe))
    rows = []
    for nfe in sorted(arguments.nfe):
        gain = {
            key: min(scan[nfe][HEUN] / scan[nfe][key] for scan in scans.values())
            for key in next(iter(scans.values()))[nfe]
            if key != HEUN
        }
        print(f"\nnfe {nfe}: how far below Heun's at least, and the errors")
        for key in sorted(gain, key=gain.__getitem__)[:-7:-1]:
            cells = "  ".join(f"{name} {scans[name][nfe][key]:.2e}" for name in scans)
            print(f"  {gain[key]:6.2f}  {cells}  {key[0]} on {key[1]}")
        rows.append((nfe, *max(gain, key=gain.__getitem__)))
    print("\nTABLE: tuple[tuple[int, str, str], ...] = (")
    for row in rows:
        print(f"    {row!r},".replace("'", '"') if "'" not in row[1] else f"    {row!r},")
    print(")")


if __name__ == "__main__":
    main()
