"""How near samples are to a law: distances of two sets, and the calibration of posteriors.

    sliced_wasserstein, energy_distance   distances of two sets, in the units of the data
    c2st                                  how often a classifier tells two sets apart
    ranks                                 of the truth among posterior samples
    central_coverage, highest_density_coverage, tarp   how often regions hold the truth

Each comes with its standard error, or with what chance alone would give. The first three compare
samples with samples of the right law. The others need no right law: only simulated pairs of
parameters ("the truth") and data, and posterior samples given the data of each pair.
"""

from edmjax.metrics.classifier import Classifier, c2st
from edmjax.metrics.coverage import (
    Coverage,
    Ranks,
    central_coverage,
    highest_density_coverage,
    ranks,
    tarp,
)
from edmjax.metrics.distances import energy_distance, sliced_wasserstein
from edmjax.metrics.sets import Estimate

__all__ = [
    "Classifier",
    "Coverage",
    "Estimate",
    "Ranks",
    "c2st",
    "central_coverage",
    "energy_distance",
    "highest_density_coverage",
    "ranks",
    "sliced_wasserstein",
    "tarp",
]


def __dir__() -> list[str]:
    return __all__
