"""How good a trained network and its samples are: losses, bits, distances, copies."""

import warnings
from typing import Any

from edmjax.evaluation.bits import image_bits
from edmjax.evaluation.budgets import Method, parse_methods, plan_of
from edmjax.evaluation.classifier import Classified, Classifier, TrainedClassifier, load_classifier
from edmjax.evaluation.distances import (
    Neighbours,
    PrecisionRecall,
    frechet_distance,
    make_nearest,
    precision_recall,
)
from edmjax.evaluation.losses import LevelLoss, Mean, best_denoiser, level_losses, mean_loss
from edmjax.evaluation.measure import QUICK, Amounts, evaluate
from edmjax.evaluation.quality import FIGURES

__all__ = [
    "FIGURES", "QUICK", "Amounts", "Classified", "Classifier", "LevelLoss", "Mean", "Method",
    "Neighbours", "PrecisionRecall", "TrainedClassifier", "best_denoiser", "evaluate",
    "frechet_distance", "image_bits", "level_losses", "load_classifier", "make_nearest",
    "mean_loss", "parse_methods", "plan_of", "precision_recall",
]  # fmt: skip

_RENAMED = {
    "Judge": "TrainedClassifier",
    "Seen": "Classified",
    "Way": "Method",
    "parse_way": "parse_methods",
}


def __getattr__(name: str) -> Any:
    if name not in _RENAMED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    new = _RENAMED[name]
    warnings.warn(
        f"ej.evaluation.{name} is now ej.evaluation.{new}.", DeprecationWarning, stacklevel=2
    )
    return globals()[new]


def __dir__() -> list[str]:
    return __all__
