"""Snapshots of a run's averaged parameters, and averages of other widths made from them afterwards.

A run with `optim.ema_sigma_rel` writes each of its power-function averages at every checkpoint, in
float32, to `OUT/snapshots/STEP-SIGMA_REL.safetensors`. Their least-squares combination is the
average of any other width, as if the run had kept it.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from edmjax.nn.functional import Arrays
from edmjax.training.checkpoints import differences, load_weights, save_weights
from edmjax.training.ema import posthoc_coefficients

SNAPSHOTS = "snapshots"


def save_snapshots(
    directory: str | os.PathLike,
    step: int,
    averages: Sequence[Arrays],
    buffers: Arrays,
    config: dict[str, Any],
) -> None:
    """Writes the averages after `step` steps, each file whole or not at all.

    `averages` are in the order of `config["optim"]["ema_sigma_rel"]`. To be called before the
    checkpoint of the same step is saved: a run that goes on from it then has them all.
    """
    folder = Path(directory) / SNAPSHOTS
    folder.mkdir(parents=True, exist_ok=True)
    for sigma_rel, arrays in zip(config["optim"]["ema_sigma_rel"], averages, strict=True):
        about = {"step": step, "sigma_rel": sigma_rel, "buffers": sorted(buffers)}
        path = folder / f"{step:09d}-{sigma_rel:g}.safetensors"
        save_weights(path, arrays | buffers, {**config, "snapshot": about})


def reconstruct_ema(
    directory: str | os.PathLike, sigma_rel: float
) -> tuple[Arrays, dict[str, Any], float]:
    """The average of width `sigma_rel` at a run's last snapshot: `(arrays, config, error)`.

    `arrays` and `config` are what `save_weights` takes. The combination is divided by the sum of
    its coefficients: that is 1 but for the error of the fit, and networks whose weights are not
    normalised, unlike the paper's, would see the difference. `error` is the distance between the
    profile that was asked for and the nearest combination of those that were kept, relative to its
    length. It is 0 to rounding where `sigma_rel` was kept.

    Raises:
        FileNotFoundError: `directory` holds no snapshots.
        ValueError: `sigma_rel` is not in (0, 0.2887], or the snapshots are damaged or of several
            runs.

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
            raise ValueError(f"{path} is of another run than {paths[-1]}: {'; '.join(different)}.")
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
    """What the snapshots of one run have in common."""
    return {key: config.get(key) for key in ("data", "seed", "net", "loss", "optim", "image_shape")}
