"""Log-densities and codes along the probability flow, in the frame `x = x0 + sigma n`.

`log_likelihood` is `log p(x0)` in nats at noise level `sigma_min`, and `bits_per_dim` makes it bits
a pixel; `encode` takes data to noise and `decode` takes it back. They follow

    dx/dsigma = (x - D(x, sigma)) / sigma

on a fixed grid (`plan`), by an adaptive solver of diffrax (`solver`), or by `reversible`, whose
steps back undo its steps forward.
"""

from edmjax.likelihood.bits import bits_per_dim, dequantize
from edmjax.likelihood.density import Stats, log_likelihood
from edmjax.likelihood.encoding import decode, encode, round_trip
from edmjax.likelihood.reversing import Pair, Reversible, reversible

__all__ = [
    "Pair",
    "Reversible",
    "Stats",
    "bits_per_dim",
    "decode",
    "dequantize",
    "encode",
    "log_likelihood",
    "reversible",
    "round_trip",
]


def __dir__() -> list[str]:
    return __all__
