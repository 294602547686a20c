"""Of methods along the flow that start from the point alone, or from a block of the grid."""

import functools

from support import parity as p
from support.certificates.table import add
from support.orders import STEPS
from support.papers import exponential, single_step
from support.parity import paper

flow = functools.partial(paper, single_step.flow)
multistep = functools.partial(paper, exponential.dpmpp_multistep)

# ---- one step


add(
    "euler()",
    "n",
    p.k_diffusion("sample_euler"),
    p.diffusers_dpm("EulerDiscrete", {}),
    p.diffusers_dpm("EDMEuler", {}),
    flow(single_step.euler),
    name="euler",
    order=1,
    shared=True,
)
add(
    "heun()",
    "2n - 1",
    p.k_diffusion("sample_heun"),
    p.diffusers_dpm("HeunDiscrete", {}),
    flow(single_step.heun),
    name="heun",
    order=2,
    shared=True,
)
add(
    "dpm_2()",
    "2n - 1",
    p.k_diffusion("sample_dpm_2"),
    flow(single_step.dpm_2),
    name="dpm_2",
    order=2,
    shared=True,
)
add("midpoint()", "2n - 1", flow(single_step.midpoint), name="midpoint", order=2, shared=True)
add("heunpp2()", "3n - 3", paper(single_step.heunpp2), name="heunpp2", order=1, shared=True)

# ---- blocks of the grid. Orders are those of whole blocks, on multiples of 2 and 3 steps.

singlestep = functools.partial(paper, exponential.dpmpp_singlestep)
BLOCKS_OF_3 = (336, 168, 84, 42)
SINGLESTEP = {"lower_order_final": True}

add(
    "dpmpp_singlestep()",
    "n",
    p.diffusers_dpm("DPMSolverSinglestep", {**SINGLESTEP, "solver_order": 2}),
    singlestep(2),
    name="dpmpp_singlestep",
    order=2,
    shared=True,
)
add(
    "dpmpp_singlestep(1)",
    "n",
    p.diffusers_dpm("DPMSolverSinglestep", {**SINGLESTEP, "solver_order": 1}),
    singlestep(1),
    order=1,
    equals=("euler",),
)
add(
    'dpmpp_singlestep(2, "heun")',
    "n",
    p.diffusers_dpm(
        "DPMSolverSinglestep", {**SINGLESTEP, "solver_order": 2, "solver_type": "heun"}
    ),
    singlestep(2, "heun"),
    order=2,
)
add(
    "dpmpp_singlestep(3)",
    "n",
    p.diffusers_dpm("DPMSolverSinglestep", {**SINGLESTEP, "solver_order": 3}),
    singlestep(3),
    order=2,
    steps=BLOCKS_OF_3,
)
for order in (2, 3):
    for kind in ("midpoint", "heun"):
        add(
            f'dpmpp_singlestep({order}, "{kind}", lower_order_final=False)',
            "n",
            singlestep(order, kind, lower_order_final=False),
            order=order,
            uneven=2,
            highest=order,
            steps=BLOCKS_OF_3 if order == 3 else STEPS,
        )
add('dpmpp_singlestep(3, "heun")', "n", singlestep(3, "heun"), order=2, steps=BLOCKS_OF_3)

# ---- exponential Runge-Kutta

add("res_2s()", "2n - 1", paper(exponential.two_stages), name="res_2s", order=2, shared=True)
add("res_2s(c2=0.7)", "2n - 1", paper(exponential.two_stages, 0.7), order=2)
add(
    "exp_heun()",
    "2n - 1",
    paper(exponential.two_stages, 1.0),
    name="exp_heun",
    order=2,
    equals=("res_2s(c2=1.0)", 'seeds_2(eta=0.0, r=1.0, solver_type="phi_2")'),
    shared=True,
)
add("res_3s()", "3n - 2", paper(exponential.three_stages), name="res_3s", order=3, shared=True)
for nodes in ("0.4, 0.9", "1 / 3, 2 / 3"):
    c2, c3 = eval(nodes)
    add(f"res_3s({nodes})", "3n - 2", paper(exponential.three_stages, c2, c3), order=3)
add(
    "res_multistep()",
    "n",
    multistep(2, "heun"),
    name="res_multistep",
    order=2,
    formal=(2, 1),
    equals=("dpmpp_2m_heun",),
    shared=True,
)
