"""What an adaptive sampler says of its run."""

import dataclasses
from typing import Any

import jax
import numpy as np


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Report:
    """Counts of a run, each of shape (batch,); equal for all samples where they share their steps.

    Attributes:
        nfe: evaluations of the denoiser that this sample needed, those of rejected steps included.
            The network runs on the whole batch until the last sample is done: its cost is the
            largest.
        accepted: steps that were taken.
        rejected: steps that were tried, and repeated with a shorter one.
        sigma: the level that was reached; `sigma_min` where finished.
        finished: False where `max_steps` came first; such a sample is NaN.
    """

    nfe: Any
    accepted: Any
    rejected: Any
    sigma: Any
    finished: Any

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
            f"{len(which)} of {len(np.asarray(self.finished))} samples did not reach sigma_min "
            f"within max_steps and are NaN: {shown}{', ...' if len(which) > 4 else ''}. Raise "
            "`max_steps` or the tolerances, or look whether the denoiser returns NaN there, or "
            "`noise` holds too few draws."
        )
