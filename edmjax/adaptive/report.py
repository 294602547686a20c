"""What an adaptive solver says of its run, and what becomes of a sample that did not finish.

The rule is one for `ej.adaptive.sample`, `ej.terms.adaptive_sample` and `ej.likelihood`: such a
sample is NaN, the others are kept, and outside of `jit` a RuntimeWarning names it.
"""

import dataclasses
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from edmjax._common.arrays import from_left
from edmjax._common.exported import serializable
from edmjax._common.typing import PyTree


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Report:
    """Counts of a run, each of shape (batch,); equal for all samples where they share their steps.

    Attributes:
        nfe: evaluations of the denoiser that this sample needed, including rejected steps. The
            network runs on the whole batch until the last sample is done: its cost is the largest.
        accepted: steps that were taken.
        rejected: steps that were tried, and repeated with a shorter one.
        sigma: the level that was reached; `sigma_min` where finished.
        finished: False where `max_steps` came first; such a sample is NaN.
    """

    nfe: jax.Array
    accepted: jax.Array
    rejected: jax.Array
    sigma: jax.Array
    finished: jax.Array

    @property
    def unfinished(self) -> np.ndarray:
        """The indices of the samples that did not finish. Not under jit."""
        return np.flatnonzero(~np.asarray(self.finished))

    def failure(self) -> str | None:
        """A sentence that names the samples that did not finish; None where all did.

        Not under jit.
        """
        which = self.unfinished
        if len(which) == 0:
            return None
        shown = ", ".join(
            f"{i} (at sigma {float(self.sigma[i]):.4g}, {int(self.rejected[i])} rejected)"
            for i in which[:4]
        )
        return (
            f"{len(which)} of {len(np.asarray(self.finished))} samples did not finish within "
            f"max_steps and are NaN: {shown}{', ...' if len(which) > 4 else ''}. Raise `max_steps` "
            "or the tolerances, which may be below the rounding of the points; or see whether the "
            "denoiser returns NaN there, or `noise` holds too few draws."
        )

    def check(self) -> None:
        """Raises RuntimeError, with that sentence, where a sample did not finish. Not under jit."""
        failure = self.failure()
        if failure is not None:
            raise RuntimeError(failure)


serializable(Report, read=tuple)


def warn_of_unfinished(report: Report, *, stacklevel: int) -> None:
    """Warns of the samples that did not finish, where that is known: outside of `jit`.

    With a `stacklevel` of 2 the warning points at the caller of the function that calls this one.
    """
    if isinstance(report.finished, Tracer):
        return
    failure = report.failure()
    if failure is not None:
        warnings.warn(failure, RuntimeWarning, stacklevel=stacklevel + 1)


def nan_unless(finished: Any, tree: PyTree) -> Any:
    """`tree` with NaN in place of the samples, on axis 0 of every leaf, that did not finish."""
    return jax.tree.map(lambda leaf: jnp.where(from_left(finished, leaf), leaf, jnp.nan), tree)
