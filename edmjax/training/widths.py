"""How wide the data are: what `ej.recommend` is told of them."""

import numpy as np

from edmjax.training.data import Dataset

# With more images the figures change in their third digit.
MOST_IMAGES = 10_000
MOST_NUMBERS = 2**25  # 256 MiB of float64
ITERATIONS = 50


def widths(dataset: Dataset) -> tuple[float, float] | None:
    """The standard deviation of the data about their mean, and that along their widest direction.

    The first is over all components, so its square is the mean eigenvalue of the covariance; the
    square of the second is the largest. The direction comes from one half of the images, by power
    iteration, and the deviation from the other half: in the images that it was found on it is too
    large where these are few. None for fewer than four images, and for images that are all alike.
    """
    images = dataset.images
    if len(images) < 4:
        return None
    most = min(MOST_IMAGES, max(4, MOST_NUMBERS // images[0].size))
    which = np.random.default_rng(0).permutation(len(images))[:most]
    rows = np.asarray(dataset.scale(images[which]), np.float64).reshape(len(which), -1)
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
    return width, max(float(np.std(second @ along, ddof=1)), width)
