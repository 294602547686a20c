"""A small classifier of MNIST, whose last hidden layer has the features that samples are judged by.

It stands where the Fréchet inception distance has Inception. Figures compare only where the
classifier is the same; `benchmarks/mnist/train_classifier.py` trains one.
"""

import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from edmjax.nn.convolutions import Conv
from edmjax.nn.functional import Arrays, Functional, functional
from edmjax.training.checkpoints import load_weights
from edmjax.training.files import sha256

NUM_FEATURES = 64


class Classifier(nnx.Module):
    """Three convolutions with stride 2 and two dense layers: `net(x)` gives logits (batch, 10).

    For images (batch, 28, 28, 1) with values from -1 to 1. `features(x)` is the last hidden layer,
    (batch, 64). 224,970 parameters.
    """

    def __init__(self, *, rngs: nnx.Rngs):
        sizes = (1, 32, 5), (32, 64, 3), (64, 128, 3)  # from 28 pixels to 14, to 7, to 4
        self.convs: nnx.List[Conv] = nnx.List(
            [Conv(a, b, k, stride=2, padding=k // 2, rngs=rngs) for a, b, k in sizes]
        )
        self.hidden: nnx.Linear = nnx.Linear(4 * 4 * 128, NUM_FEATURES, rngs=rngs)
        self.logits: nnx.Linear = nnx.Linear(NUM_FEATURES, 10, rngs=rngs)

    def features(self, x: Float[Array, "batch 28 28 1"]) -> Float[Array, "batch 64"]:
        """The last hidden layer."""
        for layer in self.convs:
            x = nnx.swish(layer(x))
        return nnx.swish(self.hidden(x.reshape(x.shape[0], -1)))

    def __call__(self, x: Float[Array, "batch 28 28 1"]) -> Float[Array, "batch 10"]:
        return self.logits(self.features(x))


class Classified(NamedTuple):
    """The features of `n` images, and the probabilities of their classes."""

    features: Float[np.ndarray, "n features"]
    probabilities: Float[np.ndarray, "n 10"]


class TrainedClassifier(NamedTuple):
    """A trained classifier: its structure, its parameters, and what its file says.

    Attributes:
        apply: the structure of a `Classifier`.
        params: its parameters, by name.
        sha256: of its file.
        test_accuracy: the share of MNIST's test images that it classifies correctly.
    """

    apply: Functional
    params: Arrays
    sha256: str
    test_accuracy: float

    def __call__(self, images: Float[np.ndarray, "n 28 28 1"], chunk_size: int = 500) -> Classified:
        """Features and probabilities of images with values from -1 to 1, in float32."""
        parts = [
            _classify(self.apply, self.params, images[start : start + chunk_size])
            for start in range(0, len(images), chunk_size)
        ]
        features, logits = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Classified(features, np.asarray(jax.nn.softmax(logits)))


@jax.jit
def _classify(
    apply: Functional, params: Arrays, images: Float[Array, "n 28 28 1"]
) -> tuple[Array, Array]:
    net: Any = apply.merge(params)
    features = net.features(jnp.asarray(images))
    return features, net.logits(features)


def load_classifier(path: str | os.PathLike[str]) -> TrainedClassifier:
    """The classifier of a file that `benchmarks/mnist/train_classifier.py` has written.

    `FileNotFoundError` where there is none; `ValueError` where the file is damaged or holds another
    network.
    """
    advice = "train one with benchmarks/mnist/train_classifier.py of a checkout of edmjax."
    if not os.path.isfile(path):
        raise FileNotFoundError(f"There is no classifier {path}: {advice}")
    arrays, config = load_weights(path)
    apply, expected = functional(nnx.eval_shape(lambda: Classifier(rngs=nnx.Rngs(0))))
    shapes = {name: array.shape for name, array in arrays.items()}
    if shapes != {name: array.shape for name, array in expected.items()}:
        raise ValueError(f"{path} does not hold the classifier of MNIST: {advice}")
    return TrainedClassifier(apply, arrays, sha256(path), float(config["test_accuracy"]))
