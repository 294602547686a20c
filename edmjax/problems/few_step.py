"""Three problems for solvers with few evaluations, in 2 and in 64 dimensions, with known laws.

Each has structure at a scale far below its width, where solvers differ. Their parameters are in
`few_step.npz`; the points of P3 are the digits of scikit-learn (`load_digits`), which need not be
installed.
"""

import functools
from pathlib import Path

import numpy as np

from edmjax.problems.empirical import Empirical
from edmjax.problems.mixture import Mixture
from edmjax.problems.problem import freeze


def P1() -> Mixture:
    """A mixture of 25 round modes on a 5 x 5 grid in [-1, 1]^2, standard deviation 0.05.

    The weights are unequal. The data have a standard deviation of 0.708 per coordinate.
    """
    parameters = _parameters()
    return Mixture(parameters["P1_weights"], parameters["P1_means"], parameters["P1_std"] ** 2)


def P2() -> Mixture:
    """A mixture of 10 modes of low rank in 64 dimensions: a stand-in for images.

    Component k has the covariance `U_k diag(v_k) U_k^T`: 24 variances that fall as a power of the
    frequency, along cosines (of 8 x 8 pixels) that are rotated from mode to mode, and 40 of 4.6e-6.
    The data have a standard deviation of 0.5 per coordinate.
    """
    parameters = _parameters()
    leading = parameters["P2_bases"]
    rank = leading.shape[2]
    # All variances are equal there, so any orthonormal basis will do: the rest of a full QR.
    rest = np.linalg.qr(leading, mode="complete")[0][:, :, rank:]
    weights, means, variances = (parameters[f"P2_{n}"] for n in ("weights", "means", "variances"))
    bases = np.concatenate([leading, rest], axis=2)
    # With its axes as they are: an eigendecomposition of covariances would round them.
    mixture = object.__new__(Mixture)
    freeze(mixture, weights=weights, means=means, variances=variances, bases=bases)
    freeze(mixture, log_evidence=None)
    return mixture


def P3() -> Empirical:
    """The 1,797 digits of 8 x 8 pixels, scaled to [-1, 1], each blurred by 0.05: points in 64-D.

    A score that memorises its data: which digit a path ends in is decided sharply. The data have a
    standard deviation of 0.544 per coordinate about their mean.
    """
    parameters = _parameters()
    return Empirical(parameters["P3_counts"] / 8.0 - 1.0, parameters["P3_std"])


@functools.cache
def _parameters() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).with_suffix(".npz")) as stored:
        return dict(stored)
