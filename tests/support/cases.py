"""What samplers are measured on: closed forms in NumPy, a grid, and the numbers of other packages.

In NumPy a plan of any length runs without a compilation (`orders.run`).
"""

import functools
import json
import math
import pathlib
from typing import Any

import numpy as np

GOLDEN = pathlib.Path(__file__).parent / "golden"
# A three-mode mixture in two dimensions, unequal weights and widths, and a correlated Gaussian.
MIXTURE = {
    "weights": [0.5, 0.3, 0.2],
    "means": [[1.0, 0.0], [-1.0, 0.5], [0.0, -1.0]],
    "covs": [0.04, 0.09, 0.02],
}
GAUSSIAN = {"mean": [0.3, -0.2], "cov": [[0.25, 0.1], [0.1, 0.16]]}


class Mixture:
    """The denoiser of a mixture of round Gaussians of variances `covs`."""

    def __init__(self, weights, means, covs, dtype: Any = float):
        self.means = np.array(means, dtype)
        self.covs = np.broadcast_to(np.array(covs, dtype), len(weights))
        self.log_weights = np.log(weights).astype(dtype)

    def denoise(self, x, sigma):
        total = self.covs + sigma**2
        gaps = np.asarray(x)[:, None, :] - self.means
        logits = self.log_weights - self.means.shape[1] / 2 * np.log(total)
        logits = logits - np.einsum("nkd,nkd->nk", gaps, gaps) / (2 * total)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares = shares / shares.sum(axis=1, keepdims=True)
        return shares @ self.means + np.einsum("nk,nkd->nd", shares * (self.covs / total), gaps)


class Gaussian:
    """The denoiser and the exact flow of N(mean, cov)."""

    def __init__(self, mean, cov):
        self.mean = np.array(mean)
        self.values, self.vectors = np.linalg.eigh(cov)

    def _scaled(self, x, factors):
        gaps = (np.asarray(x) - self.mean) @ self.vectors
        return self.mean + (gaps * factors) @ self.vectors.T

    def denoise(self, x, sigma):
        return self._scaled(x, self.values / (self.values + sigma**2))

    def flow(self, x, sigma, sigma_next):
        return self._scaled(x, np.sqrt((self.values + sigma_next**2) / (self.values + sigma**2)))


def uniform(n, high=5.0, low=0.5):
    """n steps uniform in log sigma, stopping above zero: no last-step rule."""
    return np.exp(np.linspace(math.log(high), math.log(low), n + 1))


def alternating(n, high=5.0, low=0.5):
    """`uniform` with steps 1:2:1:2: refined, every other step stays twice its neighbours."""
    ends = np.append(0.0, np.cumsum(np.where(np.arange(n) % 2, 2.0, 1.0)))
    return high * (low / high) ** (ends / ends[-1])


@functools.cache
def golden(name):
    """A file of `golden/`: what other packages made of `golden_problem()`, in float64."""
    return json.loads((GOLDEN / f"{name}.json").read_text())


@functools.cache
def golden_problem():
    """The mixture of the golden numbers, its noise (batch, d) and its bank of draws."""
    stored = golden("problem")
    problem = Mixture(stored["weights"], stored["means"], stored["std"] ** 2)
    return problem, np.array(stored["noise"]), np.array(stored["bank"])
