"""Of multistep methods along the flow on slopes, and of UniPC."""

import functools

import edmjax as ej
from support import parity as p
from support.certificates.table import OPTIONS, add
from support.papers import linear_multistep, single_step
from support.papers.unipc import unipc as paper_unipc
from support.parity import paper

flow = functools.partial(paper, single_step.flow)

# ---- linear multistep

add(
    "gradient_estimation()",
    "n",
    paper(linear_multistep.gradient_estimation, 2.0),
    name="gradient_estimation",
    order=1,
    formal=(1, 1),
    shared=True,
)
add("gradient_estimation(1.0)", "n", flow(single_step.euler), order=1, equals=("euler",))
add(
    "gradient_estimation(1.5)",
    "n",
    paper(linear_multistep.gradient_estimation, 1.5),
    order=2,
    uneven=1,
    formal=(2, 1),
)

adams = functools.partial(paper, linear_multistep.adams_bashforth)
of_equal_steps = functools.partial(paper, linear_multistep.ipndm)
# The start is of first order; the whole of second. With order 3 that shows on finer grids.
LATE = {3: 3}

for order in (1, 2, 3, 4):
    shared = {"name": "lms", "shared": True} if order == 4 else {}
    code = "lms()" if order == 4 else f"lms({order})"
    lms = [p.k_diffusion_lms(order)]
    if order == 4:
        grids = {"use_karras_sigmas": False}, {"use_karras_sigmas": True}
        lms.append(p.diffusers_multistep("LMSDiscreteScheduler", *grids))
    if order == 2:
        lms.append(p.diffusers_multistep("LMSDiscreteScheduler", {"order": 2}))
    claims = {"order": min(order, 2), "formal": (order, order - 1), "highest": LATE.get(order)}
    euler = ("euler",) if order == 1 else ()
    add(
        code,
        "n",
        *lms,
        adams(order),
        zero="denoiser" if order == 1 else "own",
        equals=euler,
        **claims,
        **shared,
    )
    shared = {"name": "ipndm_v", "shared": True} if order == 4 else {}
    code = "ipndm_v()" if order == 4 else f"ipndm_v({order})"
    more = [paper(linear_multistep.ipndm_v)] if order == 3 else []
    equal = (f'lms({order}, final="denoise")', *euler)
    add(code, "n", adams(order, "denoise"), *more, equals=equal, **claims, **shared)
    shared = {"name": "ipndm", "shared": True} if order == 4 else {}
    code = "ipndm()" if order == 4 else f"ipndm({order})"
    more = [p.diffusers_ipndm()] if order == 4 else []
    add(
        code,
        "n",
        *more,
        of_equal_steps(order),
        order=min(order, 2),
        uneven=1,
        formal=(min(order, 2), order - 1),
        zero="denoiser" if order == 1 else "own",
        equals=euler,
        **shared,
    )
add('lms(final="denoise")', "n", adams(4, "denoise"), order=2, formal=(4, 3), equals=("ipndm_v",))
add('ipndm(final="denoise")', "n", of_equal_steps(4, "denoise"), order=2, uneven=1, formal=(2, 3))
add(
    'ipndm_v(final="method")',
    "n",
    adams(4),
    order=2,
    formal=(4, 3),
    zero="own",
    equals=("lms",),
)

for order in (1, 2, 3):
    euler = ("euler",) if order == 1 else ()
    tab = {"name": "deis", "shared": True} if order == 3 else {}
    add(
        "deis()" if order == 3 else f"deis({order})",
        "n",
        p.diffusers_multistep("DEISMultistepScheduler", {"solver_order": order}),
        paper(linear_multistep.deis, order, "tab"),
        order=min(order, 2),
        formal=(order, order - 1),
        equals=euler,
        **tab,
    )
    add(
        f'deis({order}, "rho_ab")',
        "n",
        paper(linear_multistep.deis, order, "rho_ab"),
        order=min(order, 2),
        formal=(order, order - 1),
        highest=LATE.get(order),
        equals=euler,
    )
for kind, equals in (("tab", ()), ("rho_ab", ('lms(3, final="denoise")', "ipndm_v(3)"))):
    add(
        f'deis(3, "{kind}", lower_order_final=False)',
        "n",
        paper(linear_multistep.deis, 3, kind, lower_order_final=False),
        order=2,
        formal=(3, 2),
        highest=LATE[3] if kind == "rho_ab" else None,
        equals=equals,
    )

pndm = functools.partial(paper, linear_multistep.pndm)


def middle_of(process):
    """The level in the middle of a step, in the time of a process."""
    return lambda a, b: process.sigma((process.time(a) + process.time(b)) / 2)


# Weights of equal steps.
PNDM = {"order": 2, "uneven": 1}
OWN = {**PNDM, "zero": "own"}
add("pndm()", "n + 9", pndm(), name="pndm", formal=(2, 3), shared=True, **OWN)
add(
    "pndm(runge_kutta=False)",
    "n + 1",
    p.diffusers_pndm(False),
    pndm(False),
    name="plms",
    formal=(2, 3),
    shared=True,
    **OWN,
)
add("pndm(process=table)", "n + 9", p.diffusers_pndm(True), **OWN)
add("pndm(process=vp())", "n + 9", pndm(middle=middle_of(ej.processes.vp())), **OWN)
add('pndm(final="denoise")', "n + 9", pndm(final="denoise"), **PNDM)
add('pndm(runge_kutta=False, final="denoise")', "n + 1", pndm(False, final="denoise"), **PNDM)

# ---- UniPC

unipc = functools.partial(paper, paper_unipc)
UNIPC = "UniPCMultistepScheduler"


def karras(order):
    return [{"solver_order": order, "use_karras_sigmas": on} for on in (False, True)]


def to_sigma_min(order, variant):
    config = {"solver_order": order, "solver_type": variant, "final_sigmas_type": "sigma_min"}
    return p.diffusers_multistep(UNIPC, config)


for order in (1, 2, 3):
    shared = {"name": "unipc", "shared": True} if order == 3 else {}
    add(
        "unipc()" if order == 3 else f"unipc({order})",
        "n",
        p.diffusers_multistep(UNIPC, *karras(order)),
        to_sigma_min(order, "bh2"),
        unipc(order),
        order=2,
        **shared,
    )
    add(f'unipc({order}, "bh1")', "n", to_sigma_min(order, "bh1"), unipc(order, "bh1"), order=2)
    for variant in ("bh1", "bh2"):
        for predict in ("x0", "eps"):
            add(
                f'unipc({order}, "{variant}", lower_order_final=False, predict="{predict}")',
                "n",
                unipc(order, variant, False, predict),
                order=min(order + 1, 3),
                formal=(order + 1, order - 1),
                # The first step, corrected, is of third order: what that costs shows late.
                highest=4 if order == 3 else None,
            )
    for predict in ("x0", "eps"):
        add(
            f'unipc({order}, predict="{predict}", lower_order_final=False, '
            "disable_corrector=every)",
            "n",
            unipc(order, "bh2", False, predict, OPTIONS["every"]),
            order=min(order, 2),
            formal=(order, order - 1),
            equals=("euler",) if order == 1 else (),
        )
add(
    'unipc(2, predict="eps")',
    "n",
    p.diffusers_multistep(
        UNIPC, {"solver_order": 2, "predict_x0": False, "final_sigmas_type": "sigma_min"}
    ),
    unipc(2, predict="eps"),
    order=2,
)
add(
    "unipc(disable_corrector=[0, 1])",
    "n",
    p.diffusers_multistep(UNIPC, {"solver_order": 3, "disable_corrector": [0, 1]}),
    unipc(3, uncorrected=(0, 1)),
    order=2,
)
