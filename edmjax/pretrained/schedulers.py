"""The scheduler of a file: the process that the network was trained on, and the grid of levels.

Which solver the scheduler is does not matter: a sampler of edmjax takes its place. What remains is
the table of levels, what the network predicts, whether its output is clipped, and which levels are
visited. Schedulers differ in these: DDIM, DDPM and PNDM take whole timesteps; Euler, Heun, LMS and
KDPM2 take times between them for "linspace"; the multistep solvers the first `n` of `n + 1`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from edmjax import guidance, schedules
from edmjax._common.arguments import whole
from edmjax._common.typing import Denoiser, Int, Network
from edmjax.denoisers import prediction
from edmjax.pretrained.options import (
    Option,
    count,
    flag,
    ignored,
    offset,
    only,
    optional,
    read,
    real,
    several,
)
from edmjax.processes import DDPM, ddpm
from edmjax.processes.process import Levels

_KINDS = {
    **dict.fromkeys(("DDIM", "DDPM", "PNDM"), "whole"),
    **dict.fromkeys(
        ("EulerDiscrete", "EulerAncestralDiscrete", "HeunDiscrete", "LMSDiscrete"), "between"
    ),
    **dict.fromkeys(("KDPM2Discrete", "KDPM2AncestralDiscrete"), "between"),
    **dict.fromkeys(
        ("DPMSolverMultistep", "DPMSolverSinglestep", "UniPCMultistep", "DEISMultistep"),
        "multistep",
    ),
}
# Their defaults are the betas of Stable Diffusion.
_OF_K_DIFFUSION = ("HeunDiscrete", "KDPM2Discrete", "KDPM2AncestralDiscrete")
# Zero terminal SNR, for the schedulers that cannot start at an infinite level.
_LAST_OF_ZERO_SNR = float(np.sqrt(2.0**24 - 1))

# Options that some schedulers have alone. Files keep those of a scheduler that they had before, and
# diffusers leaves them unread.
_OWN = {
    "clip_sample": ("DDIM", "DDPM", "HeunDiscrete"),
    "set_alpha_to_one": ("DDIM", "PNDM"),
    "thresholding": (
        "DDIM",
        "DDPM",
        *(name for name, kind in _KINDS.items() if kind == "multistep"),
    ),
    "rescale_betas_zero_snr": (
        *("DDIM", "DDPM", "EulerDiscrete", "EulerAncestralDiscrete"),
        *("DPMSolverMultistep", "UniPCMultistep"),
    ),
    **dict.fromkeys(
        ("use_karras_sigmas", "use_exponential_sigmas", "sigma_min", "sigma_max"),
        tuple(
            name
            for name, kind in _KINDS.items()
            if kind != "whole" and name != "EulerAncestralDiscrete"
        ),
    ),
    "final_sigmas_type": (
        *("EulerDiscrete", "DPMSolverMultistep", "DPMSolverSinglestep"),
        "UniPCMultistep",
    ),
}
# Options of the solvers, for which a sampler of edmjax is chosen instead.
_OF_SOLVERS = (
    *("solver_order", "algorithm_type", "solver_type", "lower_order_final", "euler_at_final"),
    *("variance_type", "skip_prk_steps", "predict_x0", "disable_corrector", "solver_p"),
)
# A value other than the default changes the levels in a way that is not computed here.
_FIXED: dict[str, tuple[Any, ...]] = {
    "interpolation_type": ("linear",),
    "timestep_type": ("discrete",),
    "use_beta_sigmas": (False, None),
    "use_lu_lambdas": (False, None),
    "use_flow_sigmas": (False, None),
    "use_dynamic_shifting": (False, None),
    "lambda_min_clipped": (-float("inf"), "-inf", "-Infinity"),
}
_WITHOUT_EFFECT = ("flow_shift", "time_shift_type")


def _options(name: str, kind: str) -> dict[str, Option]:
    """The options of a scheduler, with its own defaults."""
    whole_steps = kind == "whole"
    spacing = "leading" if whole_steps else "linspace"
    clips = name in ("DDIM", "DDPM")
    low, high = (0.00085, 0.012) if name in _OF_K_DIFFUSION else (0.0001, 0.02)
    options = {
        "num_train_timesteps": Option(1000, count),
        "beta_start": Option(low, real),
        "beta_end": Option(high, real),
        "beta_schedule": Option(
            "linear", only("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid")
        ),
        "trained_betas": Option(None, optional(several(real))),
        "prediction_type": Option("epsilon", only("epsilon", "v_prediction", "sample")),
        "timestep_spacing": Option(spacing, only("leading", "trailing", "linspace")),
        "steps_offset": Option(0, offset),
        "rescale_betas_zero_snr": Option(False, flag),
        "set_alpha_to_one": Option(name != "PNDM", flag),
        "final_sigmas_type": Option("zero", only("zero", "sigma_min")),
        "clip_sample": Option(clips, flag),
        "clip_sample_range": Option(1.0, real),
        "thresholding": Option(False, flag),
        "dynamic_thresholding_ratio": Option(0.995, real),
        "sample_max_value": Option(1.0, real),
        "use_karras_sigmas": Option(False, optional(flag)),
        "use_exponential_sigmas": Option(False, optional(flag)),
        "sigma_min": Option(None, optional(real)),
        "sigma_max": Option(None, optional(real)),
    }
    options |= {key: Option(known[0], only(*known)) for key, known in _FIXED.items()}
    return options | dict.fromkeys((*_OF_SOLVERS, *_WITHOUT_EFFECT), Option(None, ignored))


class Scheduler(NamedTuple):
    """What a denoiser keeps of a scheduler: how it makes a grid, and what it does to an output."""

    kind: str
    spacing: str
    steps_offset: int
    to_zero: bool
    shape: str | None  # "karras" or "exponential", in place of the spacing
    sigma_min: float | None
    sigma_max: float | None
    prediction_type: str
    clip: float | None
    threshold: tuple[float, float] | None

    def levels(self, process: DDPM, n: Int) -> Levels:
        """The grid of `n` steps, with its end."""
        n = whole(n, "n")
        if self.shape is not None:
            return self._shaped(process, n)
        if self.kind == "between" and self.spacing == "linspace" and n > 1 and self.to_zero:
            return process.grid(n, "linspace", rounded=False)
        if self.kind == "whole" or self.spacing == "trailing" or self.kind == "between":
            how: dict[str, Any] = dict(steps_offset=self._offset, set_alpha_to_one=self.to_zero)
            return process.grid(n, self.spacing, **how)
        # The multistep solvers.
        steps = process.timesteps(n + 1, self.spacing, steps_offset=self._offset)[:-1]
        return process.levels(np.append(steps, -1 if self.to_zero else 0))

    @property
    def _offset(self) -> int:
        return self.steps_offset if self.spacing == "leading" else 0

    def _shaped(self, process: DDPM, n: int) -> Levels:
        """Levels between two ends: those of the spacing, or of the whole table."""
        table = np.asarray(process.table, np.float64)
        low, high = table[0], table[-1]
        if self.kind == "between":
            ends = self._replace(shape=None).levels(process, n).sigmas
            low, high = float(ends[len(ends) - 2]), float(ends[0])
        low = low if self.sigma_min is None else self.sigma_min
        high = high if self.sigma_max is None else self.sigma_max
        make = schedules.karras if self.shape == "karras" else schedules.exponential
        times = process.time(make(n, low, high, final_zero=False))
        return process.levels(np.append(times, -1 if self.to_zero else 0))

    def denoiser(self, net: Network, process: DDPM, learned_range: bool) -> Denoiser:
        """The denoiser of a network: what it predicts, and what becomes of its output."""
        denoise = prediction(net, process, self.prediction_type, learned_range=learned_range)
        if self.threshold is not None:
            return guidance.dynamic_threshold(denoise, *self.threshold)
        if self.clip is not None:
            return guidance.clip(denoise, -self.clip, self.clip)
        return denoise


def read_scheduler(config: Mapping[str, Any], where: str) -> tuple[Scheduler, DDPM]:
    """The scheduler of a configuration, and its process.

    Raises:
        ValueError: a class or an option that is not supported.
    """
    name = str(config.get("_class_name")).removesuffix("Scheduler")
    if name not in _KINDS:
        raise ValueError(
            f"{where} is the configuration of a {str(config.get('_class_name'))[:80]!r}, and "
            f"edmjax reads those of {', '.join(_KINDS)}: pass another file as `scheduler=`."
        )
    kind = _KINDS[name]
    options = _options(name, kind)
    unread = [key for key, owners in _OWN.items() if name not in owners]
    found = read({k: v for k, v in config.items() if k not in unread}, options, where)
    for key in unread:
        setattr(found, key, None if key.startswith("sigma_") else key == "set_alpha_to_one")
    if name == "DEISMultistep":  # its grid ends at the lowest level, whatever its file says
        found.final_sigmas_type = "sigma_min"
    if found.use_karras_sigmas and found.use_exponential_sigmas:
        raise ValueError(f"{where} asks for both use_karras_sigmas and use_exponential_sigmas.")
    shape = "exponential" if found.use_exponential_sigmas else None
    scheduler = Scheduler(
        kind=kind,
        spacing=found.timestep_spacing,
        steps_offset=found.steps_offset,
        to_zero=found.set_alpha_to_one and found.final_sigmas_type != "sigma_min",
        shape="karras" if found.use_karras_sigmas else shape,
        sigma_min=found.sigma_min,
        sigma_max=found.sigma_max,
        prediction_type=found.prediction_type,
        clip=found.clip_sample_range if found.clip_sample else None,
        threshold=(
            (found.dynamic_thresholding_ratio, found.sample_max_value)
            if found.thresholding
            else None
        ),
    )
    try:
        return scheduler, _process(found, finite=kind != "whole")
    except (TypeError, ValueError) as err:
        raise ValueError(f"{where}: {err}") from None


def _process(found: Any, *, finite: bool) -> DDPM:
    betas: dict[str, Any] = {"num_timesteps": found.num_train_timesteps}
    if found.trained_betas is not None:
        betas |= {"betas": np.asarray(found.trained_betas)}
    else:
        betas |= {"betas": found.beta_schedule}
        if found.beta_schedule != "squaredcos_cap_v2":
            betas |= {"beta_start": found.beta_start, "beta_end": found.beta_end}
    process = ddpm(**betas, rescale_zero_snr=found.rescale_betas_zero_snr)
    if found.rescale_betas_zero_snr and finite:
        table = np.append(np.asarray(process.table)[:-1], _LAST_OF_ZERO_SNR)
        return DDPM(table, process.num_timesteps)
    return process
