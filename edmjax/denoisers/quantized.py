"""`quantized`: a denoiser that knows the levels of a table alone, and is shown the nearest one."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import register_dataclass

from edmjax._common.arrays import as_sigma, has_no_value
from edmjax._common.functions import denoiser_as_pytree
from edmjax._common.held import Wraps, evaluate
from edmjax._common.typing import Denoiser, PyTree, Sigma, Values
from edmjax.processes import DDPM


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Quantized(Wraps):
    """The denoiser that `quantized` returns."""

    denoise: Denoiser
    table: Values

    @property
    def far(self) -> bool:
        """Not above the table: there it takes a point for one of the highest level."""
        return False

    def held(self, x: PyTree, sigma: Sigma, cond: PyTree, dtypes: PyTree) -> PyTree:
        """What the denoiser inside returns at the nearest level."""
        level = as_sigma(sigma, x)
        table = jnp.asarray(self.table, level.dtype)
        return evaluate(self.denoise, x, _nearest(table, level), cond, dtypes)


def quantized(denoise: Denoiser, process: DDPM) -> Quantized:
    """The denoiser at the nearest level of a process's table, `D(x; sigma_i)`.

        i = argmin_i |sigma - sigma_i|

    The level is rounded throughout, in the scale of the network's input, in what becomes of its
    output and in its timestep, so that a network trained on whole timesteps never sees another. The
    sampler keeps the level that it asked for. It is the "DiscreteDenoiser" of SDXL's reference
    code, around any denoiser: guide before or after. On levels of the table it is `denoise`; it
    differs where a sampler evaluates between them, as `churn` and `heun` over other grids do.

    Raises:
        TypeError: `denoise` is not callable, or `process` has no table of levels.
        ValueError: the process has an infinite level, from which every other is as far.

    Source: Podell et al. (2023), SDXL, whose code (`sgm`) has it.
    """
    if not isinstance(process, DDPM):
        raise TypeError(
            "`process` must be one with training timesteps, such as `ej.processes.ddpm()`, got "
            f"{process!r:.80}."
        )
    if not has_no_value(process.table) and not np.isfinite(np.asarray(process.table)).all():
        raise ValueError(
            "The last level of this process is infinite, and no level is nearest to it: leave "
            "`quantized` out for a process of zero terminal SNR."
        )
    return Quantized(denoiser_as_pytree(denoise, "denoise"), process.table)


def _nearest(table: jax.Array, level: jax.Array) -> jax.Array:
    """The entries of an ascending table that are nearest to the levels; the lower of two."""
    between = (table[1:] + table[:-1]) / 2
    return table[(between < level[..., None]).sum(-1)]
