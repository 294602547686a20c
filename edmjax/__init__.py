"""Turns a denoising network into samples: any diffusion solver, one `lax.scan`, pure functions.

A schedule says which noise levels to visit, a denoiser says what the clean data looks like from
there, a sampler says how to combine the two; a sampler is read once into a plan, and one scan
runs any plan. Importing the package loads jax, numpy and jaxtyping; every submodule is reachable
as an attribute and is loaded when it is first used.
"""

import importlib
from typing import TYPE_CHECKING

from edmjax._brownian import brownian as brownian
from edmjax._checked import sample_checked as sample_checked
from edmjax._chunks import sample_in_chunks as sample_in_chunks
from edmjax._random import normal_like as normal_like, sample_keys as sample_keys
from edmjax._reading import make_plan as make_plan
from edmjax._recommend import recommend as recommend
from edmjax._sample import (
    draw_noise as draw_noise,
    sample as sample,
    total_nfe as total_nfe,
    trajectory as trajectory,
)
from edmjax._sweep import sweep as sweep
from edmjax._until import sample_until as sample_until
from edmjax.combination import Combination as Combination
from edmjax.plan import Plan as Plan
from edmjax.step import Sampler as Sampler, Step as Step

if TYPE_CHECKING:
    from edmjax import (
        adaptive as adaptive,
        comparison as comparison,
        correctors as correctors,
        denoisers as denoisers,
        evaluation as evaluation,
        guidance as guidance,
        learning as learning,
        likelihood as likelihood,
        losses as losses,
        metrics as metrics,
        nn as nn,
        plot as plot,
        problems as problems,
        processes as processes,
        samplers as samplers,
        scalar as scalar,
        schedules as schedules,
        terms as terms,
        training as training,
    )

__version__ = "0.1.0"

# The extra that installs what a submodule needs; None where the core's own needs are enough.
_SUBMODULES = {
    "adaptive": None,
    "comparison": "train,diffrax",
    "correctors": None,
    "denoisers": None,
    "evaluation": "train",
    "guidance": None,
    "learning": "train",
    "likelihood": None,
    "losses": None,
    "metrics": None,
    "nn": "train",
    "plot": "plot",
    "problems": None,
    "processes": None,
    "samplers": None,
    "scalar": None,
    "schedules": None,
    "terms": "diffrax",
    "training": "train",
}


def __getattr__(name: str):
    if name not in _SUBMODULES:
        raise AttributeError(f"module 'edmjax' has no attribute {name!r}")
    try:
        return importlib.import_module(f"edmjax.{name}")
    except ModuleNotFoundError as err:
        extra = _SUBMODULES[name]
        if extra is None or (err.name or "").startswith("edmjax"):
            raise
        raise ImportError(
            f"edmjax.{name} needs {err.name!r}, which is not installed: "
            f"pip install 'edmjax[{extra}]'",
            name=err.name,
        ) from err


def __dir__():
    return sorted([*globals(), *_SUBMODULES])
