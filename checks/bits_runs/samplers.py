"""Every sampler: its plan on several grids, and a sample in each dtype."""

import functools
from typing import Any

import numpy as np

from bits_runs import adapter, cases
from bits_runs.adapter import api
from bits_runs.registry import add, typed

# Those that every dtype runs; the rest make their plans, and one sample in float32.
MAIN = (
    "euler()",
    "heun()",
    "dpm_2()",
    "midpoint()",
    "heunpp2()",
    "dpm_fast(6)",
    "dpm_fast(7, eta=0.5)",
    "dpmpp_2s()",
    "dpmpp_2m()",
    "dpmpp_2m(solver_type='heun', lower_order_final=True)",
    "dpmpp_3m()",
    "dpmpp_3m(corrected=True)",
    "dpmpp_singlestep()",
    "dpm_solver()",
    "dpm_solver(order=2, kind='multistep')",
    "lms()",
    "ipndm()",
    "ipndm_v()",
    "deis()",
    "unipc()",
    "unipc(order=2, variant='bh1', predict='eps')",
    "pndm()",
    "pndm(runge_kutta=False)",
    "res_multistep()",
    "res_2s()",
    "res_3s()",
    "exp_heun()",
    "gradient_estimation()",
    "f_ab()",
    "f_pc()",
    "f_rk()",
    "f_trig()",
    "euler_cfg_pp()",
    "teleport(heun())",
    "analytic_first_step(dpmpp_2m())",
    "euler_maruyama()",
    "euler_maruyama(lam=0.5)",
    "reverse_diffusion()",
    "ancestral_sampling()",
    "ddim(eta=0.5)",
    "ddpm()",
    "dpmpp_sde()",
    "dpmpp_2m_sde()",
    "dpmpp_3m_sde()",
    "seeds_2()",
    "seeds_3()",
    "er_sde()",
    "sa_solver()",
    "churn(heun(), s_churn=8.0, s_min=0.05, s_max=50.0, s_noise=1.003)",
    "ancestral(dpm_2(), eta=0.7)",
    "restart(heun(), [(0.3, 5.0, 3, 2)])",
)
OTHERS = (
    "dpmpp_2m(euler_at_final=True)",
    "dpmpp_3m(solver_type='heun', lower_order_final=True)",
    "dpmpp_3m(start_order=2)",
    "dpmpp_2s(r=0.7)",
    "dpmpp_singlestep(order=3)",
    "dpmpp_singlestep(order=2, solver_type='heun', lower_order_final=False)",
    "dpm_solver(order=1)",
    "dpm_solver(order=2)",
    "dpm_solver(order=3, kind='multistep', start_order=2)",
    "lms(order=1)",
    "lms(order=2)",
    "lms(order=3)",
    "lms(final='denoise')",
    "ipndm(order=2)",
    "ipndm(order=3, final='denoise')",
    "ipndm_v(order=2)",
    "ipndm_v(order=3, final='multistep')",
    "deis(order=1)",
    "deis(order=2, kind='rho_ab')",
    "deis(order=3, lower_order_final=False)",
    "unipc(order=1)",
    "unipc(order=2)",
    "unipc(order=3, lower_order_final=False)",
    "unipc(order=3, variant='bh1', disable_corrector=(0, 1))",
    "pndm(process=processes.vp())",
    "pndm(final='denoise')",
    "res_2s(c2=0.7)",
    "res_3s(c2=0.4, c3=0.9)",
    "gradient_estimation(gamma=1.5)",
    "f_ab(order=1)",
    "f_ab(order=3, variable='log_sigma')",
    "f_ab(order=4, variable='theta', sigma_data=0.8)",
    "f_pc(order=3)",
    "f_pc(order=2, variable='theta')",
    "f_rk(order=3)",
    "f_trig(corrected=False)",
    "f_trig(above=0.3)",
    "teleport(dpmpp_2m(), sigma_data=0.8)",
    "analytic_first_step(heun(), sigma_data=0.8)",
    "euler_maruyama(processes.vp(), lam=1.0)",
    "euler_maruyama(final='mean')",
    "reverse_diffusion(lam=0.5)",
    "reverse_diffusion(processes.vp())",
    "ancestral_sampling(processes.vp())",
    "ddim()",
    "ddim(eta=1.0)",
    "ddim(eta=0.5, use_clipped_model_output=False)",
    "ddpm('fixed_large')",
    "dpmpp_sde(eta=0.5, s_noise=1.05, r=0.7)",
    "dpmpp_sde(noise='independent')",
    "dpmpp_2m_sde(solver_type='heun', eta=0.5)",
    "dpmpp_3m_sde(corrected=True)",
    "dpmpp_3m_sde(eta=0.4, s_noise=1.01)",
    "seeds_2(eta=0.5, r=1.0, solver_type='phi_2')",
    "seeds_3(eta=0.5)",
    "er_sde(order=1)",
    "er_sde(order=2, s_noise=1.02)",
    "sa_solver(predictor_order=2, corrector_order=1)",
    "sa_solver(predictor_order=3, corrector_order=2, tau=0.5)",
    "sa_solver(tau=0.8, interval=(0.1, 20.0))",
    "churn(euler(), s_churn=8.0)",
    "churn(dpmpp_2m(), s_churn=8.0)",
    "churn(dpm_2(), s_churn=40.0, s_min=0.05, s_max=50.0, s_noise=1.007)",
    "churn(pndm(runge_kutta=False), s_churn=8.0)",
    "churn(ddpm(), s_churn=8.0)",
    "churn(ancestral(euler(), eta=0.5), s_churn=4.0)",
    "ancestral(euler())",
    "ancestral(euler(), s_noise=1.05)",
    "ancestral(heun())",
    "ancestral(dpmpp_2s(), eta=0.5)",
    "ancestral(lms())",
    "ancestral(unipc())",
    "ancestral(euler_cfg_pp(), eta=0.5)",
    "restart(dpmpp_2m(), [(0.3, 5.0, 3, 1), (2.0, 20.0, 2, 2)])",
    "restart(euler(), [(0.5, 3.0, 2, 1)], s_noise=1.01)",
    "restart(churn(heun(), s_churn=4.0), [(0.5, 3.0, 2, 1)])",
    "from_name('DPM++ 2M Karras')",
    "from_name('sample_heun', s_churn=40.0)",
    "from_name('UniPCMultistepScheduler')",
    "from_name('Euler a')",
    "from_name('sample_dpmpp_2s_ancestral', eta=0.7)",
)
GRIDS = ("karras", "exponential", "above_zero", "one_step", "uneven")
# `dpm_fast` takes 3 steps of these, and `teleport` no grid of one step.
OWN_STEPS = "dpm_fast"


@functools.cache
def grid(name: str) -> Any:
    if name == "karras":
        return api.schedules.karras(7)
    if name == "exponential":
        return api.schedules.exponential(10, sigma_min=0.02, sigma_max=50.0)
    if name == "above_zero":
        return api.schedules.logistic(6, final_zero=False)
    if name == "one_step":
        return np.array([10.0, 0.0])
    return np.array([30.0, 9.0, 8.5, 2.0, 0.7, 0.6, 0.1, 0.0])


def plans(text: str) -> Any:
    """The plan on every grid that the sampler takes."""
    if text.startswith(OWN_STEPS):
        grids = {name: api.schedules.karras(3, sigma_max=s) for name, s in (("a", 80), ("b", 5))}
    else:
        grids = {name: grid(name) for name in GRIDS if name != "one_step" or "teleport" not in text}
    made = adapter.sampler(text)
    return {
        name: adapter.plan_arrays(api.make_plan(made, sigmas)) for name, sigmas in grids.items()
    }


def sample(text: str, dtype: str, drawn: bool = True) -> Any:
    """A sample, with noise that is drawn, or given (which takes a tenth of the time to compile)."""
    steps = 3 if text.startswith(OWN_STEPS) else cases.STEPS
    plan = cases.plan(adapter.sampler(text), cases.karras(steps))
    x = cases.points(dtype=dtype)
    if drawn or not plan.num_draws:
        return api.sample(cases.mixture(), plan, x, cases.key())
    noise = cases.points((plan.num_draws, *x.shape), dtype, 1.0)
    return api.sample(cases.mixture(), plan, x, noise=noise)


def uncovered() -> Any:
    """The public samplers that no run names: none, or this run is an error."""
    asked = " ".join((*MAIN, *OTHERS))
    missing = [name for name in adapter.sampler_names() if f"{name}(" not in asked]
    if missing:
        raise ValueError(f"No run names the samplers {', '.join(missing)}.")
    return np.int32(0)


add("samplers/all_are_named", uncovered)
for _text in (*MAIN, *OTHERS):
    add(f"plans/{_text}", plans, _text)
for _text in MAIN:
    typed(f"samplers/{_text}", sample, _text, dtypes=["float32", "float64"])
    typed(f"samplers/{_text}", sample, _text, dtypes=["bfloat16"], drawn=False)
    # A float32 run beside x64 mode, where a stray float64 number would widen it.
    add(f"samplers/{_text}/float32", sample, _text, mode="x64", dtype="float32", drawn=False)
for _text in OTHERS:
    typed(f"samplers/{_text}", sample, _text, dtypes=["float32"], drawn=False)
