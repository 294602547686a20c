"""Noise: what sample `i` draws depends on `(key, i)` alone.

`sample_keys` gives each sample its key, `normal_like` draws from one, and `brownian` makes draws
the increments of one path, so that plans with different numbers of steps share it.
"""

from edmjax.noise.keys import normal_like, sample_keys
from edmjax.noise.paths import Brownian, brownian

__all__ = [
    "Brownian",
    "brownian",
    "normal_like",
    "sample_keys",
]


def __dir__() -> list[str]:
    return __all__
