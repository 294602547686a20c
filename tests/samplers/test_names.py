"""Names of other packages: all they have are known, and give what those packages sample with."""

import functools
import importlib.util
import json
import math
import pathlib
import re

import jax
import numpy as np
import pytest

import edmjax as ej
from edmjax import samplers as s, schedules
from edmjax.samplers.names import (
    sampler_names as sampler_table,
    schedule_names as schedule_table,
)
from edmjax.training import choices

ROOT = pathlib.Path(__file__).parents[2]


def listed(text):
    return [name.strip() for name in text.replace("\n", " ").split(",")]


# What the packages list: k-diffusion 0.1.1, diffusers of 2025, ComfyUI of 2026, A1111 1.10 and,
# with a schedule in the name, before 1.9.
K_DIFFUSION = listed("""sample_euler, sample_euler_ancestral, sample_heun, sample_dpm_2,
sample_dpm_2_ancestral, sample_lms, sample_dpm_fast, sample_dpm_adaptive, sample_dpmpp_2s_ancestral,
sample_dpmpp_sde, sample_dpmpp_2m, sample_dpmpp_2m_sde, sample_dpmpp_3m_sde""")
DIFFUSERS = listed("""AmusedScheduler, CMStochasticIterativeScheduler, CogVideoXDDIMScheduler,
CogVideoXDPMScheduler, CosineDPMSolverMultistepScheduler, DDIMInverseScheduler, DDIMScheduler,
DDIMParallelScheduler, DDPMParallelScheduler, DDPMScheduler, DDPMWuerstchenScheduler,
DEISMultistepScheduler, DPMSolverMultistepInverseScheduler, DPMSolverMultistepScheduler,
DPMSolverSDEScheduler, DPMSolverSinglestepScheduler, EDMDPMSolverMultistepScheduler,
EDMEulerScheduler, EulerAncestralDiscreteScheduler, EulerDiscreteScheduler,
FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler, FlowMatchLCMScheduler,
HeunDiscreteScheduler, IPNDMScheduler, KarrasVeScheduler, KDPM2AncestralDiscreteScheduler,
KDPM2DiscreteScheduler, LCMScheduler, LMSDiscreteScheduler, LTXEulerAncestralRFScheduler,
PNDMScheduler, RePaintScheduler,
SASolverScheduler, SCMScheduler, ScoreSdeVeScheduler, ScoreSdeVpScheduler, TCDScheduler,
UnCLIPScheduler, UniPCMultistepScheduler, VQDiffusionScheduler, sde-dpmsolver""")
COMFYUI = listed("""euler, euler_cfg_pp, euler_ancestral, euler_ancestral_cfg_pp, heun, heunpp2,
exp_heun_2_x0, exp_heun_2_x0_sde, dpm_2, dpm_2_ancestral, lms, dpm_fast, dpm_adaptive,
dpmpp_2s_ancestral, dpmpp_2s_ancestral_cfg_pp, dpmpp_sde, dpmpp_sde_gpu, dpmpp_2m, dpmpp_2m_cfg_pp,
dpmpp_2m_sde, dpmpp_2m_sde_gpu, dpmpp_2m_sde_heun, dpmpp_2m_sde_heun_gpu, dpmpp_3m_sde,
dpmpp_3m_sde_gpu, ddpm, lcm, ipndm, ipndm_v, deis, cfgpp_ud10_ab, res_multistep,
res_multistep_cfg_pp, res_multistep_ancestral, res_multistep_ancestral_cfg_pp, gradient_estimation,
gradient_estimation_cfg_pp, er_sde, seeds_2, seeds_3, sa_solver, sa_solver_pece, ddim, uni_pc,
uni_pc_bh2""")
A1111 = listed("""DPM++ 2M, DPM++ SDE, DPM++ 2M SDE, DPM++ 2M SDE Heun, DPM++ 2S a, DPM++ 3M SDE,
Euler a, Euler, LMS, Heun, DPM2, DPM2 a, DPM fast, DPM adaptive, Restart, DDIM, DDIM CFG++, PLMS,
UniPC, LCM""")
WITH_SCHEDULE = listed("""LMS Karras, DPM2 Karras, DPM2 a Karras, DPM++ 2S a Karras,
DPM++ 2M Karras, DPM++ SDE Karras, DPM++ 2M SDE Karras, DPM++ 2M SDE Exponential,
DPM++ 2M SDE Heun Karras, DPM++ 2M SDE Heun Exponential, DPM++ 3M SDE Karras,
DPM++ 3M SDE Exponential""")
COMFYUI_SCHEDULES = listed("""simple, sgm_uniform, karras, exponential, ddim_uniform, beta, normal,
linear_quadratic, kl_optimal""")
A1111_SCHEDULES = listed("""Automatic, Uniform, Karras, Exponential, Polyexponential, SGM Uniform,
KL Optimal, Align Your Steps, Simple, Normal, DDIM, Beta""")

# From the signatures and menus of the packages, with every option that they have written out.
SAMPLERS = {
    "sample_euler": s.euler(),
    "sample_heun": s.heun(),
    "sample_dpm_2": s.dpm_2(),
    "sample_euler_ancestral": s.ancestral(s.euler(), eta=1.0, s_noise=1.0),
    "sample_dpm_2_ancestral": s.ancestral(s.dpm_2(), eta=1.0, s_noise=1.0),
    "sample_dpmpp_2s_ancestral": s.ancestral(s.dpmpp_2s(r=0.5), eta=1.0, s_noise=1.0),
    "sample_lms": s.lms(order=4, final="method"),
    "sample_dpmpp_sde": s.dpmpp_sde(eta=1.0, s_noise=1.0, r=0.5, noise="brownian"),
    "sample_dpmpp_2m": s.dpmpp_2m("midpoint", lower_order_final=False, euler_at_final=False),
    "sample_dpmpp_2m_sde": s.dpmpp_2m_sde(eta=1.0, s_noise=1.0, solver_type="midpoint"),
    "sample_dpmpp_3m_sde": s.dpmpp_3m_sde(eta=1.0, s_noise=1.0, corrected=False),
    "EulerDiscreteScheduler": s.euler(),
    "EDMEulerScheduler": s.euler(),
    "FlowMatchEulerDiscreteScheduler": s.euler(),
    "FlowMatchHeunDiscreteScheduler": s.heun(),
    "FlowMatchLCMScheduler": s.lcm(),
    "LTXEulerAncestralRFScheduler": s.flow_ancestral(s.euler()),
    "EulerAncestralDiscreteScheduler": s.ancestral(s.euler(), eta=1.0),
    "HeunDiscreteScheduler": s.heun(),
    "KDPM2DiscreteScheduler": s.dpm_2(),
    "KDPM2AncestralDiscreteScheduler": s.ancestral(s.dpm_2(), eta=1.0),
    "LMSDiscreteScheduler": s.lms(order=4, final="method"),
    "DDIMScheduler": s.ddim(eta=0.0),
    "DDPMScheduler": s.ddim(eta=1.0),  # variance_type="fixed_small"
    "PNDMScheduler": s.pndm(runge_kutta=True, final="method"),
    "IPNDMScheduler": s.ipndm(order=4, final="method"),
    "DEISMultistepScheduler": s.deis(order=2, kind="tab", lower_order_final=True),
    "UniPCMultistepScheduler": s.unipc(
        order=2, variant="bh2", predict="x0", lower_order_final=True, disable_corrector=()
    ),
    "DPMSolverMultistepScheduler": s.dpmpp_2m("midpoint", True, False),
    "EDMDPMSolverMultistepScheduler": s.dpmpp_2m("midpoint", True, False),
    "DPMSolverSinglestepScheduler": s.dpmpp_singlestep(2, "midpoint", lower_order_final=True),
    "DPMSolverSDEScheduler": s.dpmpp_sde(eta=1.0, s_noise=1.0, r=0.5, noise="brownian"),
    "CosineDPMSolverMultistepScheduler": s.dpmpp_2m_sde(1.0, 1.0, "midpoint"),
    "uni_pc": s.unipc(order=3, variant="bh1"),
    "uni_pc_bh2": s.unipc(order=3, variant="bh2"),
    "ddim": s.euler(),
    "ddpm": s.ancestral(s.euler(), eta=1.0),
    "dpmpp_2m_sde_gpu": s.dpmpp_2m_sde(1.0, 1.0, "midpoint"),
    "dpmpp_2m_sde_heun": s.dpmpp_2m_sde(1.0, 1.0, "heun"),
    "dpmpp_2m_sde_heun_gpu": s.dpmpp_2m_sde(1.0, 1.0, "heun"),
    "ipndm_v": s.ipndm_v(order=4, final="denoise"),
    "res_multistep": s.dpmpp_2m("heun"),
    "res_multistep_ancestral": s.dpmpp_2m_sde(1.0, 1.0, "heun"),
    "lcm": s.lcm(),
    "gradient_estimation": s.gradient_estimation(gamma=2.0),
    "er_sde": s.er_sde(order=3, s_noise=1.0, scaler="er_sde"),
    "seeds_2": s.seeds_2(eta=1.0, s_noise=1.0, r=0.5, solver_type="phi_1"),
    "seeds_3": s.seeds_3(eta=1.0, s_noise=1.0, r_1=1 / 3, r_2=2 / 3),
    "exp_heun_2_x0": s.seeds_2(eta=0.0, s_noise=0.0, r=1.0, solver_type="phi_2"),
    "exp_heun_2_x0_sde": s.seeds_2(eta=1.0, s_noise=1.0, r=1.0, solver_type="phi_2"),
    "Euler a": s.ancestral(s.euler(), eta=1.0),
    "DPM2 a Karras": s.ancestral(s.dpm_2(), eta=1.0),
    "DPM++ 2S a Karras": s.ancestral(s.dpmpp_2s(r=0.5), eta=1.0),
    "DPM++ 2M Karras": s.dpmpp_2m("midpoint", False, False),
    "DPM++ 2M SDE Karras": s.dpmpp_2m_sde(1.0, 1.0, "midpoint"),
    "DPM++ 2M SDE Heun Exponential": s.dpmpp_2m_sde(1.0, 1.0, "heun"),
    "DPM++ 3M SDE Exponential": s.dpmpp_3m_sde(1.0, 1.0),
    "DPM++ SDE Karras": s.dpmpp_sde(1.0, 1.0, 0.5, "brownian"),
    "LMS Karras": s.lms(4, "method"),
    "DDIM": s.ddim(0.0),
    "PLMS": s.pndm(runge_kutta=False),
    "UniPC": s.unipc(3, "bh1"),
}
# Names that stand for several samplers or schedules, so that `package` has to say which.
TAKEN = {"lms", "ipndm", "deis", "sa_solver", "beta", "linear_quadratic"}
# To zero; above zero on few steps, where the ends of methods differ; and on many.
GRIDS = [ej.schedules.karras(5), np.geomspace(20.0, 0.3, 6), np.geomspace(20.0, 0.3, 16)]


def told(table):
    return [(name, row) for row in table.rows for names in row.names for name in names]


def same(a, b):
    for grid in GRIDS:
        one, other = ej.make_plan(a, grid), ej.make_plan(b, grid)
        assert one.y.shape == other.y.shape and one.z.shape == other.z.shape
        jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-13), one, other)


# ---- the names that there are


@pytest.mark.parametrize("name", [*K_DIFFUSION, *DIFFUSERS, *COMFYUI, *A1111, *WITH_SCHEDULE])
def test_every_sampler_of_the_packages_is_here_or_gets_a_sentence(name):
    options = {"nfe": 9} if re.search("dpm_?fast", name.lower().replace(" ", "_")) else {}
    package = "comfyui" if name in TAKEN else None
    try:
        sampler = s.from_name(name, package=package, **options)
    except ValueError as err:
        assert str(err).startswith(f"There is no sampler like {name!r} here. ")
        assert len(str(err)) > 80
        return
    grid = ej.schedules.dpm_fast(9) if options else GRIDS[0]
    assert ej.make_plan(sampler, grid).nfe >= len(grid) - 1


@pytest.mark.parametrize("name", [*COMFYUI_SCHEDULES, *A1111_SCHEDULES])
def test_every_schedule_of_the_packages_is_here_or_gets_a_sentence(name):
    try:
        sigmas = ej.schedules.from_name(name, package="comfyui" if name in TAKEN else None)(10)
    except ValueError as err:
        assert str(err).startswith(f"There is no schedule like {name!r} here. ")
        assert name == "Automatic"
        return
    assert len(sigmas) == 11 and sigmas[-1] == 0


def test_the_table_has_these_names_and_no_others():
    for i, names in enumerate((K_DIFFUSION, DIFFUSERS, COMFYUI, A1111)):
        in_table = [name for row in sampler_table().rows for name in row.names[i]]
        assert sorted(in_table) == sorted(names)


def test_samplers_know_the_names_of_all_schedules():
    assert schedule_table().ours.keys() == schedule_table(schedules).ours.keys()


def test_a_name_is_that_of_its_row_but_for_those_that_say_so():
    for table in (sampler_table(), schedule_table(schedules)):
        for name, row in told(table):
            assert (table.find(name) is row) == (name not in TAKEN), name


@pytest.mark.parametrize("name", sorted(sampler_table().ours))
def test_our_own_names_are_ours(name):
    needed = {
        "churn": {"inner": s.heun(), "s_churn": 8.0},
        "ancestral": {"inner": s.heun()},
        "flow_ancestral": {"inner": s.heun()},
        "in_flow_time": {"inner": s.heun()},
        "analytic_first_step": {"inner": s.heun()},
        "teleport": {"inner": s.heun()},
        "restart": {"inner": s.heun(), "intervals": [(0.05, 2.0, 3, 2)]},
        "dpm_fast": {"nfe": 9},
    }.get(name, {})
    grid = ej.schedules.dpm_fast(9) if name == "dpm_fast" else GRIDS[0]
    package = "edmjax" if name in TAKEN else None
    got = ej.make_plan(s.from_name(name, package=package, **needed), grid)
    expected = ej.make_plan(getattr(s, name)(**needed), grid)
    jax.tree.map(np.testing.assert_array_equal, got, expected)


# ---- what they stand for


@pytest.mark.parametrize("name", SAMPLERS)
def test_defaults_are_those_of_the_package(name):
    same(s.from_name(name), SAMPLERS[name])


@pytest.mark.parametrize("name", ["sample_dpm_fast", "dpm_fast", "DPM fast"])
def test_dpm_fast(name):
    grid = ej.schedules.dpm_fast(10)
    plan = ej.make_plan(s.from_name(name, nfe=10), grid)
    jax.tree.map(np.testing.assert_array_equal, plan, ej.make_plan(s.dpm_fast(10, 0.0, 1.0), grid))


@pytest.mark.parametrize(
    "names",
    [
        ("DPM++ 2M", "dpmpp_2m", "dpmpp-2m", "DPMPP 2M", "sample_dpmpp_2m", "dpm++2mkarras"),
        ("LMSDiscreteScheduler", "LMSDiscrete", "lms_discrete_scheduler", "LMS SGM Uniform"),
        ("Euler a", "euler A", "sample_euler_ancestral", "Euler a Align Your Steps"),
        ("unipc", "uni_pc_bh2"),
        ("IPNDMScheduler", "ipndm_scheduler", "IPNDM Scheduler"),
        ("ipndm_v", "IPNDM-V"),
    ],
)
def test_spelling_does_not_matter(names):
    for name in names[1:]:
        same(s.from_name(names[0]), s.from_name(name))


@pytest.mark.parametrize(
    "sampler, expected",
    [
        (lambda: s.from_name("sample_heun", s_churn=40.0), s.churn(s.heun(), 40.0)),
        (
            lambda: s.from_name("Euler", s_churn=30.0, s_min=0.1, s_max=9.0, s_noise=1.007),
            s.churn(s.euler(), 30.0, 0.1, 9.0, 1.007),
        ),
        (lambda: s.from_name("heunpp2", s_churn=4.0), s.churn(s.heunpp2(), 4.0)),
        (lambda: s.from_name("Euler a", eta=0.5, s_noise=1.1), s.ancestral(s.euler(), 0.5, 1.1)),
        (
            lambda: s.from_name("DPM++ 2S a Karras", eta=0.5, r=0.3),
            s.ancestral(s.dpmpp_2s(0.3), 0.5),
        ),
        (lambda: s.from_name("UniPCMultistepScheduler", order=3), s.unipc(3)),
        (lambda: s.from_name("UniPC", variant="bh2"), s.unipc(3, "bh2")),
        (lambda: s.from_name("sample_lms", final="denoise"), s.lms(4, "denoise")),
        (lambda: s.from_name("lms", package="comfyui"), s.lms(4, "denoise")),
    ],
)
def test_options_are_passed_on(sampler, expected):
    same(sampler(), expected)


def test_options_may_be_traced():
    traced = jax.jit(lambda eta: ej.make_plan(s.from_name("Euler a", eta=eta), [4.0, 2.0, 1.0]).z)
    expected = ej.make_plan(s.ancestral(s.euler(), 0.5), [4.0, 2.0, 1.0]).z
    np.testing.assert_allclose(traced(0.5), expected, rtol=1e-6)


def run(problem, plan, x, bank):
    """The plan's rows as they stand, in NumPy; draw j is number j of the bank."""
    denoise, points, outputs = jax.jit(problem.denoise), [x], []
    for k in range(plan.nfe + 1):
        new = np.zeros_like(x)
        for weights, vectors in ((plan.y, points), (plan.d, outputs)):
            for weight, vector in zip(weights[k], reversed(vectors), strict=False):
                new += weight * vector
        for weight, j in zip(plan.z[k], plan.draws[k], strict=True):
            new += weight * bank[j] if j >= 0 else 0.0
        points.append(new)
        outputs.append(np.asarray(denoise(new, plan.sigmas[k])) if k < plan.nfe else None)
    return points[-1]


def golden_cases():
    """Runs of the packages with the options that they have by themselves."""

    def load(name):
        return json.loads((ROOT / "tests" / "support" / "golden" / name).read_text())

    grids = {k: v["sigmas"] for k, v in load("kdiffusion.json")["grids"].items()}
    usual = {"eta": 1.0, "solver_type": "midpoint", "order": 4, "brownian": True}
    for case in [*load("kdiffusion.json")["cases"], *load("sde.json")["kdiffusion"]]:
        options = case["options"]
        plain = all(usual.get(name) == value for name, value in options.items())
        if case["sampler"] == "sample_dpmpp_sde":  # without a tree its draws are independent
            plain = plain and "brownian" in options
        if plain and case["grid"] == "karras_18":
            yield case["sampler"], grids["karras_18"], 80.0, 1.0, case["x"]
    for case in load("multistep.json")["cases"]:
        if case["scheduler"] == "sample_lms" and case["id"] == "lms4@karras_18":
            yield "sample_lms", case["sigmas"], 80.0, 1.0, case["x"]
        usual = {"solver_order": 2, "use_karras_sigmas": False}
        if case["scheduler"][:4] in ("UniP", "DEIS") and usual | case["config"] == usual:
            start, end = (math.sqrt(1 + case["sigmas"][i] ** 2) for i in (0, -1))
            yield case["scheduler"], case["sigmas"], start, end, case["x"]
        if case["scheduler"] == "LMSDiscreteScheduler" and "order" not in case["config"]:
            yield case["scheduler"], case["sigmas"], case["sigmas"][0], 1.0, case["x"]
    usual = {"solver_order": 2, "solver_type": "midpoint", "lower_order_final": True}
    for case in load("dpm.json")["diffusers"]:
        if usual | case["options"] == usual:
            vp = case["space"].startswith("vp")
            start, end = (math.sqrt(1 + case["sigmas"][i] ** 2) if vp else 1.0 for i in (0, -1))
            start *= case["init_scale"]
            yield f"{case['class']}Scheduler", case["sigmas"], start, end, case["x"]


# One of each name to zero, and one above it.
GOLDEN = {(case[0], case[1][-1] == 0): case for case in golden_cases()}


def test_every_kind_of_package_has_golden_runs():
    assert {name for name, _ in GOLDEN} >= {
        *(n for n in K_DIFFUSION if n[-4:] not in ("fast", "tive") and "2s" not in n),
        *("UniPCMultistepScheduler", "DEISMultistepScheduler", "LMSDiscreteScheduler"),
        *("DPMSolverMultistepScheduler", "EDMDPMSolverMultistepScheduler", "EDMEulerScheduler"),
        *("DPMSolverSinglestepScheduler", "HeunDiscreteScheduler", "EulerDiscreteScheduler"),
    }


@pytest.mark.parametrize(
    "name, grid, start, end, expected",
    GOLDEN.values(),
    ids=[f"{name}, {'to 0' if zero else 'above 0'}" for name, zero in GOLDEN],
)
def test_the_packages_own_numbers(x64, name, grid, start, end, expected):
    problem = json.loads((ROOT / "tests" / "support" / "golden" / "problem.json").read_text())
    mixture = ej.problems.Mixture(problem["weights"], problem["means"], problem["std"] ** 2)
    plan = ej.make_plan(s.from_name(name), grid)
    got = run(mixture, plan, np.array(problem["noise"]) * start, np.array(problem["bank"])) / end
    # They keep levels as alpha and sigma, and take logarithms of both.
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


# ---- schedules


@pytest.mark.parametrize(
    "names, function",
    [
        (("Karras", "karras", "KarrasScheduler", "get_sigmas_karras"), schedules.karras),
        (("DPM++ 2M Karras", "dpmpp_2m_karras", "Euler a  KARRAS"), schedules.karras),
        (("DPM++ 2M SDE Heun Exponential", "exponential"), schedules.exponential),
        (("Polyexponential",), schedules.polyexponential),
        (("SGM Uniform", "sgm_uniform", "DPM++ 2M SGM Uniform"), schedules.sgm_uniform),
        (("Uniform", "Normal", "normal", "Euler Uniform"), schedules.normal),
        (("Simple", "simple"), schedules.simple),
        (("Beta",), schedules.beta),
        (("BetaSamplingScheduler", "beta_discrete"), schedules.beta_discrete),
        (("KL Optimal", "kl_optimal"), schedules.kl_optimal),
        (("Align Your Steps", "align-your-steps"), schedules.align_your_steps),
        (("theta",), schedules.theta),
    ],
)
def test_schedules(names, function):
    for name in names:
        assert ej.schedules.from_name(name) is function, name


def test_uniform_is_k_diffusions_schedule_of_a_discrete_model():
    """`DiscreteSchedule.get_sigmas(10)` with Stable Diffusion's betas, to the digits it prints."""
    expected = [14.6146, 7.8399, 4.6092, 2.9183, 1.9502, 1.3449, 0.9324, 0.6250, 0.3687, 0.0292, 0]
    np.testing.assert_allclose(ej.schedules.from_name("Uniform")(10), expected, atol=6e-5)


@pytest.mark.parametrize(
    "name, words",
    [
        ("DPM++ 2M", "'DPM\\+\\+ 2M' names a sampler without a schedule.*'DPM\\+\\+ 2M Karras'"),
        ("dpm_adaptive", "names a sampler without a schedule"),
        ("Automatic", "leaves the choice to the sampler"),
        ("Euler a Automatic", "There is no schedule like 'Automatic' here"),
        ("karas", "No schedule 'karas'. Did you mean 'karras'"),
        ("DPM++ 2M Karas", "Did you mean 'karras'"),
        ("nothing Karras", "No schedule 'nothing Karras'"),
        ("???", "No schedule '\\?\\?\\?'. Ours are: align_your_steps, beta,"),
    ],
)
def test_what_is_no_schedule_gets_a_sentence(name, words):
    with pytest.raises(ValueError, match=words):
        ej.schedules.from_name(name)


# ---- mistakes


@pytest.mark.parametrize(
    "name, words",
    [
        ("huen", "No sampler 'huen'. Did you mean 'heun'?"),
        ("dpmpp_2n_sde", "Did you mean 'dpmpp_2m_sde'?"),
        ("DPM++ 2M SDEE Karras", "No sampler 'DPM++ 2M SDEE Karras'. Did you mean 'dpmpp_2m_sde'?"),
        ("Huen Align Your Steps", "Did you mean 'heun'?"),
        ("EulerDiscretScheduler", "Did you mean 'EulerDiscreteScheduler'?"),
        ("UniPCMultistp", "Did you mean 'UniPCMultistepScheduler'?"),
        ("Karras", "It names a schedule: `ej.schedules.from_name` knows it."),
        ("???", "No sampler '???'. Ours are: analytic_first_step, ancestral, ancestral_sampling,"),
        ("", "No sampler ''. Ours are:"),
        ("make_plan", "No sampler 'make_plan'."),
        ("heun_linear", "No sampler 'heun_linear'."),  # `linear` is a schedule of ours alone
    ],
)
def test_an_unknown_name_suggests_the_nearest(name, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        s.from_name(name)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: s.from_name("Heun", s_tmin=1.0), "'Heun' has no option 's_tmin'. It has s_churn="),
        (lambda: s.from_name("Euler a", s_churn=1.0), "It has eta=1.0, s_noise=1.0."),
        (lambda: s.from_name("UniPCMultistepScheduler", solver_order=3), "It has order=2, variant"),
        (lambda: s.from_name("heunpp2", eta=1.0), "'heunpp2' has no option 'eta'. It has"),
        (
            lambda: s.from_name("DPM fast"),
            "'DPM fast' needs the option 'nfe'. It has nfe, eta=0.0, s_noise=1.0. Its grid is",
        ),
        (lambda: s.from_name("churn", s_churn=1.0), "'churn' needs the option 'inner'."),
        (lambda: s.from_name("Euler a", eta=2.0), "`eta` must be in [0, 1], got 2.0"),
    ],
)
def test_a_wrong_option_gets_those_there_are(make, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        make()


def test_what_is_no_text_gets_a_sentence(unchecked):
    for module, kind in ((s, "sampler"), (schedules, "schedule")):
        with pytest.raises(TypeError, match=f"The name of a {kind} is a string, got 3"):
            module.from_name(3)


def test_sentences_send_to_what_is_there():
    """Everything that a note writes as a call exists, and is called with arguments it has."""
    stand_ins = {"ej": ej, "low": 0.1, "high": 2.0, "n": 10, "nfe": 9, "sigmas": GRIDS[0]}
    stand_ins |= {"intervals": [(0.05, 2.0, 3, 2)], "shift": 3.0}
    for table, module in ((sampler_table(), s), (schedule_table(schedules), schedules)):
        scope = vars(module) | stand_ins
        for row in table.rows:
            assert row.note or row.make is not None
            for code in re.findall(r"`([\w.]+\(.*?\)|lambda .*?)`", row.note):
                if not code.startswith("exp("):
                    assert eval(code, scope) is not None, code


def test_lcm_for_eps_models_gets_a_sentence():
    with pytest.raises(ValueError, match="for consistency models that predict eps"):
        s.from_name("LCM Karras")
    plan = ej.make_plan(s.from_name("lcm"), [4.0, 2.0, 1.0, 0.0])
    np.testing.assert_array_equal(plan.d[1:, 0], 1.0)
    np.testing.assert_array_equal(plan.z[1:, 0], [2.0, 1.0, 0.0])
    assert not plan.y[1:].any()


# ---- where they are used


def test_the_page_is_in_step_and_its_code_runs():
    spec = importlib.util.spec_from_file_location("names", ROOT / "docs" / "make" / "names.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = (ROOT / "docs" / "names.md").read_text()
    assert text == module.page(), "run: python docs/make/names.py > docs/names.md"
    names = {}
    exec(re.search(r"```python\n(.*?)```", text, re.S)[1], names)
    assert names["plan"].nfe == 20
    same(names["sampler"], s.churn(s.heun(), 40.0))
    starred = set(re.findall(r"`(\w+)`\\\*", text))
    assert starred == TAKEN


@pytest.mark.parametrize("text", ["DPM++ 2M Karras", " Euler a ", "DPM++ SDE", "sample_dpm_2"])
def test_scripts_take_the_names(text):
    same(choices.parse_sampler(text), s.from_name(text.strip()))
    assert "from_name" not in choices.sampler_names()
