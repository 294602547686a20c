"""What is measured of a set of images against the training images: one row of figures."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from edmjax.evaluation.classifier import Seen
from edmjax.evaluation.frechet import frechet_distance
from edmjax.evaluation.neighbours import Neighbours
from edmjax.evaluation.precision_recall import precision_recall

CONFIDENT = 0.9
QUANTILES = (0.0, 0.01, 0.1, 0.5, 0.9)
# What is measured of samples, by the name of the figure in the tables.
FIGURES = {
    "frechet": "squared Fréchet distance of the features to those of training images",
    "confident": f"share with a probability of a class above {CONFIDENT}",
    "off_class": "largest deviation of a class's share from the training set's, percentage points",
    "precision": "share in the manifold of training images",
    "recall": "share of training images in the manifold of these",
    "copied": "share at less than a third of the distance of the second nearest training image",
    **{
        f"distance_{round(100 * q)}": f"{q:.0%} quantile of the distance to the nearest training "
        "image, in pixels' units"
        for q in QUANTILES
    },
    **{f"class_{c}": f"share of class {c}" for c in range(10)},
}


class Reference(NamedTuple):
    """What images are compared with: the features of as many training images, and all of them."""

    features: Float[np.ndarray, "n 64"]
    shares: Float[np.ndarray, "10"]
    nearest: Callable[[np.ndarray], Neighbours]


def class_shares(labels: Int[np.ndarray, " n"]) -> Float[np.ndarray, "10"]:
    """The share of each class from 0 to 9."""
    return np.bincount(labels, minlength=10) / len(labels)


def figures_of(
    images: Float[np.ndarray, "n 28 28 1"],
    judge: Callable[[np.ndarray], Seen],
    reference: Reference,
) -> dict[str, float]:
    """All of `FIGURES` for some images with values from -1 to 1; `judge` is a classifier.

    `ValueError` where an image is not finite.
    """
    if not np.isfinite(images).all():
        bad = int((~np.isfinite(images).all(axis=(1, 2, 3))).sum())
        raise ValueError(f"{bad} of {len(images)} samples are not finite: the sampler diverged.")
    seen = judge(images)
    shares = class_shares(seen.probabilities.argmax(axis=1))
    inside = precision_recall(reference.features, seen.features)
    near = reference.nearest(images)
    distances = np.quantile(near.first, QUANTILES)
    found = {
        "frechet": frechet_distance(seen.features, reference.features),
        "confident": (seen.probabilities.max(axis=1) > CONFIDENT).mean(),
        "off_class": 100 * np.abs(shares - reference.shares).max(),
        "precision": inside.precision,
        "recall": inside.recall,
        "copied": near.copied(),
        **{f"distance_{round(100 * q)}": d for q, d in zip(QUANTILES, distances, strict=True)},
        **{f"class_{c}": share for c, share in enumerate(shares)},
    }
    return {name: float(value) for name, value in found.items()}
