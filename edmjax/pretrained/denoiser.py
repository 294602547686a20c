"""The denoiser of a pretrained network: a function of `(x, sigma, cond)`, with its process."""

import dataclasses
from typing import Any, Protocol, runtime_checkable

from jax.tree_util import register_dataclass

from edmjax._common.held import Wraps, evaluate
from edmjax._common.typing import Denoiser, Grid, Int, PyTree, Shape, Sigma
from edmjax.processes.process import Levels, Process


@runtime_checkable
class Grids(Protocol):
    """What makes the default grid of a network."""

    def levels(self, process: Any, n: Int, /) -> Levels | Grid:
        """The grid of `n` steps on this process."""
        ...


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Pretrained(Wraps):
    """The denoiser that `load` returns: `denoise(x, sigma, cond)`, for `ej.sample`.

    A pytree, whose leaves are the arrays of the network and of its process: it goes through `jit`
    as an argument. Points are in the package's frame, `x = x0 + sigma n`; those of images are
    `(batch, height, width, channels)`. Where the scheduler clips (`clip_sample`, `thresholding`),
    it returns the clipped "x0" and the "raw" output before.

    Attributes:
        denoise: the network with what its scheduler says of its output.
        process: the process that it was trained on; of diffusers' networks its time is the training
            timestep.
        sigma_range: the lowest and the highest level that it was trained on.
        sigma_data: the standard deviation of the data. diffusers' files do not say it: it is 0.5
            for images in [-1, 1], 1 for latents, which are scaled to it; where you know better,
            pass your own.
        shape: of one sample, (height, width, channels); None where a configuration of diffusers has
            no `sample_size`.
    """

    denoise: Denoiser
    process: Process
    scheduler: Grids = dataclasses.field(metadata={"static": True})
    ends: tuple[float, float] = dataclasses.field(metadata={"static": True})
    sigma_data: float = dataclasses.field(metadata={"static": True})
    shape: Shape | None = dataclasses.field(metadata={"static": True})

    @property
    def sigma_range(self) -> tuple[float, float]:
        return self.ends

    def held(self, x: PyTree, sigma: Sigma, cond: PyTree, dtypes: PyTree) -> Any:
        """The output of `denoise`."""
        return evaluate(self.denoise, x, sigma, cond, dtypes)

    def levels(self, n: Int) -> Levels | Grid:
        """The grid of `n` steps that the scheduler makes, for `make_plan`.

        By its `timestep_spacing`, `steps_offset`, `set_alpha_to_one` or `final_sigmas_type`, and
        `use_karras_sigmas`. A step leads to the next level of the grid; see `DDPM.grid`. Where a
        scheduler shows its network rounded timesteps (DPM-Solver and UniPC with Karras's levels),
        this denoiser shows the time of the level itself, at most half a timestep away. Of our own
        runs it is Karras's grid (rho 7) between the ends of `sigma_range`.

        Raises:
            ValueError: more steps than training timesteps, and as `DDPM.grid` does.
        """
        return self.scheduler.levels(self.process, n)
