"""Compares `ej.recommend` with DPM++(2M) on Karras 7 on problems that its table was not chosen by.

    python scripts/check_recommend.py [--nfe 6 8 10 12 15 20] [--samples 512] [--seed 0]

Float64 around the exact denoiser, from `x0 + 80 n` to sigma 0.002, where Dopri8 at 1e-9 says what
is right. A figure is how many times the RMS error of the recommended pair is below that of
DPM++(2M); below 1 the recommendation was the worse. Of a problem `ej.recommend` is told the
standard deviation of 20,000 samples about their mean, and nothing else.
"""

import argparse
import itertools
from typing import Any

import jax
import numpy as np
from recommend import HIGH, LOW, errors, exact, rms, run

import edmjax as ej

NFE = (6, 8, 10, 12, 15, 20)


def low_rank(dim: int, modes: int, rank: int, seed: int) -> Any:
    """A mixture of flat modes: `rank` directions of variance 0.1, and 1e-4 in the others."""
    rng = np.random.default_rng(seed)
    means = 0.6 * rng.normal(size=(modes, dim))
    axes = [np.linalg.qr(rng.normal(size=(dim, dim)))[0][:, :rank] for _ in range(modes)]
    covs = np.stack([0.1 * a @ a.T + 1e-4 * np.eye(dim) for a in axes])
    return ej.problems.Mixture(np.full(modes, 1 / modes), means, covs)


def ring(modes: int, std: float, scale: float = 1.0, shift: float = 0.0) -> Any:
    angles = 2 * np.pi * np.arange(modes) / modes
    means = scale * np.stack([np.cos(angles), np.sin(angles)], axis=1) + shift
    return ej.problems.Mixture(np.full(modes, 1 / modes), means, (scale * std) ** 2)


def spread(dim: int, modes: int, std: float, seed: int) -> Any:
    """Round modes at normal places, with unequal weights."""
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(modes, 2.0))
    return ej.problems.Mixture(weights, rng.normal(size=(modes, dim)), std**2)


def patches(number: int) -> Any:
    """8 x 8 patches of a photograph, in [-1, 1]."""
    from sklearn.datasets import load_sample_images

    grey = np.asarray(load_sample_images().images[0], np.float64).mean(axis=2) / 127.5 - 1
    rng = np.random.default_rng(0)
    rows = rng.integers(0, np.array(grey.shape) - 8, size=(number, 2))
    return ej.problems.Empirical(
        np.stack([grey[i : i + 8, j : j + 8].ravel() for i, j in rows]), 0.03
    )


def digits(std: float) -> Any:
    """The digits of scikit-learn in [0, 1]."""
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    return ej.problems.Empirical(bunch.data / 16, std)


def wine() -> Any:
    """178 wines by 13 measurements, each of standard deviation 1."""
    from sklearn.datasets import load_wine

    bunch: Any = load_wine()
    data = bunch.data
    return ej.problems.Empirical((data - data.mean(axis=0)) / data.std(axis=0), 0.1)


def lattice(gaps: list[list[float]], dim: int, std: float) -> Any:
    """Modes at all sums of one number of each list, in each of `dim` components."""
    places = np.array([sum(one) for one in itertools.product(*gaps)])
    means = np.array(list(itertools.product(places, repeat=dim)))
    return ej.problems.Mixture(np.full(len(means), 1 / len(means)), means, std**2)


def problems() -> dict[str, Any]:
    return {
        "two modes in 1-D": ej.problems.Mixture(
            np.array([0.3, 0.7]), np.array([[-1.0], [1.0]]), 0.01
        ),
        "two narrow modes in 1-D": lattice([[-1.0, 1.0]], 1, 0.005),
        "16 narrow modes on a grid in 2-D": lattice([[0.0, 1.0, 2.0, 3.0]], 2, 0.03),
        "four times four narrow modes in 2-D": lattice([[-0.7, 0.7], [-0.05, 0.05]], 2, 0.01),
        "8 modes on a ring in 2-D": ring(8, 0.05),
        "the ring, 10 times as large": ring(8, 0.05, scale=10.0),
        "the ring, moved by 5": ring(8, 0.05, shift=5.0),
        "30 modes in 16-D": spread(16, 30, 0.2, seed=1),
        "4 flat modes in 12-D": low_rank(12, 4, 3, seed=2),
        "20 flat modes in 48-D": low_rank(48, 20, 6, seed=3),
        "wine, 13-D": wine(),
        "digits in [0, 1], blurred by 0.02": digits(0.02),
        "1,000 patches of a photograph": patches(1000),
    }


def ratios(problem: Any, budgets: list[int], samples: int, seed: int) -> list[float]:
    """The RMS error of DPM++(2M) over that of the recommendation, at each budget."""
    data = np.asarray(problem.sample(jax.random.key(3), 20_000))
    width = float(np.sqrt(np.mean((data - data.mean(axis=0)) ** 2)))
    x = np.asarray(problem.sample(jax.random.key(seed), samples, sigma=HIGH))
    reference, denoise = exact(problem, x), jax.jit(problem.denoise)
    found = []
    for nfe in budgets:
        karras = ej.schedules.karras(nfe + 1, LOW, HIGH, final_zero=False)
        best = ej.recommend(nfe, sigma_min=LOW, sigma_max=HIGH, sigma_data=width, final_zero=False)
        pairs = (ej.samplers.dpmpp_2m(), karras), best
        known, got = (
            rms(errors(run(denoise, ej.make_plan(*pair), x), reference)) for pair in pairs
        )
        found.append(known / got)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nfe", type=int, nargs="+", default=list(NFE))
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    print(f"| problem | {' | '.join(map(str, arguments.nfe))} |", flush=True)
    print(f"|---|{'---|' * len(arguments.nfe)}", flush=True)
    for name, problem in problems().items():
        found = ratios(problem, arguments.nfe, arguments.samples, arguments.seed)
        print(f"| {name} | {' | '.join(f'{ratio:.1f}' for ratio in found)} |", flush=True)


if __name__ == "__main__":
    main()
