"""How near images are to the nearest training images: whether samples are copies."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float

_IMAGES = 250  # images whose distances to all training images are formed at once


class Neighbours(NamedTuple):
    """Distances to the nearest and to the second nearest training image."""

    first: Float[np.ndarray, " n"]
    second: Float[np.ndarray, " n"]

    def copied(self) -> float:
        """The share of images with the nearest at less than a third of the second's distance.

        The criterion of Gu et al. 2023 (arXiv 2310.02664), section 2. Real images that happen to be
        so are the floor.
        """
        return float(np.mean(self.first < self.second / 3))


def make_nearest(
    training: Float[np.ndarray, "m ..."],
) -> Callable[[Float[np.ndarray, "n ..."]], Neighbours]:
    """The function that gives the Euclidean distances of images to the nearest of `training`.

    In the units of a pixel, all pixels of an image as one point. The nearest are found by a matrix
    product in float32, and their distances are taken by subtraction, so that of a copy is 0.
    """
    if len(training) < 2:
        raise ValueError(f"There must be 2 training images or more, got {len(training)}.")
    flat = np.asarray(training, np.float32).reshape(len(training), -1)
    centre = flat.mean(axis=0)
    centred = jax.device_put(flat - centre)
    squares = jnp.sum(centred**2, axis=1)

    def nearest(images: np.ndarray) -> Neighbours:
        if images.shape[1:] != training.shape[1:]:
            raise ValueError(
                f"Images must have the shape of the training images, {training.shape[1:]}; got "
                f"{images.shape[1:]}."
            )
        rows = np.asarray(images, np.float32).reshape(len(images), -1) - centre
        found = [
            np.asarray(_two_nearest(rows[start : start + _IMAGES], centred, squares))
            for start in range(0, len(rows), _IMAGES)
        ]
        first, second = np.concatenate(found).T
        return Neighbours(first, second)

    return nearest


@jax.jit
def _two_nearest(rows: Any, centred: Any, squares: Any) -> Any:
    """The distances, (n, 2), to the two nearest of `centred`."""
    fit = jnp.matmul(rows, centred.T, precision=lax.Precision.HIGHEST) - squares / 2
    _, which = lax.top_k(fit, 2)
    apart = rows[:, None] - centred[which]
    return jnp.sort(jnp.sqrt(jnp.sum(apart**2, axis=-1)), axis=1)
