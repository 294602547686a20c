"""How wide the data are: what `ej.recommend` is told of them."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Shaped

# With more samples the figures change in their third digit.
MOST_IMAGES = 10_000
MOST_NUMBERS = 2**25  # 256 MiB of float64
ITERATIONS = 50


def chosen(n: int, numbers: int) -> Int[np.ndarray, " k"]:
    """The samples, of `n` with so many numbers in each, that widths are measured on."""
    most = min(MOST_IMAGES, max(4, MOST_NUMBERS // numbers))
    return np.random.default_rng(0).permutation(n)[:most]


def widths(leaves: Sequence[Shaped[np.ndarray, "n ..."]]) -> tuple[float, float, float] | None:
    """Three standard deviations of samples: of all numbers, about the mean, along the widest axis.

    The first is that of all numbers. The second is about the mean of each component, so its square
    is the mean eigenvalue of the covariance. The square of the third is the largest eigenvalue: its
    direction comes from one half of the samples, by power iteration, and the deviation from the
    other half, as in the samples that it was found on it is too large where these are few. None for
    fewer than four samples, and for samples that are all alike.
    """
    n = len(leaves[0])
    if n < 4:
        return None
    # One array, and no part of it beside: there may be 256 MiB of numbers.
    ends = np.cumsum([0, *(np.size(leaf) // n for leaf in leaves)])
    rows: Float[np.ndarray, "n d"] = np.empty((n, ends[-1]))
    for leaf, first, last in zip(leaves, ends, ends[1:], strict=False):
        rows[:, first:last] = np.reshape(leaf, (n, -1))
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
