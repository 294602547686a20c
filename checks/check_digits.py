"""Prints how good the samples of a digits run are, beside real digits that were held out.

    python checks/check_digits.py runs/digits

Sure: the share of samples for which a classifier gives some class a probability above 0.9. The
classifiers for the samples are fitted on all real digits, those for the held-out digits on the
rest.

Nearest neighbour: the distance (root of the sum of squares, values from -1 to 1) from a sample to
the closest real digit, and from a held-out digit to the closest one of the rest. Samples that copy
would lie at 0; samples that are new lie as far off as real digits that are new.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from edmjax import training

# Their stubs know neither numbers for gamma nor False for ensemble.
_SVC: Any = SVC
_CALIBRATED: Any = CalibratedClassifierCV


def _with_probabilities(classifier: Any) -> Any:
    """A classifier that gives no probabilities, with those of a sigmoid of its decision (Platt)."""
    return _CALIBRATED(classifier, ensemble=False)


# On pixels from 0 to 16; gamma is that of scikit-learn's own example on these digits.
CLASSIFIERS: dict[str, Any] = {
    "SVC, gamma 0.001": _with_probabilities(_SVC(gamma=0.001)),
    "SVC, default": _with_probabilities(_SVC()),
    "logistic regression": LogisticRegression(max_iter=5000),
    "logistic, standardised": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
    "perceptron, 128": MLPClassifier((128,), max_iter=500, random_state=0),
    "perceptron, 64-64": MLPClassifier((64, 64), max_iter=500, random_state=1),
    "5 neighbours": KNeighborsClassifier(5),
}
HELD_OUT = 300


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", help="of a training run: it holds samples.npz")
    directory = Path(parser.parse_args(argv).directory)

    samples = (np.load(directory / "samples.npz")["x"].reshape(-1, 64) + 1) * 8
    digits = training.load_dataset("digits")
    real, labels = digits.images.reshape(-1, 64).astype(float), digits.labels
    order = np.random.default_rng(0).permutation(len(real))
    held, rest = order[:HELD_OUT], order[HELD_OUT:]

    print(f"{'sure (above 0.9)':26}{'samples':>10}{'held-out':>10}")
    for name in CLASSIFIERS:
        fitted, fair = fit(name, real, labels), fit(name, real[rest], labels[rest])
        print(f"{name:26}{sure(fitted, samples):10.1%}{sure(fair, real[held]):10.1%}")

    counts = np.bincount(fit("SVC, gamma 0.001", real, labels).predict(samples), minlength=10)
    print(f"\nclasses 0 to 9: {' '.join(map(str, counts))}")

    quantiles = [0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95]
    print(f"\n{'nearest neighbour':26}" + "".join(f"{f'{q:.0%}':>7}" for q in quantiles))
    for name, points, others in [
        ("samples to all real", samples, real),
        ("samples to the rest", samples, real[rest]),
        ("held-out to the rest", real[held], real[rest]),
    ]:
        row = np.quantile(nearest(points / 8, others / 8), quantiles)
        print(f"{name:26}" + "".join(f"{value:7.2f}" for value in row))


def fit(name: str, points: np.ndarray, labels: np.ndarray) -> Any:
    """The classifier of this name, fitted."""
    classifier: Any = clone(CLASSIFIERS[name])
    return classifier.fit(points, labels)


def sure(classifier: Any, points: np.ndarray) -> float:
    """The share of points with a class that has a probability above 0.9."""
    return float((classifier.predict_proba(points).max(axis=1) > 0.9).mean())


def nearest(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The distance from every point to the closest of the others."""
    squares = (points**2).sum(1)[:, None] + (others**2).sum(1) - 2 * points @ others.T
    return np.sqrt(np.maximum(squares.min(axis=1), 0))


if __name__ == "__main__":
    main()
