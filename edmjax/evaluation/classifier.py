"""A small classifier of MNIST, whose last hidden layer is where samples are compared.

It stands where FID has Inception: figures are comparable only where the classifier is the same, so
its seed is fixed and its file has a checksum (`stored.py`).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from edmjax.nn.convolutions import Conv
from edmjax.nn.functional import Functional

NUM_FEATURES = 64


class Classifier(nnx.Module):
    """Three convolutions with stride 2 and two dense layers: `net(x)` gives logits (batch, 10).

    For images (batch, 28, 28, 1) with values from -1 to 1. `features(x)` is the last hidden layer,
    (batch, 64). 224,970 parameters.
    """

    def __init__(self, *, rngs: nnx.Rngs):
        self.convs = nnx.List(
            [
                Conv(1, 32, 5, stride=2, padding=2, rngs=rngs),  # 28 to 14
                Conv(32, 64, 3, stride=2, padding=1, rngs=rngs),  # to 7
                Conv(64, 128, 3, stride=2, padding=1, rngs=rngs),  # to 4
            ]
        )
        self.hidden = nnx.Linear(4 * 4 * 128, NUM_FEATURES, rngs=rngs)
        self.logits = nnx.Linear(NUM_FEATURES, 10, rngs=rngs)

    def features(self, x: Float[Array, "batch 28 28 1"]) -> Float[Array, "batch 64"]:
        for layer in self.convs:
            x = nnx.swish(layer(x))
        return nnx.swish(self.hidden(x.reshape(x.shape[0], -1)))

    def __call__(self, x: Float[Array, "batch 28 28 1"]) -> Float[Array, "batch 10"]:
        return self.logits(self.features(x))


class Seen(NamedTuple):
    """What a classifier makes of `n` images."""

    features: Float[np.ndarray, "n 64"]
    probabilities: Float[np.ndarray, "n 10"]


class Judge(NamedTuple):
    """A trained classifier: its structure, its parameters, and the SHA-256 of its file."""

    apply: Functional
    params: dict[str, Any]
    sha256: str
    test_accuracy: float

    def __call__(self, images: Float[np.ndarray, "n 28 28 1"], chunk_size: int = 500) -> Seen:
        """Features and probabilities of images with values from -1 to 1, in float32."""
        parts = [
            _see(self.apply, self.params, images[start : start + chunk_size])
            for start in range(0, len(images), chunk_size)
        ]
        features, logits = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Seen(features, np.asarray(jax.nn.softmax(logits)))


@jax.jit
def _see(apply: Functional, params: Any, images: Any) -> tuple[Any, Any]:
    net: Any = apply.merge(params)
    features = net.features(jnp.asarray(images))
    return features, net.logits(features)
