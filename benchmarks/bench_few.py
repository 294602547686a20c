"""Prints what few evaluations reach on P1, P2 and P3: Heun, DPM++(2M), `ej.recommend`, diffrax.

    python benchmarks/bench_few.py [--samples 4096] [--problems P1 P2 P3] [--learned] [--no-diffrax]

Float64 around the exact denoiser; every solver starts at `x0 + 80 n`, stops at sigma 0.002, and is
compared there with Dopri8 at 1e-9. An error is that of a sample, the root mean square over its
components: of all samples the root mean square with its 95 % bootstrap interval, the median, and
the share that ends further than a quarter of sigma_data away. P3 has a quarter of the samples.

`recommended` knows of the problem its sigma_data and its spread, or measures. With --choose also
the best of several samplers on the grids of `edmjax.few_steps`, made for five times sigma_data, in
the coordinates of `gaussian_split` too: of all on 512 starts of another seed, and of the 16 best
there on 2,048 more. With --learned also the plan of `ej.learning.fit_plan`, with its defaults,
fitted to --noises starts of another seed. Diffrax takes steps for the whole batch (its own norm):
the best run of Bosh3, Tsit5, Dopri5 and Dopri8, with tolerances from 1 to 1e-4, that needs at most
as many evaluations, those of rejected steps included; in sigma or log sigma, and in theta.
"""

import argparse
import sys
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "docs" / "make"))

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from few_problems import widths_of
from recommend import HIGH, LOW, SIGMA_DATA, errors, rms, run, starts

import edmjax as ej
from edmjax.few_steps.tuned import grids_for, samplers_for

SOLVERS = {name: getattr(diffrax, name) for name in ("Bosh3", "Tsit5", "Dopri5", "Dopri8")}
TOLERANCES = 10.0 ** np.arange(0, -4.1, -0.5)


class Method(NamedTuple):
    """A plan, and the coordinates in which it runs."""

    name: str
    plan: ej.Plan
    split: Any = None

    def run(self, problem: Any, denoise: Any, x: np.ndarray) -> np.ndarray:
        if self.split is None:
            return run(denoise, self.plan, x)
        inner = jax.jit(self.split(problem))
        z = run(inner, self.plan, np.asarray(self.split.enter(x, HIGH)))
        return np.asarray(self.split.leave(z, LOW))


def karras(nfe: int) -> list[Method]:
    """Heun, in half as many whole steps, and DPM++(2M), on Karras 7."""
    heun = ej.schedules.karras(nfe // 2 + 1, LOW, HIGH, final_zero=False)
    dpmpp = ej.schedules.karras(nfe + 1, LOW, HIGH, final_zero=False)
    return [
        Method("heun on karras", ej.make_plan(ej.samplers.heun(), heun)),
        Method("dpmpp_2m on karras", ej.make_plan(ej.samplers.dpmpp_2m(), dpmpp)),
    ]


def recommended(problem: Any, nfe: int) -> list[Method]:
    """With the widths of the data, and with the denoiser and 64 starts of a seed of its own."""
    width, spread = widths_of(problem)
    ends = {"sigma_min": LOW, "sigma_max": HIGH, "final_zero": False}
    x = problem.sample(jax.random.key(99), 64, sigma=HIGH)
    pairs = {
        "recommended": ej.recommend(nfe, sigma_data=width, spread=spread, **ends),
        "recommended, measured": ej.recommend(nfe, denoise=problem, x=x, **ends),
    }
    return [Method(name, ej.make_plan(*pair)) for name, pair in pairs.items()]


def split_of(problem: Any, width: float) -> Any:
    """Coordinates in which the data have the mean 0 and a round covariance."""
    x = np.asarray(problem.sample(jax.random.key(3), 20_000))
    return ej.samplers.gaussian_split(x.mean(axis=0), np.cov(x.T), width)


def learned(problem: Any, nfe: int, noises: int) -> Method:
    """The plan that is fitted to starts of the seed for choosing; where they lead it finds out."""
    x = problem.sample(jax.random.key(1), noises, sigma=HIGH)
    plan = ej.learning.fit_plan(
        problem, nfe, x, jax.random.key(0), sigma_min=LOW, sigma_max=HIGH, final_zero=False
    )
    print(f"  {plan.about.fitted_on}", flush=True)
    return Method("learned plan", plan)


def candidates(problem: Any, nfe: int, width: float) -> list[Method]:
    known = samplers_for(width)
    samplers = {
        **{n: known[n] for n in ("f_trig()", "f_trig(above=0.3)", "unipc(2)", "unipc(3)")},
        "f_ab(2)": ej.samplers.f_ab(2, sigma_data=width),
        "f_pc(2, 'sigma^(1/7)')": ej.samplers.f_pc(2, "sigma^(1/7)", sigma_data=width),
        "ipndm": ej.samplers.ipndm(3),
    }
    found = []
    for split in (None, split_of(problem, width)):
        for share in (0.6, 0.8, 1, 1.25, 1.6):
            for grid, make in grids_for(LOW, HIGH, share * width).items():
                for name, sampler in samplers.items():
                    if split is None or not name.startswith("unipc"):
                        plan = ej.make_plan(sampler, make(nfe + 1))
                        label = f"{name} on {grid} of {share} sigma_data{' split' if split else ''}"
                        found.append(Method(label, plan, split))
    return found


def choose(problem: Any, methods: list[Method], width: float) -> Method:
    """The one of the smallest RMS error on other starts, whose ends are those of 192 steps."""
    fine = ej.schedules.logistic(193, LOW, HIGH, scale=1.6, sigma_data=width, final_zero=False)
    denoise = jax.jit(problem.denoise)
    inner = {id(m.split): jax.jit(m.split(problem)) for m in methods if m.split}  # compiled once
    for samples, kept in ((512, 16), (2048, 1)):
        x = np.asarray(problem.sample(jax.random.key(samples), samples, sigma=HIGH))
        reference = run(denoise, ej.make_plan(ej.samplers.unipc(3), fine), x)

        def error(method, x=x, reference=reference):
            if method.split is None:
                return rms(errors(run(denoise, method.plan, x), reference))
            z = run(inner[id(method.split)], method.plan, np.asarray(method.split.enter(x, HIGH)))
            return rms(errors(np.asarray(method.split.leave(z, LOW)), reference))

        methods = sorted(methods, key=error)[:kept]
    return methods[0]


def report(name: str, nfe: Any, values: np.ndarray, width: float) -> float:
    draws = np.random.default_rng(0).integers(len(values), size=(1000, len(values)))
    low, high = np.quantile(np.sqrt(np.mean(values[draws] ** 2, axis=1)), (0.025, 0.975))
    far = np.mean(values > width / 4)
    print(
        f"  {nfe:3} {rms(values):.2e} [{low:.2e}, {high:.2e}]  median {np.median(values):.2e}  "
        f"far {100 * far:5.2f} %  {name}",
        flush=True,
    )
    return rms(values)


def adaptive_runs(
    problem: Any, form: str, width: float, most: int, x: Any
) -> list[tuple[Any, ...]]:
    """(solver, tolerance, evaluations, samples) of diffrax's runs of at most `most` evaluations."""
    made = ej.terms.make_form(form, sigma_data=width if form == "theta" else None)
    times = made.times(np.array([HIGH, LOW]), x)
    term = ej.terms.ode_term(problem, form=made)
    found = []
    for name, make in SOLVERS.items():
        solver = make()
        stages = solver.tableau.num_stages - 1

        @jax.jit
        def solve(y, tolerance, solver=solver, stages=stages):
            solution = diffrax.diffeqsolve(
                term,
                solver,
                times[0],
                times[-1],
                None,
                y,
                stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
                max_steps=(most - 1) // stages,
                throw=False,
            )
            done = solution.result == diffrax.RESULTS.successful
            assert solution.ys is not None
            return solution.ys[0], 1 + solution.stats["num_steps"] * stages, done

        if (most - 1) // stages < 1:
            continue
        for tolerance in TOLERANCES:
            y, nfe, done = solve(made.enter(x, HIGH), tolerance)
            if done and np.isfinite(y).all():
                found.append((name, tolerance, int(nfe), np.asarray(made.leave(y, LOW))))
    return found


def best_adaptive(problem: Any, width: float, most: int, data: tuple[Any, Any, Any]) -> None:
    _, x, reference = data
    for forms in (("sigma", "log_sigma"), ("theta",)):
        rows = []
        for form in forms:
            for name, tolerance, nfe, got in adaptive_runs(
                problem, form, width, most, jnp.asarray(x)
            ):
                label = f"diffrax {name} in {form}, tolerance {tolerance:.0e}"
                rows.append((errors(got, reference), nfe, label))
        if not rows:
            print(f"  {most:3} no run of diffrax in {' or '.join(forms)} ends", flush=True)
            continue
        values, nfe, label = min(rows, key=lambda row: rms(row[0]))
        report(label, nfe, values, width)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=4096)
    parser.add_argument("--problems", nargs="+", default=list(SIGMA_DATA), choices=SIGMA_DATA)
    parser.add_argument("--nfe", type=int, nargs="+", default=[6, 10, 20, 40])
    parser.add_argument("--choose", type=int, nargs="*", default=[10], help="where one is chosen")
    parser.add_argument("--learned", action="store_true", help="fit a plan too")
    parser.add_argument("--noises", type=int, default=512, help="that a plan is fitted to")
    parser.add_argument("--no-diffrax", action="store_true")
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    for name in arguments.problems:
        width, share = SIGMA_DATA[name], 4 if name == "P3" else 1
        problem = getattr(ej.problems, name)()
        data = denoise, x, reference = starts(name, arguments.samples // share, seed=2026)
        print(f"\n{name}, {len(x)} starts", flush=True)
        for nfe in arguments.nfe:
            methods = [*karras(nfe), *recommended(problem, nfe)]
            if nfe in arguments.choose:
                methods.append(choose(problem, candidates(problem, nfe, width), width))
            if arguments.learned:
                methods.append(learned(problem, nfe, arguments.noises))
            figures, medians = [], []
            for method in methods:
                values = errors(method.run(problem, denoise, x), reference)
                figures.append(report(method.name, method.plan.nfe, values, width))
                medians.append(np.median(values))
            for i, method in enumerate(methods[2:], start=2):
                ratios = (known[j] / known[i] for known in (figures, medians) for j in (0, 1))
                print(
                    "      RMS: Heun / this {:.1f}, DPM++(2M) / this {:.1f}; "
                    "medians: {:.1f}, {:.1f}: {}".format(*ratios, method.name)
                )
            if nfe >= 20 and not arguments.no_diffrax:
                best_adaptive(problem, width, nfe, data)


if __name__ == "__main__":
    main()
