"""Samplers: each is one step of a method, `(x, at) -> x_next`, to be read into a plan.

The names are functions that take the method's options and return the step, so `heun()` is a sampler
and `churn(heun(), s_churn=40.0)` another. `edmjax.Step` says what a step sees.
"""

from edmjax.samplers.adams import ipndm as ipndm, ipndm_v as ipndm_v, lms as lms
from edmjax.samplers.cfg_pp import euler_cfg_pp as euler_cfg_pp
from edmjax.samplers.combinators import (
    ancestral as ancestral,
    churn as churn,
)
from edmjax.samplers.ddim import ddim as ddim, ddpm as ddpm
from edmjax.samplers.deis import deis as deis
from edmjax.samplers.dpm_solver import dpm_fast as dpm_fast, dpm_solver as dpm_solver
from edmjax.samplers.dpmpp import (
    dpmpp_2m as dpmpp_2m,
    dpmpp_2s as dpmpp_2s,
    dpmpp_3m as dpmpp_3m,
)
from edmjax.samplers.dpmpp_sde import (
    dpmpp_2m_sde as dpmpp_2m_sde,
    dpmpp_3m_sde as dpmpp_3m_sde,
    dpmpp_sde as dpmpp_sde,
)
from edmjax.samplers.dpmpp_singlestep import dpmpp_singlestep as dpmpp_singlestep
from edmjax.samplers.er_sde import er_sde as er_sde
from edmjax.samplers.exponential import (
    exp_heun as exp_heun,
    res_2s as res_2s,
    res_3s as res_3s,
    res_multistep as res_multistep,
)
from edmjax.samplers.f_form import (
    analytic_first_step as analytic_first_step,
    f_ab as f_ab,
    f_pc as f_pc,
    f_rk as f_rk,
    teleport as teleport,
)
from edmjax.samplers.f_trig import f_trig as f_trig
from edmjax.samplers.gaussian_split import (
    GaussianSplit as GaussianSplit,
    gaussian_split as gaussian_split,
)
from edmjax.samplers.gradient_estimation import gradient_estimation as gradient_estimation
from edmjax.samplers.heunpp import heunpp2 as heunpp2
from edmjax.samplers.names import from_name as from_name
from edmjax.samplers.pndm import pndm as pndm
from edmjax.samplers.predictors import (
    ancestral_sampling as ancestral_sampling,
    reverse_diffusion as reverse_diffusion,
)
from edmjax.samplers.restart import restart as restart
from edmjax.samplers.runge_kutta import (
    dpm_2 as dpm_2,
    euler as euler,
    heun as heun,
    midpoint as midpoint,
)
from edmjax.samplers.sa_solver import sa_solver as sa_solver
from edmjax.samplers.sde import euler_maruyama as euler_maruyama
from edmjax.samplers.seeds import seeds_2 as seeds_2, seeds_3 as seeds_3
from edmjax.samplers.unipc import unipc as unipc
