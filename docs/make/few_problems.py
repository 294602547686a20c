"""Problems of a few lines on which solvers of few evaluations are compared, beside P1, P2 and P3.

`seen()` has those by which `docs/make/recommend.py` chooses; `fresh()` has those that took no part
in any choice, for `checks/check_recommend.py`. Their denoisers are exact; nothing is downloaded.
"""

import itertools
from typing import Any

import jax
import numpy as np

import edmjax as ej


def width_of(problem: Any) -> float:
    """The standard deviation about their mean of 20,000 samples, over all components."""
    data = np.asarray(problem.sample(jax.random.key(3), 20_000))
    return float(np.sqrt(np.mean((data - data.mean(axis=0)) ** 2)))


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


def falling(dim: int, modes: int, seed: int) -> Any:
    """Round modes whose components are of size 1, 1/2, 1/3 and so on."""
    rng = np.random.default_rng(seed)
    size = 1 / np.arange(1, dim + 1)
    covs = np.broadcast_to(np.diag((0.2 * size) ** 2), (modes, dim, dim))
    return ej.problems.Mixture(
        rng.dirichlet(np.full(modes, 2.0)), rng.normal(size=(modes, dim)) * size, covs
    )


def moons() -> Any:
    from sklearn.datasets import make_moons

    return ej.problems.Empirical(make_moons(400, random_state=0)[0], 0.05)


def roll() -> Any:
    from sklearn.datasets import make_swiss_roll

    return ej.problems.Empirical(make_swiss_roll(500, random_state=0)[0] / 8, 0.05)


def iris() -> Any:
    """150 flowers by 4 measurements, in centimetres, not centred."""
    from sklearn.datasets import load_iris

    bunch: Any = load_iris()
    return ej.problems.Empirical(bunch.data, 0.1)


def seen() -> dict[str, Any]:
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


def fresh() -> dict[str, Any]:
    far = ej.problems.Mixture(np.array([0.95, 0.05]), np.array([[0.0, 0.0], [8.0, 8.0]]), 0.04)
    return {
        "3 modes in 1-D": spread(1, 3, 0.1, seed=13),
        "a twentieth far away, 2-D": far,
        "40 narrow modes in 2-D": spread(2, 40, 0.02, seed=14),
        "two half circles in 2-D": moons(),
        "a rolled sheet in 3-D": roll(),
        "8 modes in 24-D": spread(24, 8, 0.3, seed=15),
        "12 modes of falling size in 40-D": falling(40, 12, seed=16),
        "100 modes in 100-D": spread(100, 100, 0.3, seed=17),
        "iris, 4-D": iris(),
    }
