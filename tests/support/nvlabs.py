"""How far a denoiser of NVlabs' networks is from its golden."""

import jax
import jax.numpy as jnp
import numpy as np

import edmjax as ej
from support.pretrained import golden, save

# Goldens of `checks/pretrained_nvlabs.py`, by the start of their names.
KINDS = ("edm_", "vp_", "ve_", "iddpm_")


def loaded(folder, config, dtype=np.float64, **how):
    """The denoiser of a configuration with redrawn arrays, through a directory."""
    save(folder, config, dtype if dtype in (np.float64, np.float32) else np.float32)
    return ej.pretrained.load(folder, dtype=dtype, **how)


def called(denoise, case, dtype):
    """What a denoiser makes of the inputs of a golden, channels first; the network is compiled."""
    labels = case.get("class_labels")
    cond = None if labels is None else {"class_labels": jnp.asarray(labels)}
    wide = np.float64 if dtype is np.float64 else np.float32
    x = jnp.asarray(np.moveaxis(case["x"], 1, -1), wide)
    y = jax.jit(lambda d, *args: d(*args))(denoise, x, jnp.asarray(case["sigma"], wide), cond)
    return np.moveaxis(np.asarray(y["x0"] if isinstance(y, dict) else y), -1, 1)


def error(folder, name, dtype, options=None, **how):
    """The largest error, over the largest entry of the output; `options` change the network."""
    case = golden(name)
    denoise = loaded(folder, case["config"] | (options or {}), dtype, **how)
    return relative(called(denoise, case, dtype), case["out32" if dtype is np.float32 else "out"])


def relative(got, wanted):
    return np.abs(got - wanted).max() / np.abs(wanted).max()
