"""What a sampler is compared with: golden numbers of other packages, and the papers' algorithms.

A `Parity` holds runs; a run is a grid, a start, the draws and the sample that they must lead to.
Everything is float64 in NumPy. The error is relative to the largest entry of the sample.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import edmjax as ej
from support.cases import MIXTURE, Mixture, golden, golden_problem
from support.orders import run, start


@dataclasses.dataclass(frozen=True)
class Run:
    """`noise(plan)` is the draws in the order of the plan; `nfe` what the other side counted."""

    denoise: Callable
    grid: Any
    x: Any
    expected: Any
    noise: Callable
    nfe: int | None = None

    def error(self, sampler) -> float:
        plan = ej.make_plan(sampler, self.grid)
        if self.nfe is not None and plan.nfe != self.nfe:
            return math.inf
        got = run(self.denoise, plan, self.x, self.noise(plan))
        return float(np.max(np.abs(got - self.expected)) / np.max(np.abs(self.expected)))


@dataclasses.dataclass(frozen=True)
class Parity:
    """The worst relative error of a sampler over `runs()`, and how large it may be."""

    against: str
    runs: Callable[[], Sequence[Run]]
    tolerance: float = 1e-11

    def error(self, sampler) -> float:
        return max(one.error(sampler) for one in self.runs())

    def holds(self, sampler) -> bool:
        """Whether all runs are within the tolerance; it stops at the first that is not."""
        return all(one.error(sampler) <= self.tolerance for one in self.runs())


# ---- the papers


@functools.cache
def grids():
    """Levels of 1, 2, 3, 9 and 16 steps, to zero and above it."""
    down = [ej.schedules.karras(n, 0.05, 10.0) for n in (1, 2, 3, 9, 16)]
    above = [ej.schedules.karras(n + 1, 0.05, 10.0, final_zero=False) for n in (1, 2, 3, 9, 16)]
    return [*down, *above]


@functools.cache
def _draws():
    return np.random.default_rng(11).normal(size=(80, 16, 2))


def _clipped(x, sigma):
    """A pair: x0 clipped, and raw."""
    raw = Mixture(**MIXTURE).denoise(x, sigma)
    return np.clip(raw, -0.4, 0.4), raw


def paper(algorithm, *options, tolerance=1e-11, on=grids, raw=False, **named):
    """Parity with `algorithm(denoise, x, t, [noise,] *options)` on the mixture of the tests; with
    `raw`, around a denoiser of two outputs."""
    denoise = _clipped if raw else Mixture(**MIXTURE).denoise
    takes_noise = algorithm.__code__.co_varnames[3:4] == ("noise",)

    @functools.cache
    def runs():
        made = []
        for grid in on():
            x, noise = start(grid[0], (16, 2), 3), _draws()
            drawn = [noise] if takes_noise else []
            expected = algorithm(denoise, x, grid, *drawn, *options, **named)
            made.append(Run(denoise, grid, x, expected, lambda plan: _draws()))
        return made

    return Parity("paper", runs, tolerance)


# ---- golden numbers


def _in_order(plan):
    return golden_problem()[2]


def _of_the_step(plan, ends_step):
    """Draw i of the bank belongs to step i, whether the plan uses it or not. Noise that ends a step
    enters the point of the next one's first row."""
    first = [int(np.argwhere((plan.draws == j).any(axis=1))[0, 0]) for j in range(plan.num_draws)]
    return golden_problem()[2][[plan.step[row - 1 if ends_step else row] for row in first]]


def _golden(against, cases, tolerance=1e-11):
    """`cases()` lists (case, grid, start of noise, scale at the end, draws, sample)."""

    @functools.cache
    def runs():
        problem, noise, _ = golden_problem()
        made = [
            Run(problem.denoise, np.array(grid), noise * at, np.array(x) * end, draws, case["nfe"])
            for case, grid, at, end, draws, x in cases()
        ]
        assert made, "no golden case has these options"
        return made

    return Parity(against, runs, tolerance)


def k_diffusion(sampler, key="x", **options):
    """The cases of a function of k-diffusion with exactly these options, on its four grids."""
    ancestral = "ancestral" in sampler
    draws = functools.partial(_of_the_step, ends_step=ancestral)

    def cases():
        churned = [
            (case, golden("kdiffusion")["grids"][case["grid"]]["sigmas"], draws)
            for case in golden("kdiffusion")["cases"]
        ]
        flow = [
            (case, golden("dpm")["grids"][case["grid"]], draws)
            for case in golden("dpm")["kdiffusion"]
        ]
        sde = [
            (case, golden("kdiffusion")["grids"][case["grid"]]["sigmas"], _in_order)
            for case in golden("sde")["kdiffusion"]
        ]
        return [
            (case, grid, grid[0], 1.0, drawn, case[key])
            for case, grid, drawn in [*churned, *flow, *sde]
            if case["sampler"] == sampler and case["options"] == options and key in case
        ]

    return _golden("k-diffusion", cases)


def k_diffusion_lms(order):
    def cases():
        return [
            (case, case["sigmas"], case["sigmas"][0], 1.0, _in_order, case["x"])
            for case in golden("multistep")["cases"]
            if case["scheduler"] == "sample_lms" and case["config"]["order"] == order
        ]

    return _golden("k-diffusion", cases)


def k_diffusion_fast(rest, eta):
    """`sample_dpm_fast` of 80 to 0.002, with `nfe % 3 == rest`."""

    def cases():
        return [
            (
                case,
                ej.schedules.dpm_fast(case["n"], 0.002, 80.0),
                80.0,
                1.0,
                functools.partial(_of_the_step, ends_step=True),
                case["x"],
            )
            for case in golden("dpm")["dpm_fast"]
            if case["n"] % 3 == rest and case["eta"] == eta
        ]

    return _golden("k-diffusion", cases)


def doubled_3m():
    """k-diffusion's third-order sampler without noise, its second difference doubled."""

    def cases():
        grids = golden("dpm")["grids"]
        found = []
        for case in golden("dpm")["d2_doubled"]:
            grid = grids[case["grid"]]
            found.append(({"nfe": len(grid) - 1}, grid, grid[0], 1.0, _in_order, case["x"]))
        return found

    return _golden("k-diffusion (doubled)", cases)


def diffusers_dpm(scheduler, options):
    """Classes of diffusers for the flow; it keeps levels as alpha and sigma: logarithms of both."""

    def cases():
        found = []
        for case in golden("dpm")["diffusers"]:
            if case["class"] == scheduler and case["options"] == options:
                grid = np.array(case["sigmas"])
                unit = (
                    np.sqrt(1 + grid**2) if case["space"].startswith("vp") else np.ones_like(grid)
                )
                at = case["init_scale"] * unit[0]
                found.append((case, grid, at, unit[-1], _in_order, case["x"]))
        return found

    return _golden("diffusers", cases, 1e-10)


def diffusers_sde(**config):
    def cases():
        return [
            (
                case,
                case["sigmas"],
                case["init_scale"]
                * (np.sqrt(1 + case["sigmas"][0] ** 2) if case["space"] == "vp_sigma" else 1.0),
                1.0,
                _in_order,
                case["x_f64"],
            )
            for case in golden("sde")["diffusers"]
            if case["config"].get("solver_type", "midpoint") == config["solver_type"]
        ]

    return _golden("diffusers", cases)


def diffusers_ancestral():
    def cases():
        draws = functools.partial(_of_the_step, ends_step=True)
        return [
            (case, case["sigmas"], case["init_scale"], 1.0, draws, case["x_f64"])
            for case in golden("sde")["euler_ancestral"]
        ]

    return _golden("diffusers", cases)


def diffusers_ddim(scheduler, eta):
    def cases():
        return [
            (case, case["sigmas"], np.sqrt(1 + case["sigmas"][0] ** 2), 1.0, _in_order, case["x"])
            for case in golden("ddim")["cases"]
            if case["scheduler"] == scheduler and case["eta"] == eta
        ]

    return _golden("diffusers", cases)


def diffusers_multistep(scheduler, *configs):
    """`x / sqrt(1 + sigma^2)` is held, but by LMSDiscrete, which starts from `noise * sigma`."""

    def cases():
        found = []
        for case in golden("multistep")["cases"]:
            if case["scheduler"] == scheduler and case["config"] in configs:
                grid = np.array(case["sigmas"])
                one = scheduler == "LMSDiscreteScheduler"
                unit = np.ones_like(grid) if one else np.sqrt(1 + grid**2)
                at = grid[0] if one else unit[0]
                found.append((case, grid, at, unit[-1], _in_order, case["x"]))
        return found

    return _golden("diffusers", cases)


BETAS = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
TABLE = np.sqrt(1 / np.cumprod(1 - BETAS) - 1)


class Discrete:
    """A process whose times are the rows of diffusers' table of levels."""

    @staticmethod
    def time(sigma):
        return np.interp(sigma, TABLE, np.arange(1000.0))

    @staticmethod
    def sigma(time):
        return np.interp(time, np.arange(1000.0), TABLE)


def diffusers_pndm(runge_kutta):
    """It lists the times of inner evaluations too. Without `set_alpha_to_one` its last step goes
    nowhere, from the level of t = 0 to itself."""

    def cases():
        found = []
        for case in golden("multistep")["cases"]:
            config = case["config"]
            if case["scheduler"] != "PNDMScheduler" or config["skip_prk_steps"] == runge_kutta:
                continue
            to_zero = config.get("set_alpha_to_one", False)
            times = sorted(set(case["timesteps"]), reverse=True)
            if runge_kutta:
                times = times[0:6:2] + times[6:]  # the first three steps have a middle
            grid = np.array([*TABLE[times], *([0.0] if to_zero else [])])
            unit = np.sqrt(1 + grid**2)
            counted = {"nfe": case["nfe"] - (not to_zero)}
            found.append((counted, grid, unit[0], unit[-1], _in_order, case["x"]))
        return found

    return _golden("diffusers", cases)


def diffusers_ipndm():
    """It starts at alpha = 0, an infinite level, where it takes x0 for 0 whatever the network says:
    any high level and a denoiser that says so do the same."""
    high = 1e3

    @functools.cache
    def runs():
        problem, noise, _ = golden_problem()

        def denoise(x, sigma):
            return 0.0 * x if sigma == high else problem.denoise(x, sigma)

        made = []
        for case in golden("multistep")["cases"]:
            if case["scheduler"] == "IPNDMScheduler":
                alphas, betas = np.array(case["alphas_betas"])
                grid = [high, *(betas[1:] / alphas[1:])]
                x = np.array(case["x"])
                made.append(Run(denoise, grid, noise * high, x, _in_order, case["nfe"]))
        return made

    return Parity("diffusers", runs)
