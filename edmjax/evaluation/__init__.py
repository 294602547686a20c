"""How good a trained network and its samples are: losses, bits, distances, copies."""

from collections.abc import Callable
from typing import Any

from edmjax._common.deprecation import former_names
from edmjax.evaluation.amounts import QUICK, Amounts
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
from edmjax.evaluation.features import Features, load_features
from edmjax.evaluation.losses import LevelLoss, Mean, best_denoiser, level_losses, mean_loss
from edmjax.evaluation.measure import evaluate
from edmjax.evaluation.quality import FIGURES, SET_FIGURES

__all__ = [
    "FIGURES", "QUICK", "SET_FIGURES", "Amounts", "Classified", "Classifier", "Features",
    "LevelLoss", "Mean", "Method", "Neighbours", "PrecisionRecall", "TrainedClassifier",
    "best_denoiser", "evaluate", "frechet_distance", "image_bits", "level_losses",
    "load_classifier", "load_features", "make_nearest", "mean_loss", "parse_methods", "plan_of",
    "precision_recall",
]  # fmt: skip

# Names that were public here in the last release, by the file that they lie in.
_MOVED = {
    "losses": "mean_of",
    "quality": "class_shares figures_of",
    "report": "claim",
    "results": "SAMPLE_COLUMNS TEST_IMAGES Quality draw_levels draw_quality markdown over_seeds "
    "plus_minus",
    "subject": "Subject load_subject scaled",
}

__getattr__: Callable[[str], Any] = former_names(
    __name__,
    {
        "Judge": "edmjax.evaluation.TrainedClassifier",
        "Seen": "edmjax.evaluation.Classified",
        "Way": "edmjax.evaluation.Method",
        "parse_way": "edmjax.evaluation.parse_methods",
        **{
            name: f"edmjax.evaluation.{module}.{name}"
            for module, names in _MOVED.items()
            for name in names.split()
        },
    },
)


def __dir__() -> list[str]:
    return __all__
