"""Problems of a few lines on which solvers of few evaluations are compared.

`choosing()` has those by which `docs/make/recommend.py` chooses; `reporting()` has those that took
no part in any choice, for `checks/check_recommend.py`. Their denoisers are exact; nothing is
downloaded. Pictures come with scikit-learn and scikit-image.
"""

import itertools
from typing import Any

import jax
import numpy as np

import edmjax as ej


def widths_of(problem: Any) -> tuple[float, float]:
    """The standard deviation of 20,000 samples over all components, and along the widest line."""
    data = np.asarray(problem.sample(jax.random.key(3), 20_000))
    variances = np.linalg.eigvalsh(np.atleast_2d(np.cov(data, rowvar=False)))
    return float(np.sqrt(variances.mean())), float(np.sqrt(variances[-1]))


def low_rank(dim: int, modes: int, rank: int, seed: int) -> Any:
    """A mixture of flat modes: `rank` directions of variance 0.1, and 1e-4 in the others."""
    rng = np.random.default_rng(seed)
    means = 0.6 * rng.normal(size=(modes, dim))
    axes = [np.linalg.qr(rng.normal(size=(dim, dim)))[0][:, :rank] for _ in range(modes)]
    covs = np.stack([0.1 * a @ a.T + 1e-4 * np.eye(dim) for a in axes])
    return ej.problems.Mixture(np.full(modes, 1 / modes), means, covs)


def ring(modes: int, std: float) -> Any:
    angles = 2 * np.pi * np.arange(modes) / modes
    means = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return ej.problems.Mixture(np.full(modes, 1 / modes), means, std**2)


def spread(dim: int, modes: int, std: float, seed: int) -> Any:
    """Round modes at normal places, with unequal weights."""
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(modes, 2.0))
    return ej.problems.Mixture(weights, rng.normal(size=(modes, dim)), std**2)


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


def cosines(side: int) -> tuple[np.ndarray, np.ndarray]:
    """The cosines on `side x side` pixels, one a row, and the frequency of each."""
    k = np.arange(side)
    one = np.sqrt(2 / side) * np.cos(np.pi * (k + 0.5) * k[:, None] / side)
    one[0] /= np.sqrt(2)
    return np.kron(one, one), np.hypot(k[:, None], k).ravel()


def spectrum(side: int, power: float, modes: int, seed: int, mean: float = 0.0) -> Any:
    """Modes whose variances fall as a power of the frequency, by two to three decades."""
    rng = np.random.default_rng(seed)
    rows, frequency = cosines(side)
    dim = side * side
    variances = 1 / (frequency + 1) ** power
    variances *= 0.25 / variances.mean()
    means = mean + (rng.normal(size=(modes, dim)) * np.sqrt(variances / 2)) @ rows
    covs = []
    for _ in range(modes):
        size = np.exp(0.7 * rng.normal(size=dim)) * np.exp(0.5 * rng.normal())
        covs.append((rows.T * (variances / 2 * size + 1e-6)) @ rows)
    return ej.problems.Mixture(rng.dirichlet(np.full(modes, 2.0)), means, np.stack(covs))


def uneven(dim: int, modes: int, seed: int) -> Any:
    """Coordinates of standard deviations from 0.01 to 3, and a mean as large."""
    rng = np.random.default_rng(seed)
    size = np.exp(rng.uniform(np.log(0.01), np.log(3), dim))
    means = rng.normal(size=(modes, dim)) * size + rng.normal(size=dim) * size
    covs = np.stack([np.diag((size * rng.uniform(0.1, 0.6, dim)) ** 2) for _ in range(modes)])
    return ej.problems.Mixture(rng.dirichlet(np.full(modes, 2.0)), means, covs)


def outlying(dim: int, far: float, share: float, std: float, seed: int) -> Any:
    """Six modes about 0, and two that are `far` times as far away and have `share` of the mass."""
    rng = np.random.default_rng(seed)
    near, away = rng.normal(size=(6, dim)), rng.normal(size=(2, dim))
    away *= far * np.sqrt(dim) / np.linalg.norm(away, axis=1, keepdims=True)
    weights = np.repeat([(1 - share) / 6, share / 2], [6, 2])
    return ej.problems.Mixture(weights, np.concatenate([near, away]), std**2)


def pieces(picture: Any, side: int, number: int, std: float, seed: int) -> Any:
    """Patches of `side x side` grey values of a picture, in [-1, 1]."""
    grey = np.asarray(picture, np.float64)
    grey = (grey.mean(axis=2) if grey.ndim == 3 else grey) / 127.5 - 1
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, np.array(grey.shape) - side, size=(number, 2))
    cut = [grey[i : i + side, j : j + side].ravel() for i, j in corners]
    return ej.problems.Empirical(np.stack(cut), std)


def tumours() -> Any:
    """569 tumours by 30 measurements, whose standard deviations span five decades."""
    from sklearn.datasets import load_breast_cancer

    bunch: Any = load_breast_cancer()
    data = bunch.data / bunch.data.std(axis=0).mean()
    size = data.std(axis=0)
    return ej.problems.Empirical(3 * data / np.sqrt(size.max() * size.mean()), 0.02)


def diabetes() -> Any:
    """442 patients by 10 measurements."""
    from sklearn.datasets import load_diabetes

    bunch: Any = load_diabetes(scaled=False)
    return ej.problems.Empirical(bunch.data / bunch.data.std(), 0.01)


def photographs() -> Any:
    """A temple and a flower."""
    from sklearn.datasets import load_sample_images

    bunch: Any = load_sample_images()
    return bunch.images


def faces() -> Any:
    """100 faces of 25 x 25 pixels."""
    from skimage import data

    return ej.problems.Empirical(2 * data.lfw_subset()[:100].reshape(100, -1) - 1.0, 0.05)


def choosing() -> dict[str, Any]:
    """The half by which the pairs of `ej.recommend` are chosen."""
    from skimage import data

    return {
        "P1": ej.problems.P1(),
        "P2": ej.problems.P2(),
        "P3": ej.problems.P3(),
        "two narrow modes in 1-D": lattice([[-1.0, 1.0]], 1, 0.005),
        "16 narrow modes on a grid in 2-D": lattice([[0.0, 1.0, 2.0, 3.0]], 2, 0.03),
        "8 modes on a ring in 2-D": ring(8, 0.05),
        "20 flat modes in 48-D": low_rank(48, 20, 6, seed=3),
        "wine, 13-D": wine(),
        "digits in [0, 1], blurred by 0.02": digits(0.02),
        "patches of a temple, 8 x 8": pieces(photographs()[0], 8, 1000, 0.03, seed=0),
        "a spectrum of power 2, 64-D": spectrum(8, 2, 6, seed=31),
        "a spectrum of power 3, 144-D": spectrum(12, 3, 4, seed=32, mean=0.5),
        "coordinates from 0.01 to 3, 24-D": uneven(24, 5, seed=33),
        "a twentieth 6 times as far, 8-D": outlying(8, 6, 0.05, 0.2, seed=34),
        "patches of coins, 16 x 16": pieces(data.coins(), 16, 800, 0.02, seed=35),
        "tumours, 30-D": tumours(),
    }


def reporting() -> dict[str, Any]:
    """The half that took no part in any choice."""
    from skimage import data

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
        "a spectrum of power 2.5, 100-D": spectrum(10, 2.5, 8, seed=41),
        "a spectrum of power 4, 64-D": spectrum(8, 4, 5, seed=42, mean=-0.4),
        "coordinates from 0.01 to 3, 40-D": uneven(40, 8, seed=43),
        "a fiftieth 5 times as far, 16-D": outlying(16, 5, 0.02, 0.3, seed=44),
        "patches of a flower, 12 x 12": pieces(photographs()[1], 12, 1000, 0.03, seed=45),
        "patches of a cameraman, 8 x 8": pieces(data.camera(), 8, 1500, 0.02, seed=46),
        "faces, 25 x 25": faces(),
        "diabetes, 10-D": diabetes(),
    }
