"""The denoiser of a pretrained network: a function of `(x, sigma, cond)`, with its process."""

import dataclasses
from typing import Any, Protocol, runtime_checkable

from jax.tree_util import register_dataclass

from edmjax._common.held import Wraps, evaluate
from edmjax._common.typing import Denoiser, Grid, Int, PyTree, Shape, Sigma
from edmjax.pretrained.networks.edm2 import Latents
from edmjax.processes import Process
from edmjax.processes.process import Levels


@runtime_checkable
class MakesGrids(Protocol):
    """What makes the grid of a network: the scheduler of its file, or its preconditioning."""

    def levels(self, process: Any, n: Int) -> Levels | Grid:
        """The grid of `n` steps, with its end."""
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
        denoise: the network with what its scheduler says of its output, or its preconditioning.
        process: the process that it was trained on; where that is a table of levels, its time is
            the training timestep.
        sigma_range: the lowest and the highest level that it is for.
        sigma_data: the standard deviation of the data. A file of diffusers does not say it: it is
            0.5 for images in [-1, 1], and 1 for latents, which are scaled to it. Where you know
            better, pass your own.
        shape: of one sample, (height, width, channels); None where a configuration of diffusers has
            no `sample_size`.
        latents: how the latents of a network of EDM2 were scaled, for `load_autoencoder`; None
            where its points are images, and for diffusers' files, whose autoencoders say it.
    """

    denoise: Denoiser
    process: Process
    scheduler: MakesGrids = dataclasses.field(metadata={"static": True})
    ends: tuple[float, float] = dataclasses.field(metadata={"static": True})
    sigma_data: float = dataclasses.field(metadata={"static": True})
    shape: Shape | None = dataclasses.field(metadata={"static": True})
    latents: Latents | None = dataclasses.field(default=None, metadata={"static": True})

    @property
    def sigma_range(self) -> tuple[float, float]:
        return self.ends

    def held(self, x: PyTree, sigma: Sigma, cond: PyTree, dtypes: PyTree) -> Any:
        """The output of `denoise`."""
        return evaluate(self.denoise, x, sigma, cond, dtypes)

    def levels(self, n: Int) -> Levels | Grid:
        """The grid of `n` steps that the scheduler makes, for `make_plan`.

        Of a run of ours, and with a preconditioning of NVlabs', it is the grid of Karras et al.
        (2022), Table 1; the page on pretrained networks has the ends.

        Otherwise it goes by the scheduler's `timestep_spacing`, `steps_offset`, `set_alpha_to_one`
        or `final_sigmas_type`, and `use_karras_sigmas`. A step leads to the next level of the grid;
        see `DDPM.grid`. Where a scheduler shows its network rounded timesteps (DPM-Solver and
        UniPC with Karras's levels), this denoiser shows the time of the level itself, at most half
        a timestep away.

        Raises:
            ValueError: more steps than training timesteps, and as `DDPM.grid` does.
        """
        return self.scheduler.levels(self.process, n)
