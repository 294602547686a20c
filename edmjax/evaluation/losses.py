"""The loss of a denoiser on given images, over all noise levels and level by level.

The loss of an image is always the training loss (Karras et al. 2022, equation 2 with the weight of
table 1), the mean over its pixels:

    lambda(sigma) |D(x0 + sigma n; sigma) - x0|^2 / d,    lambda = 1 / c_out^2
                                                     = (sigma^2 + s^2) / (sigma s)^2

with `s` for sigma_data. For a network with this sigma_data it is the mean square error of the
network's output. Images are (n, height, width, channels) with values from -1 to 1.
"""

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from jaxtyping import Float

import edmjax as ej
from edmjax._common.functions import with_cond
from edmjax._common.typing import Denoiser, PyTree

Images = Float[np.ndarray, "n ..."]


class Mean(NamedTuple):
    """A mean and its standard error."""

    value: float
    standard_error: float


class LevelLoss(NamedTuple):
    """The losses at one noise level, each a mean over images.

    `network` and `best` are the losses of the denoiser and of the best one for the training set.
    `excess` is their difference. On noised training images the best denoiser is a conditional mean,
    so the excess is also the weighted mean square difference of the two denoisers. There it is
    computed so, as that has less spread.
    """

    sigma: float
    network: Mean
    best: Mean
    excess: Mean


def mean_loss(
    denoise: Denoiser,
    images: Images,
    *,
    sigma_data: float = 0.5,
    p_mean: float = -1.2,
    p_std: float = 1.2,
    num_noises: int = 8,
    cond: PyTree = None,
    seed: int = 0,
    chunk_size: int = 500,
    progress: Callable[[int], Any] = lambda count: None,
) -> Mean:
    """The EDM loss, a mean over images and pixels, with its standard error over images.

    Levels are lognormal, `log sigma ~ N(p_mean, p_std^2)`. Every image gets `num_noises` of them,
    one in each of as many equally likely strata, which are spread evenly over images too. So the
    mean has less spread than its standard error says, which assumes independent images.
    `progress` is called after every chunk with its number of evaluations.
    """
    n = len(images)
    weight = _weight(sigma_data)
    each = np.zeros(n)
    for stratum, sigmas in enumerate(stratified_levels(n, num_noises, p_mean, p_std, seed)):
        for part, x0, x, sigma, labels in _noised(images, sigmas, cond, seed, stratum, chunk_size):
            error = _squares(denoise, x, x0, sigma, labels)
            each[part] += weight(sigma) * np.asarray(error, np.float64) / num_noises
            progress(len(x0))
    return mean_of(each)


def stratified_levels(
    n: int, num_noises: int, p_mean: float, p_std: float, seed: int
) -> Float[np.ndarray, "num_noises n"]:
    """Lognormal levels, one in each of `n num_noises` equally likely intervals.

    Row `i` is from the `i`-th of `num_noises` intervals, in a random order.
    """
    rng = np.random.default_rng(seed)
    within = np.stack([(rng.permutation(n) + rng.random(n)) / n for _ in range(num_noises)])
    quantiles = (np.arange(num_noises)[:, None] + within) / num_noises
    normal = jax.scipy.special.ndtri(jnp.asarray(quantiles))
    return np.exp(p_mean + p_std * np.asarray(normal, np.float64))


def level_losses(
    denoise: Denoiser,
    best: Callable[..., np.ndarray] | None,
    images: Images,
    sigmas: Sequence[float] | np.ndarray,
    *,
    sigma_data: float = 0.5,
    training_images: bool = False,
    cond: PyTree = None,
    seed: int = 0,
    chunk_size: int = 100,
    progress: Callable[[int], Any] = lambda count: None,
) -> Iterator[LevelLoss]:
    """The losses of the same images at each of some noise levels, of a denoiser and of `best`.

    `best` is a denoiser `best(x, sigma, cond)` from `best_denoiser`. Set `training_images` if it
    was made of these images, or of a set with them. Where it is None, `best` and `excess` are NaN.
    `progress` is called after every chunk with its number of images.
    """
    weight = _weight(sigma_data)
    for index, level in enumerate(sigmas):
        every = np.full(len(images), level)
        losses = []
        for _, x0, x, sigma, labels in _noised(images, every, cond, seed, index, chunk_size):
            network = np.asarray(_call(denoise, x, sigma, labels), np.float64)
            exact = np.full(x0.shape, np.nan)
            if best is not None:
                exact = best(np.asarray(x), sigma, labels)
            pairs = [(network, x0), (exact, x0), (network, exact)]
            axes = tuple(range(1, x0.ndim))
            losses.append([weight(sigma) * ((a - b) ** 2).mean(axis=axes) for a, b in pairs])
            progress(len(x0))
        network, exact, between = np.concatenate(losses, axis=1)
        excess = between if training_images else network - exact
        yield LevelLoss(float(level), mean_of(network), mean_of(exact), mean_of(excess))


def best_denoiser(
    training: Images, labels: np.ndarray | None = None
) -> Callable[[np.ndarray, np.ndarray, np.ndarray | None], np.ndarray]:
    """The denoiser `best(x, sigma, cond)` of least loss on these images, in float64.

    It is `problems.Empirical`; with `labels`, of the images whose label is `cond`. In float32 the
    squared distances of noised images would be off by as much as sigma^2 at the lowest levels.
    """
    # Without labels all images are of one class.
    labels_of = np.zeros(len(training)) if labels is None else labels
    denoise = jax.jit(ej.problems.Empirical.denoise)
    with jax.enable_x64(True):
        problems = {
            c: jax.device_put(ej.problems.Empirical(np.asarray(training[labels_of == c], float)))
            for c in np.unique(labels_of)
        }

    def best(x: np.ndarray, sigma: np.ndarray, cond: np.ndarray | None = None) -> np.ndarray:
        found = np.zeros(x.shape, np.float64)
        for c, problem in problems.items():
            rows = np.full(len(x), True) if labels is None else cond == c
            with jax.enable_x64(True):
                found[rows] = denoise(problem, x[rows].astype(np.float64), sigma[rows])
        return found

    return best


def mean_of(values: Sequence[float] | np.ndarray) -> Mean:
    """The mean of independent values with its standard error, which is NaN for a single one."""
    found = np.asarray(values, np.float64)
    error = found.std(ddof=1) / np.sqrt(len(found)) if len(found) > 1 else np.nan
    return Mean(float(found.mean()), float(error))


def _weight(sigma_data: float) -> Callable[[Any], Any]:
    return lambda sigma: (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2


def _noised(images, sigmas, cond, seed, ordinal, chunk_size):
    """Chunks `(part, x0, x, sigma, labels)`; noise depends on the image's index and the ordinal."""
    key = random.fold_in(random.key(seed), ordinal)
    for start in range(0, len(images), chunk_size):
        part = slice(start, min(start + chunk_size, len(images)))
        x0, sigma = np.asarray(images[part], np.float32), sigmas[part]
        x = _add_noise(x0, sigma, ej.sample_keys(key, len(x0), start))
        yield part, x0, x, sigma, jax.tree.map(operator.itemgetter(part), cond)


@jax.jit
def _add_noise(x0, sigma, keys):
    noise = jax.vmap(lambda k: random.normal(k, x0.shape[1:]))(keys)
    return x0 + sigma.reshape(-1, *(1,) * (x0.ndim - 1)).astype(x0.dtype) * noise


@jax.jit
def _call(denoise, x, sigma, cond):
    return with_cond(denoise, x, sigma.astype(x.dtype), cond=cond)


@jax.jit
def _squares(denoise, x, x0, sigma, cond):
    error = _call(denoise, x, sigma, cond) - x0
    return jnp.mean(error**2, axis=tuple(range(1, x0.ndim)))
