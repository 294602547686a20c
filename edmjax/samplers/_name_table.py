"""The table of the names that other packages give to samplers.

`names.py` looks names up in it, and `docs/names.md` prints it.
"""

import functools

from edmjax.samplers.adams import ipndm, ipndm_v, lms
from edmjax.samplers.cfg_pp import euler_cfg_pp
from edmjax.samplers.combinators import ancestral, churn
from edmjax.samplers.ddim import ddim, ddpm
from edmjax.samplers.deis import deis
from edmjax.samplers.dpm_solver import dpm_fast
from edmjax.samplers.dpmpp import dpmpp_2m, dpmpp_2s
from edmjax.samplers.dpmpp_sde import dpmpp_2m_sde, dpmpp_3m_sde, dpmpp_sde
from edmjax.samplers.dpmpp_singlestep import dpmpp_singlestep
from edmjax.samplers.er_sde import er_sde
from edmjax.samplers.exponential import exp_heun, res_multistep
from edmjax.samplers.gradient_estimation import gradient_estimation
from edmjax.samplers.heunpp import heunpp2
from edmjax.samplers.lookup import Row
from edmjax.samplers.pndm import pndm
from edmjax.samplers.runge_kutta import dpm_2, euler, heun
from edmjax.samplers.seeds import seeds_2, seeds_3
from edmjax.samplers.unipc import unipc

_with = functools.partial
_CHURN = _with(churn, s_churn=0.0)  # no churn unless it is asked for

ROWS = (
    Row(
        euler,
        k_diffusion="sample_euler",
        diffusers="EulerDiscreteScheduler, EDMEulerScheduler, FlowMatchEulerDiscreteScheduler",
        comfyui="euler",
        a1111="Euler",
        note="diffusers adds the noise of churn after the evaluation; here it is added before, as "
        "in the paper. Levels of a flow: `ej.processes.flow()`.",
        wrapper=_CHURN,
    ),
    Row(
        euler_cfg_pp,
        comfyui="euler_cfg_pp",
        a1111="DDIM CFG++",
        note="For a denoiser of two outputs, from `ej.guidance.cfg_pp`.",
    ),
    Row(
        heun,
        k_diffusion="sample_heun",
        diffusers="HeunDiscreteScheduler",
        comfyui="heun",
        a1111="Heun",
        note="diffusers has no churn.",
        wrapper=_CHURN,
    ),
    Row(heunpp2, comfyui="heunpp2", wrapper=_CHURN),
    Row(
        dpm_2,
        k_diffusion="sample_dpm_2",
        diffusers="KDPM2DiscreteScheduler",
        comfyui="dpm_2",
        a1111="DPM2",
        note="diffusers has no churn.",
        wrapper=_CHURN,
    ),
    Row(
        euler,
        k_diffusion="sample_euler_ancestral",
        diffusers="EulerAncestralDiscreteScheduler",
        comfyui="euler_ancestral",
        a1111="Euler a",
        wrapper=ancestral,
    ),
    Row(
        dpm_2,
        k_diffusion="sample_dpm_2_ancestral",
        diffusers="KDPM2AncestralDiscreteScheduler",
        comfyui="dpm_2_ancestral",
        a1111="DPM2 a",
        wrapper=ancestral,
    ),
    Row(
        dpmpp_2s,
        k_diffusion="sample_dpmpp_2s_ancestral",
        comfyui="dpmpp_2s_ancestral",
        a1111="DPM++ 2S a",
        wrapper=ancestral,
    ),
    Row(
        ddim,
        diffusers="DDIMScheduler, DDIMParallelScheduler",
        comfyui="ddim",
        a1111="DDIM",
        note="diffusers clips by default: that belongs into the denoiser. It takes the noise from "
        "the output before: `use_clipped_model_output=False`.",
    ),
    Row(
        ddpm,
        diffusers="DDPMScheduler, DDPMParallelScheduler",
        comfyui="ddpm",
        note="diffusers clips by default: that belongs into the denoiser.",
    ),
    Row(dpmpp_2m, k_diffusion="sample_dpmpp_2m", comfyui="dpmpp_2m", a1111="DPM++ 2M"),
    Row(
        _with(dpmpp_2m, lower_order_final=True),
        diffusers="DPMSolverMultistepScheduler, EDMDPMSolverMultistepScheduler",
        note='Order 2. With `algorithm_type="sde-dpmsolver++"` it is `dpmpp_2m_sde()`.',
    ),
    Row(
        dpmpp_singlestep,
        diffusers="DPMSolverSinglestepScheduler",
        note="diffusers sets `lower_order_final` itself where the last level is 0.",
    ),
    Row(
        dpmpp_sde,
        k_diffusion="sample_dpmpp_sde",
        diffusers="DPMSolverSDEScheduler",
        comfyui="dpmpp_sde, dpmpp_sde_gpu",
        a1111="DPM++ SDE",
        note="The two noises of a step are of one Brownian path.",
    ),
    Row(
        dpmpp_2m_sde,
        k_diffusion="sample_dpmpp_2m_sde",
        diffusers="CosineDPMSolverMultistepScheduler",
        comfyui="dpmpp_2m_sde, dpmpp_2m_sde_gpu",
        a1111="DPM++ 2M SDE",
    ),
    Row(
        _with(dpmpp_2m_sde, solver_type="heun"),
        comfyui="dpmpp_2m_sde_heun, dpmpp_2m_sde_heun_gpu",
        a1111="DPM++ 2M SDE Heun",
    ),
    Row(
        dpmpp_3m_sde,
        k_diffusion="sample_dpmpp_3m_sde",
        comfyui="dpmpp_3m_sde, dpmpp_3m_sde_gpu",
        a1111="DPM++ 3M SDE",
    ),
    Row(
        dpm_fast,
        k_diffusion="sample_dpm_fast",
        comfyui="dpm_fast",
        a1111="DPM fast",
        note="Its grid is `ej.schedules.dpm_fast(nfe)`.",
    ),
    Row(lms, k_diffusion="sample_lms", diffusers="LMSDiscreteScheduler", a1111="LMS"),
    Row(_with(lms, final="denoise"), comfyui="lms", note="The denoiser on the step to zero."),
    Row(ipndm, diffusers="IPNDMScheduler", note="diffusers has levels of its own."),
    Row(_with(ipndm, final="denoise"), comfyui="ipndm", note="The denoiser on the step to zero."),
    Row(ipndm_v, comfyui="ipndm_v"),
    Row(_with(deis, order=2), diffusers="DEISMultistepScheduler", note="diffusers stops above 0."),
    Row(_with(unipc, order=2), diffusers="UniPCMultistepScheduler"),
    Row(
        _with(unipc, variant="bh1"),
        comfyui="uni_pc",
        a1111="UniPC",
        note="Order 3; `unipc`, spelled so, is ours, with bh2. ComfyUI puts 0.001 in the place of "
        "0.",
    ),
    Row(unipc, comfyui="uni_pc_bh2", note="ComfyUI puts 0.001 in the place of 0."),
    Row(
        pndm,
        diffusers="PNDMScheduler",
        note="The middle of a Runge-Kutta step is in log sigma here, in training steps there; pass "
        "`process=` for another time. Stable Diffusion skips these steps: `PLMS`.",
    ),
    Row(_with(pndm, runge_kutta=False), a1111="PLMS"),
    Row(res_multistep, comfyui="res_multistep"),
    Row(gradient_estimation, comfyui="gradient_estimation"),
    Row(er_sde, comfyui="er_sde"),
    Row(seeds_2, comfyui="seeds_2"),
    Row(seeds_3, comfyui="seeds_3"),
    Row(exp_heun, comfyui="exp_heun_2_x0"),
    Row(_with(seeds_2, r=1.0, solver_type="phi_2"), comfyui="exp_heun_2_x0_sde"),
    Row(
        None,
        k_diffusion="sample_dpm_adaptive",
        comfyui="dpm_adaptive",
        a1111="DPM adaptive",
        note="It chooses its steps by the error of the sample, and a plan has fixed ones: use "
        "`dpm_solver()` or `dpmpp_2m()`.",
    ),
    Row(
        None,
        diffusers="LCMScheduler",
        comfyui="lcm",
        a1111="LCM",
        note="It adds new noise to each denoised output, for consistency models. As a sampler: "
        "`lambda x, at: at.denoise(x, at.sigma) + at.sigma_next * at.noise()`.",
    ),
    Row(
        None,
        diffusers="TCDScheduler, CMStochasticIterativeScheduler, SCMScheduler",
        note="It is for networks that were distilled to few steps: for a denoiser use "
        "`dpmpp_2m()`.",
    ),
    Row(
        None,
        comfyui="euler_ancestral_cfg_pp, dpmpp_2s_ancestral_cfg_pp, dpmpp_2m_cfg_pp, "
        "res_multistep_cfg_pp, res_multistep_ancestral_cfg_pp, gradient_estimation_cfg_pp, "
        "cfgpp_ud10_ab",
        note="CFG++ steps along the unguided output: that is `euler_cfg_pp()`, also under "
        "`ancestral`; else use the sampler of the name without CFG++, and guide the denoiser.",
    ),
    Row(
        None,
        comfyui="res_multistep_ancestral",
        note="It keeps its history across its own noise, which `ancestral` empties: use "
        "`dpmpp_2m_sde()`, which keeps it as well.",
    ),
    Row(
        None,
        comfyui="deis",
        note="ComfyUI's polynomials are in the time of the variance-preserving process: use "
        "`deis()`, in log sigma.",
    ),
    Row(
        None,
        comfyui="sa_solver",
        note="ComfyUI adds noise between 20 and 80 % of the model's time and lowers the order at "
        "the end: use `sa_solver(interval=(low, high))`.",
    ),
    Row(
        None,
        comfyui="sa_solver_pece",
        note="It evaluates the corrected points as well: use `sa_solver()`, which does not.",
    ),
    Row(
        None,
        diffusers="SASolverScheduler",
        note="diffusers changes the weights of order 2, and adds noise between the training steps "
        "200 and 800: use `sa_solver(2, 2, interval=(low, high))`.",
    ),
    Row(
        None,
        a1111="Restart",
        note="A1111 chooses grid and restarts by the number of steps: use `restart(heun(), "
        "intervals)`.",
    ),
    Row(
        None,
        diffusers="DDIMInverseScheduler, DPMSolverMultistepInverseScheduler",
        note="To encode, run `ddim()` or `dpmpp_2m()` over `ej.schedules.reverse(sigmas)`.",
    ),
    Row(
        None,
        diffusers="FlowMatchHeunDiscreteScheduler",
        note="It is Heun's method in the time of the flow: use `heun()`, which is in sigma.",
    ),
    Row(
        None,
        diffusers="FlowMatchLCMScheduler",
        note="It is for distilled flows: use `euler()` with the levels of `ej.processes.flow()`.",
    ),
    Row(
        None,
        diffusers="KarrasVeScheduler",
        note="diffusers takes variances for levels: use `churn(heun(), s_churn=80, s_min=0.05, "
        "s_max=50, s_noise=1.007)`.",
    ),
    Row(
        None,
        diffusers="ScoreSdeVeScheduler, ScoreSdeVpScheduler",
        note="Use `euler_maruyama()`, with a corrector in `ej.sample`.",
    ),
    Row(
        None,
        diffusers="RePaintScheduler, UnCLIPScheduler, DDPMWuerstchenScheduler",
        note="It is DDPM, changed for one task or pipeline: use `ddpm()`.",
    ),
    Row(
        None,
        diffusers="CogVideoXDDIMScheduler, CogVideoXDPMScheduler",
        note="It is made for one pipeline: use `ddim()` or `dpmpp_2m_sde()`.",
    ),
    Row(
        None,
        diffusers="AmusedScheduler, VQDiffusionScheduler",
        note="It samples tokens; a sampler here moves points.",
    ),
)
