"""What a fit found: its errors on the noises that it was fitted to, and on those held out."""

from typing import Any, NamedTuple

import numpy as np


class Report(NamedTuple):
    """How well a fit did; an error is that of a sample, the root mean square of its components.

    Attributes:
        train_error: the root mean square of the errors, on the noises that were fitted to.
        validation_error: the same on the noises that chose among iterates.
        validation_median: the median of the errors on those.
        start_error: `validation_error` of the start that was the best on them.
        start: what that was.
        num_train: how many noises were fitted to.
        num_validation: how many chose.
    """

    train_error: float
    validation_error: float
    validation_median: float
    start_error: float
    start: str
    num_train: int
    num_validation: int

    def __str__(self) -> str:
        return (
            f"{self.num_train} noises, RMS error {self.train_error:.3g}; {self.num_validation} "
            f"more that chose, {self.validation_error:.3g} (median {self.validation_median:.3g}; "
            f"{self.start_error:.3g} at the start, {self.start})"
        )


def report_of(train: Any, validation: Any, start: Any, name: str) -> Report:
    """The report of errors of samples."""
    return Report(
        train_error=rms(train),
        validation_error=rms(validation),
        validation_median=float(np.median(np.asarray(validation))),
        start_error=rms(start),
        start=name,
        num_train=len(train),
        num_validation=len(validation),
    )


def rms(errors: Any) -> float:
    return float(np.sqrt(np.mean(np.asarray(errors, np.float64) ** 2)))
