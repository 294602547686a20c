"""How good a trained network and its samples are: losses, distances, copies, and their tables."""

from edmjax.evaluation.bits import image_bits
from edmjax.evaluation.classifier import Classifier, Judge, Seen
from edmjax.evaluation.draws import Way, parse_way, plan_of
from edmjax.evaluation.frechet import frechet_distance
from edmjax.evaluation.losses import (
    LevelLoss,
    Mean,
    best_denoiser,
    level_losses,
    mean_loss,
    mean_of,
)
from edmjax.evaluation.neighbours import Neighbours, make_nearest
from edmjax.evaluation.plots import draw_levels, draw_quality
from edmjax.evaluation.precision_recall import PrecisionRecall, precision_recall
from edmjax.evaluation.quality import FIGURES, Reference, class_shares, figures_of
from edmjax.evaluation.rows import Rows, claim
from edmjax.evaluation.stored import (
    cache_path,
    find_classifier,
    load_classifier,
    make_classifier,
    scaled,
)
from edmjax.evaluation.subject import Subject, load_subject
from edmjax.evaluation.tables import (
    SAMPLE_COLUMNS,
    TEST_IMAGES,
    Quality,
    markdown,
    over_seeds,
    plus_minus,
    write_csv,
)

__all__ = [
    "FIGURES",
    "SAMPLE_COLUMNS",
    "TEST_IMAGES",
    "Classifier",
    "Judge",
    "LevelLoss",
    "Mean",
    "Neighbours",
    "PrecisionRecall",
    "Quality",
    "Reference",
    "Rows",
    "Seen",
    "Subject",
    "Way",
    "best_denoiser",
    "cache_path",
    "claim",
    "class_shares",
    "draw_levels",
    "draw_quality",
    "figures_of",
    "find_classifier",
    "frechet_distance",
    "image_bits",
    "level_losses",
    "load_classifier",
    "load_subject",
    "make_classifier",
    "make_nearest",
    "markdown",
    "mean_loss",
    "mean_of",
    "over_seeds",
    "parse_way",
    "plan_of",
    "plus_minus",
    "precision_recall",
    "scaled",
    "write_csv",
]


def __dir__() -> list[str]:
    return __all__
