"""How far a denoiser of NVlabs' networks is from its golden."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import edmjax as ej
from support.pretrained import golden, save

# Goldens of `checks/pretrained_nvlabs.py`, by the start of their names.
KINDS = ("edm_", "edm2_", "vp_", "ve_", "iddpm_")


def loaded(folder, config, dtype=np.float64, **how):
    """The denoiser of a configuration with redrawn arrays, through a directory."""
    kept: Any = dtype if dtype in (np.float64, np.float32) else np.float32
    save(folder, config, kept)
    return ej.pretrained.load(folder, dtype=dtype, **how)


def called(denoise, case, dtype, compiled=True):
    """What a denoiser makes of the inputs of a golden, channels first."""
    labels = case.get("class_labels")
    cond = None if labels is None else {"class_labels": jnp.asarray(labels)}
    wide = np.float64 if dtype is np.float64 else np.float32
    x = jnp.asarray(np.moveaxis(case["x"], 1, -1), wide)
    call = jax.jit(lambda d, *args: d(*args)) if compiled else lambda d, *args: d(*args)
    y = call(denoise, x, jnp.asarray(case["sigma"], wide), cond)
    return np.moveaxis(np.asarray(y["x0"] if isinstance(y, dict) else y), -1, 1)


def error(folder, name, dtype, options=None, *, compiled=True, **how):
    """The largest error, over the largest entry of the output; `options` change the network.

    Not compiled as a whole, networks that differ little share most of their programs.
    """
    case = golden(name)
    denoise = loaded(folder, case["config"] | (options or {}), dtype, **how)
    wanted = case["out32" if dtype is np.float32 else "out"]
    return relative(called(denoise, case, dtype, compiled), wanted)


def relative(got, wanted):
    return np.abs(got - wanted).max() / np.abs(wanted).max()
