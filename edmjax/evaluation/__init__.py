"""How good a trained network and its samples are: losses, distances, copies, and their tables."""

from edmjax.evaluation.bits import image_bits as image_bits
from edmjax.evaluation.classifier import Classifier as Classifier, Judge as Judge, Seen as Seen
from edmjax.evaluation.draws import (
    Way as Way,
    parse_way as parse_way,
    plan_of as plan_of,
)
from edmjax.evaluation.frechet import frechet_distance as frechet_distance
from edmjax.evaluation.losses import (
    LevelLoss as LevelLoss,
    Mean as Mean,
    best_denoiser as best_denoiser,
    level_losses as level_losses,
    mean_loss as mean_loss,
    mean_of as mean_of,
)
from edmjax.evaluation.neighbours import Neighbours as Neighbours, make_nearest as make_nearest
from edmjax.evaluation.plots import draw_levels as draw_levels, draw_quality as draw_quality
from edmjax.evaluation.precision_recall import (
    PrecisionRecall as PrecisionRecall,
    precision_recall as precision_recall,
)
from edmjax.evaluation.quality import (
    FIGURES as FIGURES,
    Reference as Reference,
    class_shares as class_shares,
    figures_of as figures_of,
)
from edmjax.evaluation.rows import Rows as Rows, claim as claim
from edmjax.evaluation.stored import (
    cache_path as cache_path,
    find_classifier as find_classifier,
    load_classifier as load_classifier,
    make_classifier as make_classifier,
    scaled as scaled,
)
from edmjax.evaluation.subject import Subject as Subject, load_subject as load_subject
from edmjax.evaluation.tables import (
    SAMPLE_COLUMNS as SAMPLE_COLUMNS,
    TEST_IMAGES as TEST_IMAGES,
    Quality as Quality,
    markdown as markdown,
    over_seeds as over_seeds,
    plus_minus as plus_minus,
    write_csv as write_csv,
)
