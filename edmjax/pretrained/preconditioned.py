"""Networks with a preconditioning of their own: their denoiser, their process and their grid.

A configuration of NVlabs' networks names the preconditioning, so that no scheduler is needed. The
grids are those of Karras et al. (2022), Table 1, row "time steps", between the levels that the
authors' sampler has by default, or the network's own where these are closer.

    EDMPrecond, Precond   sigma^(1/7) is even, from 80 to 0.002
    VPPrecond             t is even, from 1 to 0.001
    VEPrecond             log sigma is even, from sigma_max to sigma_min
    iDDPMPrecond          the number of the level is even, rounded, for the levels of 0.002 to 81
"""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from edmjax import denoisers, processes, schedules
from edmjax._common.arguments import whole
from edmjax._common.typing import Denoiser, Int, Network
from edmjax.denoisers.preconditionings import IDDPM
from edmjax.nn.functional import Arrays
from edmjax.pretrained.denoiser import Pretrained
from edmjax.processes import DDPM, Process
from edmjax.processes.process import Levels

_LAST = 1e-3  # the last time of VPPrecond, epsilon_s
_IMAGES = 0.5  # the standard deviation of images in [-1, 1]


class Grid(NamedTuple):
    """How a preconditioning makes a grid, between a lowest and a highest level."""

    kind: str
    low: float
    high: float

    def levels(self, process: Process, n: Int) -> Levels:
        """The grid of `n` steps, with its end at 0."""
        if self.kind == "vp":
            return process.levels(np.append(np.linspace(1, _LAST, whole(n, "n")), 0.0))
        if self.kind == "iddpm":
            return self._of_table(process, whole(n, "n"))
        spaced = schedules.ve if self.kind == "ve" else schedules.karras
        return process.levels(spaced(n, self.low, self.high))

    def _of_table(self, process: Any, n: int) -> Levels:
        table = np.asarray(process.table)
        steps = np.flatnonzero((table >= self.low) & (table <= self.high))[::-1]
        if n > len(steps):
            raise ValueError(
                f"The network knows {len(steps)} levels from {self.low:g} to {self.high:g}, got "
                f"n = {n}: ask for fewer."
            )
        # In the order of the published code, which decides how halves are rounded.
        stride = (len(steps) - 1) / max(n - 1, 1)
        return process.levels(np.append(steps[np.round(stride * np.arange(n)).astype(int)], -1))


class _Made(NamedTuple):
    denoise: Denoiser
    process: Process
    grid: Grid
    ends: tuple[float, float]
    sigma_data: float


def pretrained(name: str, options: Any, net: Network, params: Arrays, where: str) -> Pretrained:
    """The denoiser of a network `net` with the preconditioning `name` and its options.

    Raises:
        ValueError: options or levels that make no process.
    """
    try:
        made = _MAKERS[name](options, net, params)
    except (TypeError, ValueError) as err:
        raise ValueError(f"{where}: {err}") from None
    side = options.img_resolution
    return Pretrained(
        denoise=made.denoise,
        process=made.process,
        scheduler=made.grid,
        ends=made.ends,
        sigma_data=made.sigma_data,
        shape=(side, side, options.img_channels),
        latents=getattr(options, "latents", None),
    )


def _edm(options: Any, net: Network, params: Arrays) -> _Made:
    del params
    # By default a network of EDM names no levels, and none of EDM2 does. The papers sample these.
    high = getattr(options, "sigma_max", None)
    high = math.inf if high is None else high
    ends = max(getattr(options, "sigma_min", 0.0), 0.002), min(high, 80.0)
    denoise = denoisers.edm(net, options.sigma_data)
    return _Made(
        denoise, processes.edm(ends[1]), Grid("edm", *ends), ends, float(options.sigma_data)
    )


def _vp(options: Any, net: Network, params: Arrays) -> _Made:
    del params
    betas = options.beta_min, options.beta_min + options.beta_d
    process = processes.vp(*betas)
    ends = float(process.sigma(options.epsilon_t)), float(process.sigma(1.0))
    denoise = denoisers.vp(net, *betas, num_timesteps=options.M)
    return _Made(denoise, process, Grid("vp", *ends), ends, _IMAGES)


def _ve(options: Any, net: Network, params: Arrays) -> _Made:
    del params
    ends = options.sigma_min, options.sigma_max
    return _Made(denoisers.ve(net), processes.edm(ends[1]), Grid("ve", *ends), ends, _IMAGES)


def _iddpm(options: Any, net: Network, params: Arrays) -> _Made:
    # The network was trained with the levels of its file, ascending here without the zero.
    table = np.asarray(params["u"], np.float64)[:-1][::-1].copy()
    if not (table[0] > 0 and (np.diff(table) > 0).all() and np.isfinite(table).all()):
        raise ValueError("the levels of the array 'u' must be positive, and fall.")
    ends = float(table[0]), float(table[-1])
    grid = Grid("iddpm", max(ends[0], 0.002), min(ends[1], 81.0))
    denoise = IDDPM(net, jnp.asarray(params["u"])[:-1][::-1], learned_range=True)
    return _Made(denoise, DDPM(table, options.M), grid, ends, _IMAGES)


_MAKERS = {
    "Precond": _edm,
    "EDMPrecond": _edm,
    "VPPrecond": _vp,
    "VEPrecond": _ve,
    "iDDPMPrecond": _iddpm,
}
