"""Measures pairs of a sampler and a grid, by which the tables of `ej.recommend` were chosen.

    python docs/make/recommend.py [--nfe 5 6 8 10 ...] [--samples 256] [--best 5]

Every pair starts at `x0 + 80 n`, stops at sigma 0.002 and is compared there with 800 steps of the
classical Runge-Kutta method in log sigma, in float64 around the exact denoiser, on the problems of
`few_problems.choosing`. A figure is the pair's error over that of the best of DPM++(2M), `ipndm(3)`
and UniPC-3 on Karras 7, the RMS and the median over the samples. The problems are taken in three
classes, by their widest standard deviation over the mean one: below 1.3, up to 5.5, and above. For
each class and number of evaluations the pairs are ordered by the sum of the logarithms of their RMS
figures, where one above 1 counts three times and a median above 1 once more.

The starts are those of seed 1, which `bench_few.py` and `check_recommend.py` do not use.
"""

import argparse
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from few_problems import choosing, widths_of
from jax import lax

import edmjax as ej
from edmjax.few_steps.formula import ONE_SCALE, SEVERAL, UNKNOWN, Choice, samplers
from edmjax.few_steps.measured import BASELINES
from edmjax.few_steps.tuned import tuned

HIGH, LOW = 80.0, 0.002
SIGMA_DATA = {"P1": 0.70807922, "P2": 0.5, "P3": 0.54390235}
BUDGETS = (5, 6, 8, 10, 12, 15, 20, 25, 30, 40)
SLOPES = (
    *((0.07, 0.5, 1.0), (0.1, 0.5, 1.0), (0.2, 0.5, 1.0), (1 / 7, 0.3, 1.0), (1 / 7, 0.7, 1.0)),
    *((0.3, 0.7, 1.0), (0.3, 1.5, 1.0), (1 / 7, 0.7, 0.6), (0.3, 0.7, 0.6)),
)


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


def exact(problem: Any, x: Any, steps: int = 800) -> np.ndarray:
    """Where the flow takes `x` from 80 to 0.002: dx / dlog(sigma) = x - D(x, sigma)."""
    start, step = np.log(HIGH), np.log(LOW / HIGH) / steps

    def slope(x: Any, u: Any) -> Any:
        return x - problem.denoise(x, jnp.exp(u))

    def advance(i: Any, x: Any) -> Any:
        u = start + i * step
        a = slope(x, u)
        b = slope(x + step / 2 * a, u + step / 2)
        c = slope(x + step / 2 * b, u + step / 2)
        d = slope(x + step * c, u + step)
        return x + step / 6 * (a + 2 * b + 2 * c + d)

    return np.asarray(jax.jit(lambda x: lax.fori_loop(0, steps, advance, x))(x))


def starts(name: str, samples: int, seed: int) -> tuple[Any, np.ndarray, np.ndarray]:
    """The problem's jitted denoiser, starts at 80, and where they lead."""
    return starts_of(getattr(ej.problems, name)(), samples, seed)


def starts_of(problem: Any, samples: int, seed: int) -> tuple[Any, np.ndarray, np.ndarray]:
    x = np.asarray(problem.sample(jax.random.key(seed), samples, sigma=HIGH))
    return jax.jit(problem.denoise), x, exact(problem, x)


def errors(got: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Of each sample, the root mean square over its components."""
    return np.sqrt(np.mean((got - reference).reshape(len(got), -1) ** 2, axis=1))


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def known(nfe: int, low: float = LOW, high: float = HIGH) -> list[tuple[Any, Any]]:
    """DPM++(2M), `ipndm(3)` and UniPC-3 on Karras 7, which end at `low`."""
    return [choice.pair(nfe, low, high, 1.0, 1.0, False) for choice in BASELINES]


def pairs(nfe: int, width: float, spread: float) -> dict[str, tuple[Any, Any]]:
    """What is tried: every sampler on every law, those on Karras 10, and the tuned pair."""
    made = {"tuned": tuned(nfe, LOW, HIGH, width, False)}
    choices = [Choice(s, *law) for s, law in itertools.product(samplers(width), SLOPES)]
    for choice in choices + [choice._replace(below=0.1) for choice in BASELINES]:
        name = f"{choice.sampler} ({choice.below:.2f}, {choice.above:g}, {choice.mode:g})"
        made[name] = choice.pair(nfe, LOW, HIGH, width, spread, False)
    for choice in (Choice("ipndm(3)", 1 / 7, 0.3), Choice("unipc(3)", 0.1, 0.5)):
        name = f"{choice.sampler} ({choice.below:.2f}, {choice.above:g}), spread unknown"
        made[name] = choice.pair(nfe, LOW, HIGH, width, UNKNOWN * width, False)
    return made


def figures(problem: Any, samples: int, budgets: list[int]) -> dict[int, dict[str, Any]]:
    """nfe -> pair -> (RMS, median), each over the best of the known pairs."""
    width, spread = widths_of(problem)
    denoise, x, reference = starts_of(problem, samples, seed=1)

    def both(pair: tuple[Any, Any]) -> np.ndarray:
        found = errors(run(denoise, ej.make_plan(*pair), x), reference)
        return np.array([rms(found), np.median(found)])

    found = {}
    for nfe in budgets:
        least = np.min([both(pair) for pair in known(nfe)], axis=0)
        found[nfe] = {n: both(pair) / least for n, pair in pairs(nfe, width, spread).items()}
    return found


def score(of: list[np.ndarray]) -> float:
    """Low where the pair does well on all problems of a class; above 1 it counts more."""
    logs = np.log(np.array(of))
    return float(np.sum(logs[:, 0] + 2 * np.maximum(logs[:, 0], 0) + np.maximum(logs[:, 1], 0)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nfe", type=int, nargs="+", default=list(BUDGETS))
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--best", type=int, default=5)
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    problems = choosing()
    found = {}
    for name, problem in problems.items():
        found[name] = figures(problem, arguments.samples, sorted(arguments.nfe))
        print(name, flush=True)
    ratios = {n: spread / width for n in problems for width, spread in [widths_of(problems[n])]}
    limits = ((0.0, ONE_SCALE), (ONE_SCALE, SEVERAL), (SEVERAL, np.inf))
    for (low, high), nfe in itertools.product(limits, sorted(arguments.nfe)):
        names = [n for n in problems if low <= ratios[n] < high]
        of = {pair: [found[n][nfe][pair] for n in names] for pair in found[names[0]][nfe]}
        print(f"\n{nfe} evaluations, widest over mean from {low:g} to {high:g}: RMS | median")
        for pair in sorted(of, key=lambda pair: score(of[pair]))[: arguments.best]:
            columns = [" ".join(f"{f[i]:5.2f}" for f in of[pair]) for i in (0, 1)]
            print(f"  {score(of[pair]):6.1f}  {columns[0]} | {columns[1]}  {pair}")


if __name__ == "__main__":
    main()
