"""Samplers: each is one step of a method, `(x, at) -> x_next`, to be read into a plan.

Each name here is a function that takes the options of a method and returns the step: `heun()` is a
sampler, and so is `churn(heun(), s_churn=40.0)`. `edmjax.Step` says what a step sees.

One word means one thing. `eta` is the strength of the noise, 0 for the probability flow; each
docstring says in which formula. `s_noise` multiplies the noise alone. `final` says how a method
ends: "denoise" with the denoiser, "method" with its own formula. `sigma_data` is the standard
deviation of the data. In the docstrings `D` is the denoised output, `h = log(sigma / sigma_next)`
unless it is defined otherwise, and counts for n steps are for a grid that ends at 0.
"""

from collections.abc import Callable
from typing import Any

from edmjax._common.deprecation import former_names
from edmjax.samplers.adams import deis, gradient_estimation, ipndm, ipndm_v, lms, pndm
from edmjax.samplers.ddim import ddim, ddpm, euler_cfg_pp
from edmjax.samplers.dpm_solver import dpm_fast, dpm_solver
from edmjax.samplers.dpmpp import dpmpp_2m, dpmpp_2s, dpmpp_3m, dpmpp_singlestep
from edmjax.samplers.dpmpp_sde import dpmpp_2m_sde, dpmpp_3m_sde, dpmpp_sde
from edmjax.samplers.er_sde import er_sde
from edmjax.samplers.exponential import exp_heun, res_2s, res_3s, res_multistep, seeds_2, seeds_3
from edmjax.samplers.flow_time import in_flow_time, lcm
from edmjax.samplers.gaussian_split import gaussian_split
from edmjax.samplers.names import from_name
from edmjax.samplers.own_output import f_ab, f_pc, f_rk, f_trig
from edmjax.samplers.predictors import ancestral_sampling, euler_maruyama, reverse_diffusion
from edmjax.samplers.runge_kutta import dpm_2, euler, heun, heunpp2, midpoint
from edmjax.samplers.sa_solver import sa_solver
from edmjax.samplers.unipc import unipc
from edmjax.samplers.wrappers import (
    analytic_first_step,
    ancestral,
    churn,
    flow_ancestral,
    restart,
    teleport,
)

__all__ = [
    "analytic_first_step",
    "ancestral",
    "ancestral_sampling",
    "churn",
    "ddim",
    "ddpm",
    "deis",
    "dpm_2",
    "dpm_fast",
    "dpm_solver",
    "dpmpp_2m",
    "dpmpp_2m_sde",
    "dpmpp_2s",
    "dpmpp_3m",
    "dpmpp_3m_sde",
    "dpmpp_sde",
    "dpmpp_singlestep",
    "er_sde",
    "euler",
    "euler_cfg_pp",
    "euler_maruyama",
    "exp_heun",
    "f_ab",
    "f_pc",
    "f_rk",
    "f_trig",
    "flow_ancestral",
    "from_name",
    "gaussian_split",
    "gradient_estimation",
    "heun",
    "heunpp2",
    "in_flow_time",
    "ipndm",
    "ipndm_v",
    "lcm",
    "lms",
    "midpoint",
    "pndm",
    "res_2s",
    "res_3s",
    "res_multistep",
    "restart",
    "reverse_diffusion",
    "sa_solver",
    "seeds_2",
    "seeds_3",
    "teleport",
    "unipc",
]


__getattr__: Callable[[str], Any] = former_names(
    __name__, {"GaussianSplit": "edmjax.samplers.gaussian_split"}
)


def __dir__() -> list[str]:
    return __all__
