"""Prints the evaluations that adaptive solvers need for a given error, ours and diffrax's.

    python benchmarks/bench_adaptive.py [--problems P1 P2 P3] [--samples 512] [--no-diffrax]

Every solver takes the same starts, `x0 + 80 n`, to sigma = 0.002, in float64 around the exact
denoiser, and is compared with Dopri8 at 1e-10 in log sigma, each sample with steps of its own. The
error is the root mean square over samples and components (P3, whose root mean square is that of the
few samples that end in another digit: the median over samples). Tolerances are
10^(-1, -1.25, ..., -8) for diffrax and for ours (to -5); the evaluations at an error are read by
log-log interpolation along the lower envelope. Evaluations count those of rejected steps.

Diffrax has one step for the whole batch (its own norm), or one for each sample (vmap); ours has one
for each sample, so its count is a mean; in brackets the largest count of the batch, and the mean as
a share of the best of diffrax with one step for the batch, and with one for each sample.
"""

import argparse
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

import edmjax as ej

SIGMA_DATA = {"P1": 0.70807922, "P2": 0.5, "P3": 0.54390235}
SOLVERS = {name: getattr(diffrax, name) for name in ("Bosh3", "Tsit5", "Dopri5", "Dopri8")}
ERRORS = (1e-2, 1e-3)
OURS = 10.0 ** np.arange(-1, -5.01, -0.25)
THEIRS = 10.0 ** np.arange(-1, -8.01, -0.25)
HIGH, LOW = 80.0, 0.002


class Run(NamedTuple):
    """One run of a solver on the batch."""

    mean: float  # evaluations
    most: float
    rejected: float
    rms: float
    median: float


def field(problem: Any, form: str) -> tuple[Callable[..., Any], float, float]:
    """The probability flow in sigma or in log sigma, falling, and where it begins and ends."""
    if form == "sigma":
        return lambda t, x, _: (x - problem(x, t)) / t, HIGH, LOW
    return lambda t, x, _: x - problem(x, jnp.exp(t)), float(np.log(HIGH)), float(np.log(LOW))


def diffrax_run(problem: Any, solver: Any, form: str, per_sample: bool) -> Callable[..., Any]:
    """A compiled `(x, tolerance) -> (x0, evaluations, rejected steps)`."""
    vector_field, start, end = field(problem, form)

    def solve(x, tolerance):
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(vector_field),
            solver,
            start,
            end,
            None,
            x,
            stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
            max_steps=4096,
            throw=False,
        )
        assert solution.ys is not None
        steps = solution.stats["num_steps"]
        # All four hand their last stage on. A callback in the denoiser counts the same.
        evaluations = 1 + steps * (solver.tableau.num_stages - 1)
        failed = solution.result != diffrax.RESULTS.successful
        x0 = jnp.where(failed, jnp.nan, solution.ys[0])
        return x0, evaluations, solution.stats["num_rejected_steps"]

    return jax.jit(jax.vmap(solve, in_axes=(0, None)) if per_sample else solve)


def our_run(problem: Any, order: int, sigma_data: float) -> Callable[..., Any]:
    def solve(x, tolerance):
        method = ej.adaptive.multistep(order, 0.0, tolerance, sigma_data=sigma_data)
        x0, report = ej.adaptive.sample(
            problem, method, x, sigma_max=HIGH, sigma_min=LOW, max_steps=2000
        )
        return x0, report.nfe, report.rejected

    return solve


def measure(run: Callable[..., Any], x: Any, reference: Any, tolerances: Any) -> list[Run]:
    runs = []
    for tolerance in tolerances:
        x0, evaluations, rejected = (np.asarray(v) for v in run(x, tolerance))
        if np.isfinite(x0).all():
            errors = np.mean((x0 - reference) ** 2, axis=1)
            counts = evaluations.mean(), evaluations.max(), rejected.mean()
            runs.append(Run(*counts, np.sqrt(errors.mean()), np.median(np.sqrt(errors))))
    return runs


def evaluations_at(runs: list[Run], error: float, by: str, count: str = "mean") -> float:
    """Log-log interpolation along the lower envelope; NaN where the error is not reached.

    Where the cheapest run is better than the error already, its evaluations.
    """
    envelope: list[tuple[float, float]] = []
    for run in sorted(runs, key=lambda run: getattr(run, count)):
        if not envelope or getattr(run, by) < envelope[-1][1]:
            envelope.append((getattr(run, count), getattr(run, by)))
    if envelope and envelope[0][1] <= error:
        return envelope[0][0]
    for (n0, e0), (n1, e1) in itertools.pairwise(envelope):
        if e0 >= error > e1:
            return float(n0 * (n1 / n0) ** (np.log(error / e0) / np.log(e1 / e0)))
    return float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", nargs="+", default=["P1", "P2", "P3"], choices=SIGMA_DATA)
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-diffrax", action="store_true")
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    for name in arguments.problems:
        compare(name, arguments)


def compare(name: str, arguments: argparse.Namespace) -> None:
    problem = getattr(ej.problems, name)()
    x = problem.sample(jax.random.key(arguments.seed), arguments.samples, sigma=HIGH)
    precise = diffrax_run(problem, diffrax.Dopri8(), "log_sigma", True)
    reference = np.asarray(precise(x, 1e-10)[0])
    by = "median" if name == "P3" else "rms"
    print(f"\n{name}, {len(x)} samples: evaluations at a {by} error of {ERRORS}", flush=True)
    best = {error: {False: np.inf, True: np.inf} for error in ERRORS}
    for form in () if arguments.no_diffrax else ("sigma", "log_sigma"):
        for solver, make in SOLVERS.items():
            for per_sample in (False, True):
                runs = measure(diffrax_run(problem, make(), form, per_sample), x, reference, THEIRS)
                cells = [evaluations_at(runs, error, by) for error in ERRORS]
                for error, cell in zip(ERRORS, cells, strict=True):
                    best[error][per_sample] = np.fmin(best[error][per_sample], cell)
                steps = "each sample" if per_sample else "the batch"
                print(
                    f"  diffrax {solver:6} in {form:9}, steps of {steps:11}"
                    + "".join(f"{cell:9.1f}" for cell in cells),
                    flush=True,
                )
    for order in (1, 2, 3, 4):
        runs = measure(our_run(problem, order, SIGMA_DATA[name]), x, reference, OURS)
        cells = []
        for error in ERRORS:
            mean, most = (evaluations_at(runs, error, by, count) for count in ("mean", "most"))
            shares = [f"{mean / count:.2f}" for count in best[error].values() if count < np.inf]
            of = f"; {shares[0]} and {shares[1]} of diffrax's best" if shares else ""
            cells.append(f"{mean:9.1f} (largest {most:.0f}{of})")
        print(f"  adaptive(order={order}):" + "".join(cells), flush=True)


if __name__ == "__main__":
    main()
