"""Processes: changes of variable between the package's frame and the frames of other papers.

The frame is variance exploding, and its time is the noise level. A process has a time `t` of its
own, with data at `t = 0` and noise at `t = t_max`, and holds

    x_process(t) = scale(t) (x0 + sigma(t) n),    n standard normal;

`to_ve` brings its points into the frame. As a forward SDE it is `dx = f(t) x dt + g(t) dw` with

    f = scale' / scale,    g^2 = variance' - 2 f variance,    variance = (scale sigma)^2.

Where times and levels are numbers or NumPy arrays, everything is computed in float64 on the host,
whether or not JAX's x64 mode is on. JAX arrays and traced values are computed with in their own
precision, at least float32.
"""

from edmjax.processes.continuous import (
    cosine,
    edm,
    song_ve,
    sub_vp,
    ve,
    vp,
)
from edmjax.processes.discrete import DDPM, ddpm
from edmjax.processes.flows import Flow, flow
from edmjax.processes.process import Levels, Process, array_module

__all__ = [
    "DDPM",
    "Flow",
    "Levels",
    "Process",
    "array_module",
    "cosine",
    "ddpm",
    "edm",
    "flow",
    "song_ve",
    "sub_vp",
    "ve",
    "vp",
]


def __dir__() -> list[str]:
    return __all__
