"""How wide the data are: what `ej.recommend` is told of them."""

import jax
import numpy as np

from edmjax.training.data.dataset import Dataset

# With more images the figures change in their third digit.
MOST_IMAGES = 10_000
MOST_NUMBERS = 2**25  # 256 MiB of float64
ITERATIONS = 50


def widths(dataset: Dataset) -> tuple[float, float, float] | None:
    """Three standard deviations of what a network sees: of all numbers, about the mean, the widest.

    The first is that of all numbers. The second is about the mean of each component, so its square
    is the mean eigenvalue of the covariance. The square of the third is the largest eigenvalue: its
    direction comes from one half of the samples, by power iteration, and the deviation from the
    other half, as in the samples that it was found on it is too large where these are few. None for
    fewer than four samples, and for samples that are all alike.
    """
    n, leaves = len(dataset), jax.tree.leaves(dataset.images)
    if n < 4:
        return None
    most = min(MOST_IMAGES, max(4, MOST_NUMBERS // sum(leaf[0].size for leaf in leaves)))
    which = np.random.default_rng(0).permutation(n)[:most]
    seen = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(dataset.some(which))]
    rows = np.concatenate([leaf.reshape(len(which), -1) for leaf in seen], axis=1)
    total = float(np.std(rows))
    rows -= rows.mean(axis=0)
    first, second = rows[::2], rows[1::2]
    along = np.random.default_rng(1).normal(size=rows.shape[1])
    for _ in range(ITERATIONS):
        along = first.T @ (first @ along)
        length = np.linalg.norm(along)
        if not length > 0:
            return None
        along /= length
    width = float(np.sqrt(np.mean(rows**2)))
    return total, width, max(float(np.std(second @ along, ddof=1)), width)
