"""Of integrators of the reverse stochastic differential equation."""

import functools

import numpy as np

from support import parity as p
from support.certificates.table import OPTIONS, add
from support.papers import sde_integrators, stochastic
from support.parity import paper

# ---- stochastic differential equations

add(
    "euler_maruyama()",
    "n",
    paper(stochastic.euler_maruyama, 1.0),
    name="euler_maruyama",
    weak=1,
    shared=True,
)
add(
    "euler_maruyama(eta=0.0)",
    "n",
    paper(stochastic.euler_maruyama, 0.0),
    name="euler_maruyama_0",
    order=1,
    equals=("euler",),
    shared=True,
)
add("euler_maruyama(eta=0.8)", "n", paper(stochastic.euler_maruyama, 0.8), weak=1)
add(
    'euler_maruyama(eta=0.8, final="method")',
    "n",
    paper(stochastic.euler_maruyama, 0.8, "mean"),
    weak=1,
    zero="own",
)

em = functools.partial(paper, stochastic.euler_maruyama)
add("euler_maruyama(edm())", "n", em(), weak=1, equals=("euler_maruyama",))
add("euler_maruyama(vp())", "n", em(process=stochastic.VP), weak=1)
add("euler_maruyama(vp(), eta=0.0)", "n", em(0.0, process=stochastic.VP), order=1)
add(
    'euler_maruyama(vp(), 0.8, final="method")',
    "n",
    em(0.8, "mean", stochastic.VP),
    weak=1,
    zero="own",
)
add("euler_maruyama(song_ve(25.0), 0.8)", "n", em(0.8, process=stochastic.SONG_VE), weak=1)
add("euler_maruyama(cosine())", "n", em(process=stochastic.COSINE), weak=1)

two_s_sde = functools.partial(paper, stochastic.dpmpp_sde)
third = {"eta": 0.5, "s_noise": 1.05, "r": 1 / 3}

add(
    "dpmpp_sde()",
    "2n - 1",
    p.k_diffusion("sample_dpmpp_sde", eta=1.0, brownian=True),
    two_s_sde(),
    name="dpmpp_sde",
    weak=2,
    shared=True,
)
add(
    'dpmpp_sde(noise="independent")',
    "2n - 1",
    p.k_diffusion("sample_dpmpp_sde", eta=1.0),
    two_s_sde(kind="independent"),
    name="dpmpp_sde_independent",
    weak=1,
    shared=True,
)
add(
    "dpmpp_sde(eta=0.0)",
    "2n - 1",
    p.k_diffusion("sample_dpmpp_sde", eta=0.0),
    two_s_sde(eta=0.0),
    name="dpmpp_sde_0",
    order=2,
    equals=("dpmpp_2s", "seeds_2_0"),
    shared=True,
)
add(
    'dpmpp_sde(eta=0.5, s_noise=1.05, r=1 / 3, noise="independent")',
    "2n - 1",
    p.k_diffusion("sample_dpmpp_sde", **third),
    two_s_sde(kind="independent", **third),
)
add("dpmpp_sde(eta=0.5, s_noise=1.05, r=1 / 3)", "2n - 1", two_s_sde(**third))
add("dpmpp_sde(eta=0.6, r=0.3)", "2n - 1", two_s_sde(eta=0.6, r=0.3), weak=2)
add("dpmpp_sde(s_noise=0.0)", "2n - 1", two_s_sde(s_noise=0.0))

multistep_sde = functools.partial(paper, sde_integrators.dpmpp_multistep_sde)

for kind in ("midpoint", "heun"):
    for eta in (1.0, 0.5):
        known = kind == "midpoint" and eta == 1.0
        more = {"name": "dpmpp_2m_sde", "shared": True} if known else {}
        published = [p.diffusers_sde(solver_type=kind)] if eta == 1.0 else []
        add(
            "dpmpp_2m_sde()" if known else f'dpmpp_2m_sde({eta}, solver_type="{kind}")',
            "n",
            p.k_diffusion("sample_dpmpp_2m_sde", eta=eta, solver_type=kind),
            *published,
            multistep_sde(2, eta, solver_type=kind),
            weak=2,
            equals=("sa_solver(2, 0)",) if kind == "heun" and eta == 1.0 else (),
            **more,
        )
add(
    "dpmpp_2m_sde(0.0)",
    "n",
    p.k_diffusion("sample_dpmpp_2m_sde", eta=0.0, solver_type="midpoint"),
    multistep_sde(2, 0.0, solver_type="midpoint"),
    name="dpmpp_2m_sde_0",
    order=2,
    formal=(2, 1),
    equals=("dpmpp_2m",),
    shared=True,
)
add(
    'dpmpp_2m_sde(0.0, solver_type="heun")',
    "n",
    p.k_diffusion("sample_dpmpp_2m_sde", eta=0.0, solver_type="heun"),
    multistep_sde(2, 0.0),
    order=2,
    formal=(2, 1),
    equals=("dpmpp_2m_heun",),
)
add(
    "dpmpp_2m_sde(s_noise=1.05)",
    "n",
    p.k_diffusion("sample_dpmpp_2m_sde", eta=1.0, s_noise=1.05, solver_type="midpoint"),
    multistep_sde(2, 1.0, 1.05, "midpoint"),
)
add("dpmpp_2m_sde(s_noise=0.0)", "n", multistep_sde(2, 1.0, 0.0, "midpoint"))
for eta in (1.0, 0.5, 0.0):
    known = {1.0: ("dpmpp_3m_sde()", "dpmpp_3m_sde"), 0.0: ("dpmpp_3m_sde(0.0)", "dpmpp_3m_sde_0")}
    code, name = known.get(eta, (f"dpmpp_3m_sde({eta})", None))
    claims = {"weak": 2} if eta else {"order": 2, "formal": (2, 2)}
    add(
        code,
        "n",
        p.k_diffusion("sample_dpmpp_3m_sde", eta=eta),
        multistep_sde(3, eta),
        name=name,
        equals=() if eta else ('dpmpp_3m("heun")',),
        shared=name is not None,
        **claims,
    )
    claims = {"weak": 2, "weak_steps": (640, 1280)} if eta else {"order": 2, "formal": (3, 2)}
    add(
        f"dpmpp_3m_sde({eta}, corrected=True)",
        "n",
        p.k_diffusion("sample_dpmpp_3m_sde", key="x_d2_doubled", eta=eta),
        multistep_sde(3, eta, corrected=True),
        equals=(f"sa_solver(3, 0, eta={eta} ** 0.5)",),
        float32=2e-6,
        **claims,
    )
add("dpmpp_3m_sde(0.5, s_noise=1.05)", "n", multistep_sde(3, 0.5, 1.05))

seeds = functools.partial(paper, sde_integrators.seeds)

add("seeds_2()", "2n - 1", seeds([0.5], solver_type="phi_1"), name="seeds_2", weak=2, shared=True)
add(
    "seeds_2(eta=0.0)",
    "2n - 1",
    seeds([0.5], eta=0.0, solver_type="phi_1"),
    name="seeds_2_0",
    order=2,
    equals=("dpmpp_2s",),
    shared=True,
)
add('seeds_2(solver_type="phi_2")', "2n - 1", seeds([0.5]), weak=2)
add(
    'seeds_2(eta=0.0, r=0.3, solver_type="phi_2")',
    "2n - 1",
    seeds([0.3], eta=0.0),
    order=2,
    equals=("res_2s(c2=0.3)",),
)
for kind in ("phi_1", "phi_2"):
    add(f'seeds_2(0.5, 1.05, r=0.4, solver_type="{kind}")', "2n - 1", seeds([0.4], 0.5, 1.05, kind))
add("seeds_2(s_noise=0.0)", "2n - 1", seeds([0.5], s_noise=0.0, solver_type="phi_1"))
add("seeds_3()", "3n - 2", seeds([1 / 3, 2 / 3]), name="seeds_3", weak=2, shared=True)
add("seeds_3(eta=0.0)", "3n - 2", seeds([1 / 3, 2 / 3], eta=0.0), order=3)
add("seeds_3(0.5, 1.05, 0.25, 0.8)", "3n - 2", seeds([0.25, 0.8], 0.5, 1.05))
add("seeds_3(0.5, r_1=0.4, r_2=1.0)", "3n - 2", seeds([0.4, 1.0], 0.5), weak=2)


def scaled(g):
    return lambda sigma: sigma * g(sigma)


def er(order, g=lambda sigma: np.exp(sigma**0.3) + 10, s_noise=1.0):
    return paper(stochastic.er_sde, order, scaled(g), s_noise)


def one(sigma):
    return 1.0


def same(sigma):
    return sigma


add("er_sde()", "n", er(3), name="er_sde", weak=2, shared=True)
add("er_sde(1)", "n", er(1), weak=1)
add("er_sde(2)", "n", er(2), weak=2)
add('er_sde(scaler="ode")', "n", er(3, one), name="er_sde_ode", order=2, formal=(2, 2), shared=True)
add('er_sde(1, scaler="ode")', "n", er(1, one), order=1, equals=("euler",))
add('er_sde(2, scaler="ode")', "n", er(2, one), order=2, formal=(2, 1))
add('er_sde(1, scaler="sde")', "n", er(1, same), weak=1, equals=("ddpm",))
add('er_sde(3, scaler="sde")', "n", er(3, same), weak=2)
add("er_sde(3, 1.05, scaler=root)", "n", er(3, OPTIONS["root"], 1.05))
add("er_sde(s_noise=0.0)", "n", er(3, s_noise=0.0))


def sa(p_order, c_order, tau=1.0, low=0.0, high=np.inf, s_noise=1.0):
    def of(sigma):
        return tau if low <= sigma <= high else 0.0

    return paper(sde_integrators.sa_solver, p_order, c_order, of, s_noise)


# Its weak order comes down to 2 slowly: 2.18 between 320 and 640 steps.
add(
    "sa_solver()",
    "n",
    sa(3, 4),
    name="sa_solver",
    weak=2,
    weak_steps=(640, 1280),
    float32=2e-6,
    shared=True,
)
add("sa_solver(1, 0)", "n", sa(1, 0), weak=1, equals=("ddpm",))
add("sa_solver(2, 2)", "n", sa(2, 2), weak=2)
add("sa_solver(1, 2, eta=0.0)", "n", sa(1, 2, 0.0), name="sa_solver_0", order=2, shared=True)
add("sa_solver(1, 0, eta=0.0)", "n", sa(1, 0, 0.0), order=1, equals=("euler",))
add("sa_solver(1, 1, eta=0.0)", "n", sa(1, 1, 0.0), order=1)
add(
    "sa_solver(2, 0, eta=0.0)",
    "n",
    sa(2, 0, 0.0),
    order=2,
    formal=(2, 1),
    equals=("dpmpp_2m_heun",),
)
add("sa_solver(2, 3, eta=0.0)", "n", sa(2, 3, 0.0), order=3, formal=(3, 1))
add(
    "sa_solver(3, 0, eta=0.0)",
    "n",
    sa(3, 0, 0.0),
    order=2,
    formal=(3, 2),
    equals=('dpmpp_3m("heun", corrected=True)',),
)
add("sa_solver(3, 4, eta=0.0)", "n", sa(3, 4, 0.0), order=3, formal=(4, 2), highest=4)
add("sa_solver(4, 0, eta=0.0)", "n", sa(4, 0, 0.0), order=2, formal=(4, 3), float32=2e-6)
# The predictor's error, of order 5, is still the larger part.
add("sa_solver(4, 4, eta=0.0)", "n", sa(4, 4, 0.0), order=3, formal=(4, 3), highest=5, float32=2e-6)
for p_order, c_order in ((3, 0), (1, 1), (3, 4), (4, 4)):
    add(
        f"sa_solver({p_order}, {c_order}, 0.8, (0.2, 3.0), 1.05)",
        "n",
        sa(p_order, c_order, 0.8, 0.2, 3.0, 1.05),
        float32=2e-6,
    )
add("sa_solver(s_noise=0.0)", "n", sa(3, 4, s_noise=0.0))
