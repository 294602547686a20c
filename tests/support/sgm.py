"""How SDXL is sampled by its authors' package, `sgm`, in NumPy: written from the algorithm.

Podell et al. (2023) and the "generative-models" of Stability AI: `EulerEDMSampler` (Karras et al.
2022, Algorithm 2, without the correction) over `LegacyDDPMDiscretization`, around a
`DiscreteDenoiser` with `EpsScaling`, guided by `VanillaCFG`. Points are `x0 + sigma n`. The network
is a function `net(x, index, cond)`, of whole timesteps, for a batch of both branches; `cond` is a
dict. Everything is float64, where `sgm` has float32.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

Net = Callable[[np.ndarray, np.ndarray, Mapping[str, np.ndarray]], np.ndarray]


def table(steps: int = 1000, start: float = 0.00085, end: float = 0.012) -> np.ndarray:
    """The level of each training timestep: betas even in their root."""
    betas = np.linspace(np.sqrt(start), np.sqrt(end), steps) ** 2
    kept = np.cumprod(1 - betas)
    return np.sqrt((1 - kept) / kept)


def legacy_grid(n: int, levels: np.ndarray) -> np.ndarray:
    """`n` levels down from the last one, evenly apart in timesteps before these are cut, and 0."""
    apart = (len(levels) - 1) / n
    cut = [int(len(levels) - 1 - i * apart) for i in range(n)]
    return np.append(levels[cut], 0.0)


def discrete_denoiser(net: Net, levels: np.ndarray) -> Callable[..., np.ndarray]:
    """`D(x; sigma)` of a network that predicts noise, at the nearest level of the table."""

    def denoise(x: np.ndarray, sigma: float, cond: Mapping[str, np.ndarray]) -> np.ndarray:
        index = np.argmin(np.abs(levels - sigma))
        sigma = levels[index]
        shown = x / np.sqrt(1 + sigma**2)
        return x - sigma * net(shown, np.full(len(x), index), cond)

    return denoise


def vanilla_cfg(denoise: Callable[..., np.ndarray], scale: float, cond: Any, uncond: Any) -> Any:
    """Both branches in one batch, the unconditional one first, and the extrapolation of the two."""

    def guided(x: np.ndarray, sigma: float) -> np.ndarray:
        both = {key: np.concatenate([uncond[key], cond[key]]) for key in cond}
        negative, positive = np.split(denoise(np.concatenate([x, x]), sigma, both), 2)
        return negative + scale * (positive - negative)

    return guided


def euler_edm(
    denoise: Callable[[np.ndarray, float], np.ndarray],
    grid: np.ndarray,
    noise: np.ndarray,
    draws: Iterator[np.ndarray],
    *,
    s_churn: float = 0.0,
    s_tmin: float = 0.0,
    s_tmax: float = float("inf"),
    s_noise: float = 1.0,
) -> np.ndarray:
    """The sample; `draws` are taken one a step that raises its level."""
    x = np.sqrt(1 + grid[0] ** 2) * noise
    for sigma, sigma_next in itertools.pairwise(grid):
        raises = s_tmin <= sigma <= s_tmax
        gamma = min(s_churn / (len(grid) - 1), np.sqrt(2) - 1) if raises else 0.0
        raised = sigma * (1 + gamma)
        if gamma > 0:
            x = x + s_noise * np.sqrt(raised**2 - sigma**2) * next(draws)
        slope = (x - denoise(x, raised)) / raised
        x = x + (sigma_next - raised) * slope
    return x
