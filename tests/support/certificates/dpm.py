"""Of the DPM-Solver and DPM-Solver++ families along the flow."""

import functools

from support import parity as p
from support.certificates.table import add
from support.papers import exponential, single_step
from support.parity import paper

flow = functools.partial(paper, single_step.flow)
multistep = functools.partial(paper, exponential.dpmpp_multistep)

# ---- DPM-Solver++ for the flow


def two_s(r):
    return lambda denoise, x, a, b: single_step.dpmpp_2s(denoise, x, a, b, r)


add(
    "dpmpp_2s()",
    "2n - 1",
    p.k_diffusion("sample_dpmpp_2s_ancestral", eta=0.0),
    flow(single_step.dpmpp_2s),
    name="dpmpp_2s",
    order=2,
    shared=True,
)
for r in (0.3, 1.0):
    add(f"dpmpp_2s(r={r})", "2n - 1", flow(two_s(r)), order=2)


add(
    "dpmpp_2m()",
    "n",
    p.k_diffusion("sample_dpmpp_2m"),
    p.k_diffusion("sample_dpmpp_2m_sde", eta=0.0, solver_type="midpoint"),
    p.diffusers_dpm("DPMSolverMultistep", {"lower_order_final": False}),
    multistep(2),
    name="dpmpp_2m",
    order=2,
    formal=(2, 1),
    shared=True,
)
add(
    'dpmpp_2m("heun")',
    "n",
    p.k_diffusion("sample_dpmpp_2m_sde", eta=0.0, solver_type="heun"),
    multistep(2, "heun"),
    name="dpmpp_2m_heun",
    order=2,
    formal=(2, 1),
    equals=("res_multistep", "sa_solver(2, 0, eta=0.0)"),
    shared=True,
)
add(
    "dpmpp_2m(lower_order_final=True)",
    "n",
    p.diffusers_dpm("DPMSolverMultistep", {}),
    p.diffusers_dpm("DPMSolverMultistep", {"solver_order": 2}),
    p.diffusers_dpm("EDMDPMSolverMultistep", {}),
    p.diffusers_dpm("EDMDPMSolverMultistep", {"solver_order": 2}),
    multistep(2, lower_order_final=True),
    order=2,
)
add(
    'dpmpp_2m("heun", lower_order_final=True)',
    "n",
    p.diffusers_dpm("DPMSolverMultistep", {"solver_type": "heun"}),
    multistep(2, "heun", lower_order_final=True),
    order=2,
)
add(
    "dpmpp_2m(lower_order_final=True, euler_at_final=True)",
    "n",
    p.diffusers_dpm("DPMSolverMultistep", {"euler_at_final": True}),
    multistep(2, lower_order_final=True, euler_at_final=True),
    order=2,
)
add("dpmpp_2m(euler_at_final=True)", "n", multistep(2, euler_at_final=True), order=2)
add("dpmpp_3m()", "n", multistep(3), name="dpmpp_3m", order=2, formal=(2, 2), shared=True)
add(
    'dpmpp_3m("heun")',
    "n",
    p.k_diffusion("sample_dpmpp_3m_sde", eta=0.0),
    multistep(3, "heun"),
    order=2,
    formal=(2, 2),
)
add(
    "dpmpp_3m(lower_order_final=True)",
    "n",
    p.diffusers_dpm("DPMSolverMultistep", {"solver_order": 3}),
    p.diffusers_dpm("EDMDPMSolverMultistep", {"solver_order": 3}),
    multistep(3, lower_order_final=True),
    order=2,
)
add("dpmpp_3m(euler_at_final=True)", "n", multistep(3, euler_at_final=True), order=2)
add("dpmpp_3m(corrected=True)", "n", multistep(3, corrected=True), order=2, formal=(3, 2))
add(
    'dpmpp_3m("heun", corrected=True)',
    "n",
    p.doubled_3m(),
    multistep(3, "heun", corrected=True),
    order=2,
    formal=(3, 2),
    equals=("sa_solver(3, 0, eta=0.0)",),
)
add(
    "dpmpp_3m(corrected=True, start_order=2)",
    "n + 1",
    multistep(3, corrected=True, start_order=2),
    name="dpmpp_3m_corrected",
    order=3,
    formal=(3, 2),
    shared=True,
)
add(
    "dpmpp_3m(start_order=2, lower_order_final=True)",
    "n + 1",
    multistep(3, start_order=2, lower_order_final=True),
    order=2,
)

# ---- DPM-Solver on the noise prediction

noise_multistep = functools.partial(paper, exponential.dpm_multistep)

add("dpm_solver()", "3n - 2", flow(single_step.dpm_3), name="dpm_solver_3", order=3, shared=True)
add("dpm_solver(1)", "n", flow(single_step.euler), order=1, equals=("euler",))
add('dpm_solver(1, "multistep")', "n", noise_multistep(1), order=1, equals=("euler",))
add("dpm_solver(2)", "2n - 1", flow(single_step.dpm_2), order=2, equals=("dpm_2",))
add(
    'dpm_solver(2, "multistep")',
    "n",
    noise_multistep(2),
    name="dpm_solver_2m",
    order=2,
    formal=(2, 1),
    shared=True,
)
add('dpm_solver(2, "multistep", start_order=2)', "n + 1", noise_multistep(2, 2), order=2)
add('dpm_solver(3, "multistep")', "n", noise_multistep(3), order=2, formal=(3, 2))
add(
    'dpm_solver(3, "multistep", start_order=2)',
    "n + 1",
    noise_multistep(3, 2),
    name="dpm_solver_3m",
    order=3,
    formal=(3, 2),
    shared=True,
)


def two_and_more():
    return [grid for grid in p.grids() if len(grid) > 2]


def fast(rest, **options):
    def algorithm(denoise, x, t, noise):
        return single_step.dpm_fast(denoise, x, t, noise, 3 * len(t) - 6 + rest, **options)

    return paper(algorithm, on=two_and_more)


for rest, count, order in ((0, "3n - 3", 2), (1, "3n - 2", 2), (2, "3n - 2", 3)):
    nfe = f"3 * n - {3 - rest}"
    add(f"dpm_fast({nfe})", count, p.k_diffusion_fast(rest, 0.0), fast(rest), order=order)
    add(f"dpm_fast({nfe}, eta=1.0)", count, p.k_diffusion_fast(rest, 1.0), fast(rest, eta=1.0))
add("dpm_fast(3 * n - 1, eta=0.5, s_noise=1.05)", "3n - 2", fast(2, eta=0.5, s_noise=1.05))
