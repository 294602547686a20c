"""Denoisers: from a network, or from anything that says the same, to `denoise(x, sigma)`.

The frame is variance exploding: `x = x0 + sigma * n` with `n` standard normal, and `denoise(x,
sigma)` estimates `E[x0 | x]`. Networks reach it by the preconditioning that they were trained with
(`edm`, `song`, `vp`, `ve`, `iddpm`, `flow`, `consistency`), or by what they predict in the scale
and time of a process (`eps`, `v`, `x0`, all of them `prediction`). Functions of `(x, sigma)` reach
it by conversion (`from_score`, `from_eps`, `from_v`, `from_x0`; the other way `to_score`, `to_eps`,
`to_v`). `quantized` is a denoiser at the nearest level of a table. Everything here is called as
`denoise(x, sigma)` or `denoise(x, sigma, cond)`. It is a pytree whose leaves are the network's
arrays and its own numbers, so it travels through `jit` as an argument.

`x` is any pytree of floating arrays; `sigma` is a scalar or has one level for each entry of axis 0,
and is broadcast from the left. The output has the structure, shapes and dtypes of `x`; coefficients
and sums are formed in at least float32 (float64 for float64 `sigma` or `x`).
"""

from collections.abc import Callable
from typing import Any

from edmjax._common.deprecation import former_names
from edmjax.denoisers.conversions import (
    denoised_from_eps,
    denoised_from_score,
    denoised_from_v,
    eps_from_denoised,
    from_eps,
    from_score,
    from_v,
    from_x0,
    score_from_denoised,
    to_eps,
    to_score,
    to_v,
    v_from_denoised,
)
from edmjax.denoisers.network import Preconditioned
from edmjax.denoisers.preconditionings import consistency, edm, flow, iddpm, song, ve, vp
from edmjax.denoisers.predictions import eps, prediction, v, x0
from edmjax.denoisers.quantized import quantized

__all__ = [
    "Preconditioned",
    "consistency",
    "denoised_from_eps",
    "denoised_from_score",
    "denoised_from_v",
    "edm",
    "eps",
    "eps_from_denoised",
    "flow",
    "from_eps",
    "from_score",
    "from_v",
    "from_x0",
    "iddpm",
    "prediction",
    "quantized",
    "score_from_denoised",
    "song",
    "to_eps",
    "to_score",
    "to_v",
    "v",
    "v_from_denoised",
    "ve",
    "vp",
    "x0",
]

_CLASSES = ("EDM", "IDDPM", "VE", "VP", "Consistency", "Flow", "Song")
__getattr__: Callable[[str], Any] = former_names(
    __name__,
    {name: f"{__name__}.preconditionings.{name}" for name in _CLASSES}
    | {
        "Converted": f"{__name__}.conversions.Converted",
        "Prediction": f"{__name__}.predictions.Prediction",
    },
)


def __dir__() -> list[str]:
    return __all__
