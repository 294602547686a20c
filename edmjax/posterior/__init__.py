"""Posterior sampling: what was measured of a sample, and samplers of what it might have been.

A measurement is `y = A(x0) + noise_std n`. A method makes of the prior's denoiser one of the
posterior, which every sampler of the package runs:

    measured = ej.posterior.mask(keep, y, noise_std=0.1)
    x0 = ej.sample(ej.posterior.mmps(denoise, measured), plan, x)
"""

from edmjax.posterior.known import blur, downsample, fourier, mask, matrix, separable
from edmjax.posterior.measurements import (
    Likelihood,
    Linear,
    Measurement,
    Noisy,
    likelihood,
    linear,
    nonlinear,
)
from edmjax.posterior.moments import mmps, pigdm, tmpd

__all__ = [
    "Likelihood",
    "Linear",
    "Measurement",
    "Noisy",
    "blur",
    "downsample",
    "fourier",
    "likelihood",
    "linear",
    "mask",
    "matrix",
    "mmps",
    "nonlinear",
    "pigdm",
    "separable",
    "tmpd",
]


def __dir__() -> list[str]:
    return __all__
