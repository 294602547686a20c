"""Compares `ej.recommend` with the best of three solvers on problems that no choice was made by.

    python checks/check_recommend.py [--nfe 5 6 8 10 12 15 20 25 30 40] [--samples 256]
    python checks/check_recommend.py --galaxies HSC_32 32     # a network of galaxygrad 0.1.9
    python checks/check_recommend.py --checkpoint runs/digits

Float64 around the exact denoiser, from `x0 + 80 n` to sigma 0.002, where 800 steps of Runge-Kutta
say what is right. A figure is an error over that of the best of DPM++(2M), `ipndm(3)` and UniPC-3
on Karras 7 with as many evaluations, the RMS and the median over the samples: first with `spread`,
then with the network and 64 noises of its own. A star marks an RMS above 1.25 (with `spread`) or
1.05 (with the network), or a median above 1.1 or 1.05, whose 95 % bootstrap interval lies above it.
The last rows are geometric means.

With --galaxies the denoiser is a network of `pip install --no-deps galaxygrad==0.1.9` (which needs
equinox and einops), with --checkpoint one that `edmjax train` made, without classes. The reference
is then 200 evaluations of UniPC-3, in float32. HSC_32 took part in the choice.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "docs" / "make"))

import jax
import jax.numpy as jnp
import numpy as np
from few_problems import reporting, widths_of
from recommend import HIGH, LOW, errors, exact, known, rms, run

import edmjax as ej
from edmjax.few_steps.formula import KARRAS
from edmjax.few_steps.measured import widths

NFE = (5, 6, 8, 10, 12, 15, 20, 25, 30, 40)
FORMS = {"spread": (1.25, 1.1), "network": (1.05, 1.05)}  # bounds of the RMS and of the median


class Case(NamedTuple):
    """A denoiser with starts, their right ends, noises to measure with, and the data's widths."""

    denoise: Callable[..., Any]
    low: float
    high: float
    x: np.ndarray
    ends: np.ndarray
    noises: np.ndarray
    width: float
    spread: float


def problems(samples: int) -> Iterator[tuple[str, Case]]:
    jax.config.update("jax_enable_x64", True)
    for name, problem in reporting().items():
        x = np.asarray(problem.sample(jax.random.key(7), samples, sigma=HIGH))
        noises = HIGH * np.random.default_rng(99).normal(size=(64, *x.shape[1:]))
        made = (problem.denoise, LOW, HIGH, x, exact(problem, x), noises, *widths_of(problem))
        yield name, Case(*made)


def galaxies(net: str, side: int, samples: int) -> Case:
    """A score network in the variance-preserving frame with beta = 1, as a denoiser."""
    from galaxygrad import scorenet

    score = getattr(scorenet, net)

    def denoise(x: Any, sigma: Any) -> Any:
        t, scale = jnp.log1p(sigma**2), 1 / jnp.sqrt(1 + sigma**2)
        of = jax.vmap(lambda y: score(y[None], t).reshape(y.shape))(scale * x)
        return x + scale * sigma**2 * of

    return _network(denoise, (side, side), 0.02, float(np.sqrt(np.exp(10) - 1)), samples)


def trained(path: str, samples: int) -> Case:
    """A network of `edmjax train`."""
    denoise, shape = ej.training.load_denoiser(path)
    return _network(denoise, shape, LOW, HIGH, samples)


def _network(
    denoise: Callable[..., Any], shape: tuple[int, ...], low: float, high: float, samples: int
) -> Case:
    rng = np.random.default_rng(7)
    x, noises = (high * rng.normal(size=(n, *shape)).astype(np.float32) for n in (samples, 64))
    fine = KARRAS._replace(sampler="unipc(3)").pair(200, low, high, 1.0, 1.0, False)
    ends = ends_of(jax.jit(denoise), ej.make_plan(*fine), x)
    return Case(denoise, low, high, x, ends, noises, *widths(ends.reshape(samples, -1), low))


def ends_of(denoise: Callable[..., Any], plan: ej.Plan, x: np.ndarray) -> np.ndarray:
    """Where a plan takes `x`, 32 samples at a time; the network is jitted, and runs in float32."""
    parts = np.array_split(x, max(len(x) // 32, 1))
    return np.concatenate([run(denoise, plan, part) for part in parts])


def pairs(case: Case, nfe: int, forms: list[str]) -> dict[str, list[Any]]:
    """The three baselines, and what each form of the call returns."""
    options = {
        "spread": {"sigma_data": case.width, "spread": case.spread},
        "network": {"denoise": case.denoise, "x": case.noises},
        "neither": {"sigma_data": case.width},
    }
    ends = {"sigma_min": case.low, "sigma_max": case.high, "final_zero": False}
    made = {form: [ej.recommend(nfe, **ends, **options[form])] for form in forms}
    return {"known": known(nfe, case.low, case.high)} | made


def report(name: str, case: Case, budgets: list[int], forms: list[str]) -> dict[str, list[float]]:
    """Prints the figures of one problem; form -> RMS figures."""
    denoise, found = jax.jit(case.denoise), {form: [] for form in forms}
    rows: dict[str, list[str]] = {form: [] for form in found}
    for nfe in budgets:
        made = {
            form: [errors(ends_of(denoise, ej.make_plan(*p), case.x), case.ends) for p in some]
            for form, some in pairs(case, nfe, forms).items()
        }
        for form in found:
            got, others = made[form][0], np.array(made["known"])
            ratios = [f(got) / min(map(f, others)) for f in (rms, np.median)]
            found[form].append(ratios[0])
            marks = [
                "*" if form in FORMS and _above(f, got, others, bound) else ""
                for f, bound in zip((rms, np.median), FORMS.get(form, (0, 0)), strict=True)
            ]
            rows[form].append(f"{ratios[0]:.2f}{marks[0]} / {ratios[1]:.2f}{marks[1]}")
    for form, cells in rows.items():
        mean = np.exp(np.mean(np.log(found[form])))
        print(f"| {name}, {form} | {' | '.join(cells)} | {mean:.2f} |", flush=True)
    return found


def _above(figure: Callable[..., Any], got: Any, others: np.ndarray, bound: float) -> bool:
    """Whether the 95 % bootstrap interval of the ratio lies above `bound`; samples are paired."""
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, len(got), size=(1000, len(got)))
    ratios = [figure(got[i]) / min(figure(row[i]) for row in others) for i in chosen]
    return bool(np.percentile(ratios, 2.5) > bound)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nfe", type=int, nargs="+", default=list(NFE))
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--forms", nargs="+", default=["spread", "network", "neither"])
    parser.add_argument("--galaxies", nargs=2, metavar=("NET", "SIDE"))
    parser.add_argument("--checkpoint", metavar="DIR")
    arguments = parser.parse_args()
    print(f"| problem | {' | '.join(map(str, arguments.nfe))} | mean |", flush=True)
    print(f"|---|{'---|' * (len(arguments.nfe) + 1)}", flush=True)
    how = (arguments.nfe, arguments.forms)
    if arguments.galaxies:
        net, side = arguments.galaxies
        report(net, galaxies(net, int(side), arguments.samples), *how)
        return
    if arguments.checkpoint:
        report("network", trained(arguments.checkpoint, arguments.samples), *how)
        return
    found = [report(name, case, *how) for name, case in problems(arguments.samples)]
    for form in found[0]:
        logs = np.log([one[form] for one in found])
        cells = " | ".join(f"{mean:.2f}" for mean in np.exp(logs.mean(axis=0)))
        print(f"| all, {form} | {cells} | {np.exp(logs.mean()):.2f} |", flush=True)


if __name__ == "__main__":
    main()
