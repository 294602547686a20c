"""Prints how far samples made in float32 are from the same samples made in float64.

    python benchmarks/bench_precision.py [--steps 10 18 50 100] [heun "ddim(eta=0.5)" ...]

Both runs take the same plan, whose weights are formed in float64, the same start and the same
draws, on the grid of Karras from 80 to 0.002 and 0, around the exact denoiser of a mixture, which
is computed in the precision of the run. So what is measured is all of float32: the weights rounded,
the loop, and the denoiser with its arguments. The difference of a sample is the root mean square
over its components, in units of sigma_data, the standard deviation of the mixture; a cell has the
median and the 99th percentile over samples.
"""

import argparse
import inspect
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

import edmjax as ej
from edmjax.planning.step import Sampler

STEPS = (10, 18, 50, 100)
TARGETS = (1e-6, 5e-5)  # of the median and of the 99th percentile

MIXTURES = {
    "three modes in 2 dimensions": ej.problems.Mixture(
        [0.5, 0.3, 0.2], [[1.0, 0.0], [-1.0, 0.5], [0.0, -1.0]], [0.04, 0.09, 0.02]
    ),
    "ten modes in 16 dimensions": ej.problems.Mixture(
        np.full(10, 0.1), 0.4 * np.random.default_rng(5).normal(size=(10, 16)), 0.05
    ),
}
# Besides every sampler of the library that needs no options.
MORE = (
    "dpmpp_3m(corrected=True, start_order=2)",
    "dpm_solver(2, 'multistep')",
    "dpm_solver(3, 'multistep', start_order=2)",
    "unipc(predict='eps')",
    "pndm(runge_kutta=False)",
    "ddim(eta=0.5)",
    "churn(heun, s_churn=40, s_min=0.05, s_max=50, s_noise=1.003)",
    "churn(dpmpp_2m, s_churn=8)",
    "ancestral(dpm_2)",
    "ancestral(dpmpp_2s)",
    "restart(heun, [(0.05, 2.0, 3, 2)])",
)


def sigma_data(problem: ej.problems.Mixture) -> float:
    """The standard deviation of a component of the data, all components together."""
    weights, means = np.asarray(problem.weights)[:, None], np.asarray(problem.means)
    centre = (weights * means).sum(axis=0)
    variance = (weights * (problem.variances + (means - centre) ** 2)).sum(axis=0)
    return float(np.sqrt(variance.mean()))


def differences(
    sampler: Sampler, num_steps: int, problem: ej.problems.Mixture, num_samples: int = 4096
) -> np.ndarray:
    """The difference of each sample between float32 and float64, in units of sigma_data."""
    plan = ej.make_plan(sampler, ej.schedules.karras(num_steps))
    shape = (num_samples, np.shape(problem.means)[1])
    rng = np.random.default_rng(0)
    # In float32, so that both runs start from the same numbers.
    x = (plan.grid[0] * rng.standard_normal(shape)).astype(np.float32)
    noise = rng.standard_normal((plan.num_draws, *shape), np.float32) if plan.num_draws else None

    def run(dtype):
        start = jnp.asarray(x, dtype)
        draws = None if noise is None else jnp.asarray(noise, dtype)
        return np.asarray(ej.sample(problem, plan, start, noise=draws), np.float64)

    with jax.enable_x64(False):
        single = run(jnp.float32)
    with jax.enable_x64(True):
        double = run(jnp.float64)
    return np.sqrt(np.mean((single - double) ** 2, axis=1)) / sigma_data(problem)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("samplers", nargs="*", help="which samplers; without any, all of them")
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS, help="numbers of steps")
    arguments = parser.parse_args(argv)
    with ej.training.plain_errors():
        texts = arguments.samplers or [*_without_options(), *MORE]
        samplers = {text: ej.training.parse_sampler(text) for text in texts}

    print(f"jax {jax.__version__}, {jax.devices()[0].platform}; targets: {_cell(TARGETS)}")
    for title, problem in MIXTURES.items():
        print(f"\n{title}, sigma_data {sigma_data(problem):.3f}")
        print(f"{'steps':60}" + "".join(f"{n:>18}" for n in arguments.steps))
        rows = {}
        for text, sampler in samplers.items():
            cells = [
                np.quantile(differences(sampler, n, problem), (0.5, 0.99)) for n in arguments.steps
            ]
            rows[text] = np.max(cells, axis=0)
            print(f"{text:60}" + "".join(f"{_cell(cell):>18}" for cell in cells), flush=True)
        for i, what in enumerate(("median", "99th percentile")):
            worst = max(rows, key=lambda text: rows[text][i])
            above = [text for text in rows if rows[text][i] >= TARGETS[i]]
            print(f"worst {what}: {worst}, {rows[worst][i]:.1e}; above the target: {above or None}")


def _without_options() -> list[str]:
    return [
        name
        for name, make in ej.training.sampler_names().items()
        if all(p.default is not p.empty for p in inspect.signature(make).parameters.values())
    ]


def _cell(pair: Sequence[float] | np.ndarray) -> str:
    return f"{pair[0]:.1e} {pair[1]:.1e}"


if __name__ == "__main__":
    main()
