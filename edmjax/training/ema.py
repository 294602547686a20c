"""Averages of the parameters along a run: how fast they forget, and other widths made afterwards.

An average moves by `ema += share(t) (params - ema)` in step `t`, counted from 1. A power-function
average has `share = 1 - (1 - 1/t)^(gamma + 1)`, so that after `T` steps the parameters of step `t`
have the weight `(t^(gamma + 1) - (t - 1)^(gamma + 1)) / T^(gamma + 1)`: a profile `t^gamma` whose
width is the same part `sigma_rel` of the run, however long it is.

A run with `optim.ema_sigma_rel` writes each of its power-function averages at every checkpoint, in
float32, to `OUT/snapshots/STEP-SIGMA_REL.safetensors`. Their least-squares combination is the
average of any other width, as if the run had kept it.

Source: Karras et al. 2024 (arXiv 2312.02696), sections 3.1 and 3.2 and appendix C.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from edmjax._common.arguments import real
from edmjax.nn.functional import Arrays
from edmjax.training.checkpoints import differences, load_weights, save_weights
from edmjax.training.config import fixed
from edmjax.training.files import StrPath

# How far an average moves towards the new parameters, by the number of steps taken.
Share = Callable[[Int[Array, ""]], Float[Array, ""]]

# The width of the profile t^0, which weighs all steps alike.
LARGEST_SIGMA_REL = 12**-0.5
SNAPSHOTS = "snapshots"  # the directory within a run's


def exponential(decay: float) -> Share:
    """The share of the new parameters in an average that keeps `decay` of itself each step.

    The decay starts lower, at `min(decay, t / (9 + t))`, so that the random parameters of the start
    are soon forgotten. A decay of 0 is no average.
    """
    decay = real(decay, "optim.ema_decay", least=0, below=1)
    return lambda t: jnp.maximum(1 - decay, 9 / (9 + t))


def power_function(sigma_rel: float) -> Share:
    """The share of the new parameters in the power-function average of this width."""
    exponent = gamma_from_sigma_rel(sigma_rel) + 1
    # expm1 and log1p: 1 - (1 - 1/t)^exponent keeps two digits of float32 at t = 10^6.
    return lambda t: -jnp.expm1(exponent * jnp.log1p(-1 / t))


def gamma_from_sigma_rel(sigma_rel: float) -> float:
    """The `gamma >= 0` of a profile whose standard deviation is `sigma_rel` of the run's length.

    `sigma_rel^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3))` is a cubic in gamma. `ValueError`
    outside 0 to `12^(-1/2)` (0.2887), which is the width of a plain mean.
    """
    if not 0 < sigma_rel <= LARGEST_SIGMA_REL * (1 + 1e-9):
        raise ValueError(
            "sigma_rel, the width of an average as a part of the run, must be above 0 and at most "
            f"0.2887 (the plain mean), got {sigma_rel}."
        )
    t = sigma_rel**-2
    roots = np.roots([1, 7, 16 - t, 12 - t])
    return max(0.0, float(roots.real.max()))


def posthoc_coefficients(
    kept: Sequence[tuple[int, float]], wanted: tuple[int, float]
) -> tuple[Float[np.ndarray, " kept"], float]:
    """The coefficients with which averages that were kept come nearest to one that was not.

    Averages are given as `(step, sigma_rel)`: the number of steps after which they were taken, and
    their width. Distance is the square integral of the difference of profiles over the run; the
    second value is the distance relative to the length of the wanted profile. A sum of averages
    weighs the parameters of every step by the sum of their profiles.

    Source: Karras et al. 2024 (arXiv 2312.02696), appendix C.
    """
    steps, gammas = np.array(
        [(step, gamma_from_sigma_rel(sigma_rel)) for step, sigma_rel in [*kept, wanted]], float
    ).T
    products = _inner_product(steps[:, None], gammas[:, None], steps, gammas)
    # Each profile is scaled to length 1, or the early, narrow ones would dominate the rounding.
    lengths = np.sqrt(np.diag(products))
    products /= lengths[:, None] * lengths
    gram, right = products[:-1, :-1], products[:-1, -1]
    solution = np.linalg.lstsq(gram, right, rcond=None)[0]
    square = 1 - 2 * solution @ right + solution @ gram @ solution
    return solution * lengths[-1] / lengths[:-1], float(np.sqrt(max(square, 0.0)))


def _inner_product(
    step: np.ndarray, gamma: np.ndarray, other_step: np.ndarray, other_gamma: np.ndarray
) -> np.ndarray:
    """`int p q dt` of the profiles `p = (gamma + 1) t^gamma / step^(gamma + 1)` on 0 to `step`."""
    shorter = np.minimum(step, other_step)
    # As powers of ratios below 1: step^(gamma + 1) overflows for narrow profiles of long runs.
    return (
        ((gamma + 1) * (other_gamma + 1) / (gamma + other_gamma + 1))
        * (shorter / step) ** (gamma + 1)
        * (shorter / other_step) ** (other_gamma + 1)
        / shorter
    )


def save_snapshots(
    directory: StrPath,
    step: int,
    averages: Sequence[Arrays],
    buffers: Arrays,
    config: dict[str, Any],
) -> None:
    """Writes the averages after `step` steps, each file whole or not at all.

    `averages` are in the order of `config["optim"]["ema_sigma_rel"]`. Call it before the checkpoint
    of the same step is saved, so that a run which resumes from it has all snapshots.
    """
    folder = Path(directory) / SNAPSHOTS
    folder.mkdir(parents=True, exist_ok=True)
    for sigma_rel, arrays in zip(config["optim"]["ema_sigma_rel"], averages, strict=True):
        about = {"step": step, "sigma_rel": sigma_rel, "buffers": sorted(buffers)}
        path = folder / f"{step:09d}-{sigma_rel:g}.safetensors"
        save_weights(path, arrays | buffers, {**config, "snapshot": about})


def reconstruct_ema(directory: StrPath, sigma_rel: float) -> tuple[Arrays, dict[str, Any], float]:
    """The average of width `sigma_rel` at a run's last snapshot: `(arrays, config, error)`.

    `arrays` and `config` are the arguments of `save_weights`. The combination is divided by the sum
    of its coefficients: it is 1 but for the error of the fit, and networks whose weights are not
    normalised, unlike the paper's, would see the difference. `error` is the distance between the
    wanted profile and the nearest combination of those that were kept, relative to its length; it
    is 0 to rounding where `sigma_rel` was kept.

    Raises:
        FileNotFoundError: `directory` holds no snapshots.
        ValueError: `sigma_rel` is not in (0, 0.2887], or the snapshots are damaged, or come from
            several runs.

    Source: Karras et al. 2024 (arXiv 2312.02696), section 3.2 and appendix C.
    """
    folder = Path(directory) / SNAPSHOTS
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        raise FileNotFoundError(
            f"There are no snapshots in {folder}: train with optim.ema_sigma_rel, for example "
            "[0.05, 0.1], and pass the directory of that run."
        )
    configs = [load_weights(path)[1] for path in paths]
    for path, config in zip(paths, configs, strict=True):
        different = differences(_decisive(configs[-1]), _decisive(config))
        if different:
            raise ValueError(
                f"{path} comes from another run than {paths[-1]}: {'; '.join(different)}."
            )
    kept = [(config["snapshot"]["step"], config["snapshot"]["sigma_rel"]) for config in configs]
    step = max(step for step, _ in kept)
    coefficients, error = posthoc_coefficients(kept, (step, sigma_rel))
    coefficients = coefficients / coefficients.sum()

    total: dict[str, Any] = {}
    for path, coefficient in zip(paths, coefficients, strict=True):
        arrays, config = load_weights(path)
        for name, array in arrays.items():
            if name in config["snapshot"]["buffers"]:
                total[name] = np.asarray(array)
            else:  # in float64: coefficients of both signs may be large
                total[name] = total.get(name, 0.0) + coefficient * np.asarray(array, np.float64)
    arrays = {name: jnp.asarray(array, arrays[name].dtype) for name, array in total.items()}
    about = {**configs[-1]["snapshot"], "step": step, "sigma_rel": sigma_rel}
    return arrays, {**configs[-1], "snapshot": about}, error


def _decisive(config: dict[str, Any]) -> dict[str, Any]:
    """The entries that all snapshots of one run share."""
    kept = {key: config.get(key) for key in ("data", "seed", "net", "loss", "optim", "image_shape")}
    return fixed(kept)  # a run may have been made longer
