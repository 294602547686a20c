"""What is measured of a set of images against the training images: one row of figures."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from edmjax.evaluation.classifier import Classified
from edmjax.evaluation.distances import Neighbours, frechet_distance, precision_recall

CONFIDENT = 0.9
QUANTILES = (0.0, 0.01, 0.1, 0.5, 0.9)
# What is measured of the pixels of samples, by the name of the figure in the tables.
PIXEL_FIGURES = {
    "copied": "share at less than a third of the distance of the second nearest training image",
    **{
        f"distance_{round(100 * q)}": f"{q:.0%} quantile of the distance to the nearest training "
        "image, in pixels' units"
        for q in QUANTILES
    },
}
# The same, and what a classifier sees.
FIGURES = {
    "frechet": "squared Fréchet distance of the features to those of training images",
    "confident": f"share with a probability of a class above {CONFIDENT}",
    "off_class": "largest deviation of a class's share from the training set's, percentage points",
    "precision": "share in the manifold of training images",
    "recall": "share of training images in the manifold of these",
    **PIXEL_FIGURES,
    **{f"class_{c}": f"share of class {c}" for c in range(10)},
}


class Reference(NamedTuple):
    """A classifier, and what it is compared on.

    Attributes:
        classify: the classifier.
        features: those of as many training images as there are images.
        shares: of the classes in the training set.
    """

    classify: Callable[[np.ndarray], Classified]
    features: Float[np.ndarray, "n features"]
    shares: Float[np.ndarray, "10"]


def class_shares(labels: Int[np.ndarray, " n"]) -> Float[np.ndarray, "10"]:
    """The share of each class from 0 to 9."""
    return np.bincount(labels, minlength=10) / len(labels)


def figures_of(
    images: Float[np.ndarray, "n 28 28 1"],
    nearest: Callable[[np.ndarray], Neighbours],
    reference: Reference | None = None,
) -> dict[str, float]:
    """The figures of images with values from -1 to 1, in the order of `FIGURES`.

    `nearest` gives the distances to the nearest training images (`make_nearest`). Without a
    `reference` there are `PIXEL_FIGURES` alone. `ValueError` where an image is not finite.
    """
    if not np.isfinite(images).all():
        bad = int((~np.isfinite(images).all(axis=(1, 2, 3))).sum())
        raise ValueError(f"{bad} of {len(images)} samples are not finite: the sampler diverged.")
    near = nearest(images)
    distances = np.quantile(near.first, QUANTILES)
    found = {"copied": near.copied()} | {
        f"distance_{round(100 * q)}": d for q, d in zip(QUANTILES, distances, strict=True)
    }
    if reference is not None:
        seen = reference.classify(images)
        shares = class_shares(seen.probabilities.argmax(axis=1))
        precision, recall = precision_recall(reference.features, seen.features)
        found |= {
            "frechet": frechet_distance(seen.features, reference.features),
            "confident": (seen.probabilities.max(axis=1) > CONFIDENT).mean(),
            "off_class": 100 * np.abs(shares - reference.shares).max(),
            "precision": precision,
            "recall": recall,
            **{f"class_{c}": share for c, share in enumerate(shares)},
        }
    return {name: float(found[name]) for name in FIGURES if name in found}
