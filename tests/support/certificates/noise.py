"""Of samplers made of samplers: ancestral noise, churn, restart."""

import functools

import numpy as np

from support import parity as p
from support.certificates.table import add
from support.papers import exponential, single_step, stochastic
from support.papers.unipc import unipc as paper_unipc
from support.parity import paper

flow = functools.partial(paper, single_step.flow)
multistep = functools.partial(paper, exponential.dpmpp_multistep)

# ---- noise around a step

ancestral = functools.partial(paper, single_step.ancestral)
churn = functools.partial(paper, single_step.churn)

add(
    "ddim(0.0)",
    "n",
    p.diffusers_ddim("DDIMScheduler", 0.0),
    paper(stochastic.ddim, 0.0),
    name="ddim",
    order=1,
    equals=("euler", "ancestral(euler(), 0.0)"),
    shared=True,
)
add(
    "ddim(0.5)",
    "n",
    p.diffusers_ddim("DDIMScheduler", 0.5),
    p.k_diffusion("sample_euler_ancestral", eta=0.5),
    paper(stochastic.ddim, 0.5),
    name="ddim_half",
    weak=1,
    equals=("ancestral(euler(), 0.5)",),
    shared=True,
)
add("euler_cfg_pp()", "n", paper(stochastic.ddim_raw, 0.0, raw=True), order=1)
add(
    "ddim(0.5, use_clipped_model_output=False)",
    "n",
    paper(stochastic.ddim_raw, 0.5, raw=True),
    weak=1,
    equals=("ancestral(euler_cfg_pp(), 0.5)",),
)
add(
    "ddpm()",
    "n",
    p.diffusers_ddim("DDPMScheduler", 1.0),
    p.diffusers_ddim("DDIMScheduler", 1.0),
    p.k_diffusion("sample_euler_ancestral", eta=1.0),
    p.diffusers_ancestral(),
    paper(stochastic.ddpm),
    name="ddpm",
    weak=1,
    equals=("ddim(1.0)", "ancestral(euler())", "sa_solver(1, 0)"),
    shared=True,
)
add(
    "ancestral(euler(), s_noise=1.05)",
    "n",
    p.k_diffusion("sample_euler_ancestral", eta=1.0, s_noise=1.05),
    ancestral(single_step.euler, 1.0, 1.05),
)
for eta in (1.0, 0.5):
    add(
        f"ancestral(dpm_2(), {eta})",
        "2n - 1",
        p.k_diffusion("sample_dpm_2_ancestral", eta=eta),
        ancestral(single_step.dpm_2, eta),
        weak=2,
    )
    add(
        f"ancestral(dpmpp_2s(), {eta})",
        "2n - 1",
        p.k_diffusion("sample_dpmpp_2s_ancestral", eta=eta),
        ancestral(single_step.dpmpp_2s, eta),
        weak=2,
    )
for inner in ("dpmpp_2s", "dpm_2"):
    add(
        f"ancestral({inner}(), 0.7)",
        "2n - 1",
        ancestral(getattr(single_step, inner), 0.7),
        name=f"ancestral_{inner}",
        weak=2,
        shared=True,
    )
# It divides by the level that it goes down to, which is far below the next one.
add("ancestral(heun())", "2n - 1", ancestral(single_step.heun), weak=2, float32=1e-5)
add("ancestral(lms())", "n", ancestral(single_step.euler), weak=1, equals=("ddpm",))
add("ancestral(unipc())", "n", ancestral(single_step.euler), weak=1, equals=("ddpm",))

add(
    "churn(euler(), 8.0)",
    "n",
    churn(single_step.euler, 8.0),
    name="churn_euler",
    weak=1,
    shared=True,
)
add("churn(heun(), 8.0)", "2n - 1", churn(single_step.heun, 8.0), weak=2)
add(
    "churn(heun(), 3.0, 0.05, 50.0, 1.003)",
    "2n - 1",
    churn(single_step.heun, 3.0, 0.05, 50.0, 1.003),
    name="churn_heun",
    shared=True,
)
add(
    "churn(dpmpp_2m(), 8.0)",
    "n",
    churn(single_step.euler, 8.0),
    name="churn_dpmpp_2m",
    weak=1,
    equals=("churn_euler",),
    shared=True,
)
add("churn(pndm(False), 8.0)", "2n - 1", churn(single_step.heun, 8.0), weak=2)
add("churn(heun(), 0.0)", "2n - 1", flow(single_step.heun), order=2, equals=("heun",))
for sampler, step, nfe in (
    ("euler", "euler", "n"),
    ("heun", "heun", "2n - 1"),
    ("dpm_2",) * 2 + ("2n - 1",),
):
    for s_churn, low, high, s_noise in ((40.0, 0.05, 50.0, 1.003), (30.0, 0.01, 1.0, 1.007)):
        options = {"s_churn": s_churn, "s_tmin": low, "s_tmax": high, "s_noise": s_noise}
        add(
            f"churn({sampler}(), {s_churn}, {low}, {high}, {s_noise})",
            nfe,
            p.k_diffusion(f"sample_{sampler}", **options),
            churn(getattr(single_step, step), s_churn, low, high, s_noise),
        )


def churned_ancestral(denoise, x, t, noise):
    """Of each step the first draw is churn's, and the second the ancestral one."""
    draws = iter(noise)

    def step(denoise, x, a, b):
        return single_step.ancestral(denoise, x, [a, b], draws, single_step.euler)

    return single_step.churn(denoise, x, t, draws, step, 8.0)


add(
    "churn(ancestral(euler()), 8.0)",
    "n",
    paper(churned_ancestral),
    name="two_draws",
    weak=1,
    shared=True,
)

# ---- restart


def ladder():
    return [np.array([5.0, 2.0, 1.0, 0.5, 0.0]), np.array([5.0, 2.0, 1.0, 0.5])]


def restarts(step, after, s_noise=1.0):
    return paper(single_step.restart, step, after, s_noise, on=ladder)


def with_history(method, level, t_max, steps, repeats, **options):
    """A multistep method inside of restarts, on the ladder."""

    def algorithm(denoise, x, t, noise):
        run = functools.partial(method, **options)
        return single_step.restarted(run, denoise, x, t, noise, level, t_max, steps, repeats)

    return paper(algorithm, on=ladder)


add(
    "restart(heun(), [(0.05, 2.0, 3, 2)])",
    "2n + 11",
    restarts(single_step.heun, {2: [(2.0, 3, 2)]}),
    name="restart_heun",
    shared=True,
)
add(
    "restart(heun(), [(1.0, 2.0, max(1, n // 8), 2)])",
    "2n + 3",
    restarts(single_step.heun, {1: [(2.0, 1, 2)]}),
    weak=2,
)
add(
    "restart(euler(), [(1.0, 2.0, max(1, n // 8), 2)])",
    "n + 2",
    restarts(single_step.euler, {1: [(2.0, 1, 2)]}),
    weak=1,
)
add(
    "restart(heun(), [(0.6, 1.5, 3, 2), (1.6, 4.0, 2, 1)], 1.05)",
    "2n + 15",
    restarts(single_step.heun, {2: [(1.5, 3, 2)], 0: [(4.0, 2, 1)]}, 1.05),
)
add(
    "restart(dpmpp_2m(), [(1.0, 3.0, 3, 2)])",
    "n + 6",
    with_history(exponential.dpmpp_multistep, 2, 3.0, 3, 2, order=2),
)
add(
    "restart(unipc(2, lower_order_final=False), [(1.0, 3.0, 3, 1)])",
    "n + 3",
    with_history(paper_unipc, 2, 3.0, 3, 1, order=2, lower=False),
)
add("restart(dpmpp_2m(), [])", "n", multistep(2), order=2, equals=("dpmpp_2m",))
