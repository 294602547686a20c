"""Training losses as pure functions of `(net, params, x0, key)`.

`net(params, x, c_noise)` or `net(params, x, c_noise, cond)` is the raw network `F`. A module of
Flax NNX or Equinox, which holds its parameters and is called as `net(x, c_noise)`, goes with
`params` None. `x0` is a batch of clean data, an array or a pytree of arrays, axis 0 counting
samples. A loss is one number: the **sum over the entries of a sample and the mean over samples** of
a weighted squared error; `*_per_sample` is the same before the mean, with the noise levels. Noise
levels and noises are drawn from `key`: `key_level, key_noise = split(key)`, one level a sample, in
the precision of the data (float32 for float32 data, whatever x64).

    edm, dsm           of the denoisers `denoisers.edm` and `denoisers.song`
    prediction, flow   of `denoisers.prediction` (eps, v, x0) and `denoisers.flow`
    min_snr, p2        fixed weights for each noise level
    uncertainty_weighted and its siblings   a learned one
    with_aux           of a network that returns `(F, aux)`

All of them take

* `weights`, of the squared errors of entries: an array that broadcasts to `x0`, or a pytree of one
  for each leaf. An entry of weight 0 takes no part, so that a mask is a weight. The default is 1.
* `levels` (`times` where the network knows times), one number a sample: the numbers themselves, or
  a function `(key, n) -> numbers` in place of the loss's own law.
* `noise`, a function `(keys, like) -> noise` in place of white noise: `keys` is one key a sample,
  and `like` has the structure, shapes and dtypes to return.

`stratified` draws the levels of a batch together, one in each of as many equally likely intervals,
in a random order: the same distribution for each sample, and a loss that varies less from batch to
batch (after the low-discrepancy sampler of times of Kingma et al. 2021, arXiv 2107.00630).

All of them raise TypeError unless `net` is a function, or a module with `params` None, `x0` holds
floating arrays, `key` is a single typed key and each option a number; ValueError where an option is
out of its range, `x0` has no samples, `weights` do not broadcast to it, `levels` are not one number
a sample, or `net` or `noise` return other shapes than `x0` has.
"""

from edmjax.losses.auxiliary import with_aux
from edmjax.losses.batch import ParametricNetwork, PerSample
from edmjax.losses.denoising import dsm, dsm_per_sample, edm, edm_per_sample
from edmjax.losses.predictions import (
    flow,
    flow_per_sample,
    prediction,
    prediction_per_sample,
)
from edmjax.losses.uncertainty import init_uncertainty, log_uncertainty, uncertainty_weighted
from edmjax.losses.weightings import min_snr, p2

__all__ = [
    "ParametricNetwork",
    "PerSample",
    "dsm",
    "dsm_per_sample",
    "edm",
    "edm_per_sample",
    "flow",
    "flow_per_sample",
    "init_uncertainty",
    "log_uncertainty",
    "min_snr",
    "p2",
    "prediction",
    "prediction_per_sample",
    "uncertainty_weighted",
    "with_aux",
]


def __dir__() -> list[str]:
    return __all__
