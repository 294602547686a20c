"""Networks of our own runs, and those that come with the package, as denoisers of this room."""

import dataclasses
from pathlib import Path
from typing import Any

from edmjax import processes, schedules
from edmjax._common.typing import Int, Levels
from edmjax.pretrained.denoiser import Pretrained
from edmjax.training.bundled import bundled
from edmjax.training.checkpoints import WEIGHTS
from edmjax.training.pretrained import load_trained

_OTHERS = ("model_index.json", "config.json")


@dataclasses.dataclass(frozen=True)
class Karras:
    """The grid of a network without a scheduler: Karras et al. (2022), equation 5, with rho 7."""

    sigma_min: float
    sigma_max: float

    def levels(self, process: Any, n: Int) -> Levels:
        """`n` levels from the highest to the lowest, and 0."""
        del process
        return schedules.karras(n, sigma_min=self.sigma_min, sigma_max=self.sigma_max)


def is_own(source: str | Path) -> bool:
    """Whether `source` is a bundled network's name, a run's directory, or a file of weights."""
    path = Path(source).expanduser()
    named = isinstance(source, str) and source in bundled()
    if named and any((path / name).is_file() for name in _OTHERS):
        raise ValueError(
            f"{source} is a network that comes with the package, and here it is a directory with a "
            f"network too: write ./{source} for the directory."
        )
    return named or (path / WEIGHTS).is_file() or (path.is_file() and path.suffix == ".safetensors")


def load_own(source: str | Path, dtype: Any, options: dict[str, Any]) -> Pretrained:
    """The network of a run; `options` are those that such a network does not have."""
    for name, value in options.items():
        if value is not None:
            raise ValueError(
                f"`{name}` is for directories of diffusers, and {str(source)!r} is a network that "
                "edmjax trained: leave it out."
            )
    path = source if isinstance(source, str) and source in bundled() else Path(source).expanduser()
    trained = load_trained(path, dtype=dtype)
    known = trained.levels
    assert known is not None  # a file has them
    ends = known.sigma_min, known.sigma_max
    return Pretrained(
        denoise=trained.denoise,
        process=trained.process or processes.edm(known.sigma_max),
        scheduler=Karras(*ends),
        ends=ends,
        sigma_data=known.sigma_data,
        shape=trained.image_shape,
    )
