"""Turns a denoising network into samples: any diffusion solver, one `lax.scan`, pure functions.

A schedule says which noise levels to visit, a denoiser says what the clean data looks like from
there, a sampler says how to combine the two; a sampler is read once into a plan, and one scan
runs any plan. Importing the package loads jax, numpy and jaxtyping; every submodule is reachable
as an attribute and is loaded when it is first used.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from edmjax.few_steps import recommend
from edmjax.noise import brownian, normal_like, sample_keys
from edmjax.planning import Combination, Plan, Sampler, Step, make_plan
from edmjax.running import (
    draw_noise,
    sample,
    sample_checked,
    sample_in_chunks,
    sample_until,
    sweep,
    total_nfe,
    trajectory,
)

if TYPE_CHECKING:
    from edmjax import (
        adaptive,
        comparison,
        correctors,
        denoisers,
        evaluation,
        few_steps,
        guidance,
        learning,
        likelihood,
        losses,
        metrics,
        nn,
        noise,
        planning,
        plans,
        plot,
        posterior,
        pretrained,
        problems,
        processes,
        running,
        samplers,
        scalar,
        schedules,
        terms,
        training,
    )

__version__ = "0.1.0"

# In the order in which a newcomer meets them; the submodules follow in the reference.
__all__ = [  # noqa: RUF022
    "make_plan",
    "sample",
    "trajectory",
    "recommend",
    "sweep",
    "sample_in_chunks",
    "sample_checked",
    "sample_until",
    "sample_keys",
    "normal_like",
    "draw_noise",
    "brownian",
    "total_nfe",
    "Plan",
    "Sampler",
    "Step",
    "Combination",
    "adaptive",
    "comparison",
    "correctors",
    "denoisers",
    "evaluation",
    "few_steps",
    "guidance",
    "learning",
    "likelihood",
    "losses",
    "metrics",
    "nn",
    "noise",
    "planning",
    "plans",
    "plot",
    "posterior",
    "pretrained",
    "problems",
    "processes",
    "running",
    "samplers",
    "scalar",
    "schedules",
    "terms",
    "training",
]


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(f"module 'edmjax' has no attribute {name!r}")
    # A room that needs more than the core says so itself, however it is imported.
    return importlib.import_module(f"edmjax.{name}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
