"""The Inception-v3 of the Fréchet inception distance: 2,048 features of an image.

It is the network of 2015 that the distance is defined with, and not the one of later packages:
images are resized as TensorFlow 1 did, averages leave out what is padded, the last block takes a
maximum in the place of an average, and batch norms divide by `sqrt(variance + 0.001)`. Weights have
torch-fidelity's names. Images are (n, height, width, channels), kernels (out, in, height, width).

Source: Szegedy et al. 2016 (arXiv 1512.00567), section 6; Heusel et al. 2017; Obukhov et al. 2020
(torch-fidelity).
"""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float
from safetensors import SafetensorError
from safetensors.numpy import load_file

SIDE = 299
NUM_FEATURES = 2048
AT_ONCE = 32  # images, which take 5 MB each within the network
EPS = 0.001
Weights = Mapping[str, Any]


class Inception(NamedTuple):
    """The network with its weights: a function of images to features."""

    weights: dict[str, Array]

    def __call__(self, images: Float[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n 2048"]:
        """The features of images with values from 0 to 255, of any size; grey ones have c = 1."""
        found = [
            np.asarray(_features(self.weights, images[first : first + AT_ONCE]))
            for first in range(0, len(images), AT_ONCE)
        ]
        return np.concatenate(found)


def load_inception(path: str | os.PathLike[str]) -> Inception:
    """The network of a file of torch-fidelity's weights, converted to safetensors.

    `FileNotFoundError` where there is none; `ValueError` where the file is damaged or holds others.
    """
    advice = "docs/evaluation.md says where the weights come from, and how they are converted."
    if not os.path.isfile(path):
        raise FileNotFoundError(f"There is no file of Inception {path}: {advice}")
    try:
        arrays = load_file(path)
        weights = {k: jnp.asarray(v, jnp.float32) for k, v in arrays.items() if v.dtype.kind == "f"}
        image = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
        shape = jax.eval_shape(features, weights, image).shape
    except (SafetensorError, KeyError, TypeError, ValueError) as err:
        raise ValueError(f"{path} does not hold this network ({err!r:.200}): {advice}") from err
    if shape != (1, NUM_FEATURES):
        raise ValueError(f"{path} holds a network with {shape[1]} features: {advice}")
    return Inception(weights)


def features(weights: Weights, images: Float[Array, "n h w c"]) -> Float[Array, "n 2048"]:
    """The features of images with values from 0 to 255."""
    x = resized(jnp.broadcast_to(images, (*images.shape[:3], 3)).astype(jnp.float32))
    x = (x - 128) / 128
    x = _layer(weights, "Conv2d_1a_3x3", x, stride=2, padded=False)
    x = _layer(weights, "Conv2d_2a_3x3", x, padded=False)
    x = _max_pool(_layer(weights, "Conv2d_2b_3x3", x), 2)
    x = _layer(weights, "Conv2d_3b_1x1", x)
    x = _max_pool(_layer(weights, "Conv2d_4a_3x3", x, padded=False), 2)
    for block in ("5b", "5c", "5d"):
        x = _block_a(weights, f"Mixed_{block}", x)
    x = _block_b(weights, "Mixed_6a", x)
    for block in ("6b", "6c", "6d", "6e"):
        x = _block_c(weights, f"Mixed_{block}", x)
    x = _block_d(weights, "Mixed_7a", x)
    x = _block_e(weights, "Mixed_7b", x, _average_pool(x))
    x = _block_e(weights, "Mixed_7c", x, _max_pool(x, 1))
    return x.mean((1, 2))


_features = jax.jit(features)


def resized(x: Float[Array, "n h w c"]) -> Float[Array, "n 299 299 c"]:
    """Images of 299 x 299 pixels, as TensorFlow 1 makes them.

    Pixel `i` is at `i h / 299` of the old ones, linearly between the two beside it. It does not
    average where there are fewer, and the picture moves by half a pixel.
    """
    rows, columns = (_interpolation(side) for side in x.shape[1:3])
    for axes, matrix in (("ih,nhwc->niwc", rows), ("jw,nhwc->nhjc", columns)):
        x = jnp.einsum(axes, matrix, x, precision=lax.Precision.HIGHEST)
    return x


def _interpolation(side: int) -> Float[np.ndarray, "299 side"]:
    """The weight of each old pixel in each new one."""
    places = np.arange(SIDE) * (side / SIDE)
    low = np.floor(places).astype(int)
    matrix = np.zeros((SIDE, side))
    np.add.at(matrix, (np.arange(SIDE), low), 1 - (places - low))
    np.add.at(matrix, (np.arange(SIDE), np.minimum(low + 1, side - 1)), places - low)
    return matrix.astype(np.float32)


def _layer(weights: Weights, name: str, x: Array, *, stride: int = 1, padded: bool = True) -> Array:
    """A convolution, its batch norm and a rectifier; `padded` keeps the size at stride 1."""
    kernel = jnp.transpose(weights[f"{name}.conv.weight"], (2, 3, 1, 0))
    rims = [(n - 1) // 2 if padded else 0 for n in kernel.shape[:2]]
    y = lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(rim, rim) for rim in rims],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=lax.Precision.HIGHEST,
    )
    norm = {part: weights[f"{name}.bn.{part}"] for part in ("weight", "bias")}
    mean, variance = (weights[f"{name}.bn.running_{part}"] for part in ("mean", "var"))
    y = (y - mean) * (norm["weight"] / jnp.sqrt(variance + EPS)) + norm["bias"]
    return jax.nn.relu(y)


def _chain(weights: Weights, block: str, x: Array, *names: str) -> Array:
    for name in names:
        x = _layer(weights, f"{block}.{name}", x)
    return x


def _max_pool(x: Array, stride: int) -> Array:
    """The maximum over 3 x 3 pixels, padded at stride 1."""
    edges = [(0, 0), *[(1, 1) if stride == 1 else (0, 0)] * 2, (0, 0)]
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, stride, stride, 1), edges)


def _average_pool(x: Array) -> Array:
    """The mean over 3 x 3 pixels, of those that there are."""

    def total(x: Array) -> Array:
        edges = [(0, 0), (1, 1), (1, 1), (0, 0)]
        return lax.reduce_window(x, 0.0, lax.add, (1, 3, 3, 1), (1, 1, 1, 1), edges)

    return total(x) / total(jnp.ones((1, *x.shape[1:3], 1), x.dtype))


def _block_a(weights: Weights, block: str, x: Array) -> Array:
    parts = [
        _chain(weights, block, x, "branch1x1"),
        _chain(weights, block, x, "branch5x5_1", "branch5x5_2"),
        _chain(weights, block, x, *(f"branch3x3dbl_{i}" for i in (1, 2, 3))),
        _chain(weights, block, _average_pool(x), "branch_pool"),
    ]
    return jnp.concatenate(parts, axis=-1)


def _block_b(weights: Weights, block: str, x: Array) -> Array:
    half: Any = {"stride": 2, "padded": False}
    deep = _chain(weights, block, x, "branch3x3dbl_1", "branch3x3dbl_2")
    parts = [
        _layer(weights, f"{block}.branch3x3", x, **half),
        _layer(weights, f"{block}.branch3x3dbl_3", deep, **half),
        _max_pool(x, 2),
    ]
    return jnp.concatenate(parts, axis=-1)


def _block_c(weights: Weights, block: str, x: Array) -> Array:
    parts = [
        _chain(weights, block, x, "branch1x1"),
        _chain(weights, block, x, *(f"branch7x7_{i}" for i in (1, 2, 3))),
        _chain(weights, block, x, *(f"branch7x7dbl_{i}" for i in (1, 2, 3, 4, 5))),
        _chain(weights, block, _average_pool(x), "branch_pool"),
    ]
    return jnp.concatenate(parts, axis=-1)


def _block_d(weights: Weights, block: str, x: Array) -> Array:
    half: Any = {"stride": 2, "padded": False}
    wide = _chain(weights, block, x, *(f"branch7x7x3_{i}" for i in (1, 2, 3)))
    parts = [
        _layer(weights, f"{block}.branch3x3_2", _chain(weights, block, x, "branch3x3_1"), **half),
        _layer(weights, f"{block}.branch7x7x3_4", wide, **half),
        _max_pool(x, 2),
    ]
    return jnp.concatenate(parts, axis=-1)


def _block_e(weights: Weights, block: str, x: Array, pooled: Array) -> Array:
    short = _chain(weights, block, x, "branch3x3_1")
    deep = _chain(weights, block, x, "branch3x3dbl_1", "branch3x3dbl_2")
    parts = [
        _chain(weights, block, x, "branch1x1"),
        *(_chain(weights, block, short, f"branch3x3_2{i}") for i in "ab"),
        *(_chain(weights, block, deep, f"branch3x3dbl_3{i}") for i in "ab"),
        _chain(weights, block, pooled, "branch_pool"),
    ]
    return jnp.concatenate(parts, axis=-1)
