"""Running plans: one compiled loop, with one evaluation of the denoiser an iteration.

`sample` runs a plan and `trajectory` saves what it visits; `sweep` runs many plans in one program,
`sample_in_chunks` makes many samples in the memory of a few, `sample_until` stops and resumes, and
`sample_checked` reports the first number that is not finite. All of them are in `edmjax` itself.
"""

from edmjax.running.checked import Report, sample_checked
from edmjax.running.chunks import sample_in_chunks
from edmjax.running.many_plans import sweep
from edmjax.running.one_plan import draw_noise, sample, total_nfe, trajectory
from edmjax.running.resumable import PartialSample, sample_until

__all__ = [
    "PartialSample",
    "Report",
    "draw_noise",
    "sample",
    "sample_checked",
    "sample_in_chunks",
    "sample_until",
    "sweep",
    "total_nfe",
    "trajectory",
]


def __dir__() -> list[str]:
    return __all__
