"""Guidance: functions from a denoiser to a denoiser, so every sampler works with each of them.

`classifier_free` and `autoguidance` evaluate two branches and extrapolate from the negative one
through the positive one:

    D = D_neg + scale (D_pos - D_neg)

`scale` 1 is the positive branch, here the conditional or the better network; 0 is the negative one.
Where other code has a scale `w` with `(1 + w) D_pos - w D_neg` (Ho and Salimans 2022, equation 6),
`scale = 1 + w`. As D is linear in eps, score and v at a given (x, sigma), guiding any of them by
the same scale is guiding D.

`interval`, `adaptive_projected` and `rescale` change how the two branches are combined; they take
the denoiser that `classifier_free` or `autoguidance` returned, and cost no evaluation. `clip` and
`dynamic_threshold` take any denoiser. `cfg_pp` is for samplers that step along the unguided output.

The result is a pytree whose leaves are the network's arrays and the numbers given, so other scales
share one compiled program. `x` is any pytree of floating arrays with samples on axis 0 of every
leaf. (One sample is a batch of one: guidance does not work with `batched=False` of `sample`.) A
statistic is taken of each sample alone, over all entries of all its leaves as one vector, and in at
least float32.

A denoiser may return `{"x0", "raw", "log_var"}`. Guidance combines the two `x0`, and by the same
rule the two `raw`; `log_var`, and anything else, is taken from the positive branch. Thresholds
change `x0` and keep the rest; `raw` is then the output before the threshold.
"""

from edmjax.guidance.branches import Guided, autoguidance, cfg_pp, classifier_free
from edmjax.guidance.rules import adaptive_projected, interval, rescale
from edmjax.guidance.thresholds import clip, dynamic_threshold

__all__ = [
    "Guided",
    "adaptive_projected",
    "autoguidance",
    "cfg_pp",
    "classifier_free",
    "clip",
    "dynamic_threshold",
    "interval",
    "rescale",
]


def __dir__() -> list[str]:
    return __all__
