"""What names stand for, against ComfyUI and k-diffusion themselves: samples and levels by name.

On Stable Diffusion's table and on flows of shift 1 and 3, in float64, with the same denoiser, start
and draws. `golden/names.json` has their numbers, made by `checks/golden_names.py`.
"""

import numpy as np
import pytest
from support.cases import golden, golden_problem
from support.orders import run

import edmjax as ej
from edmjax import samplers as s, schedules
from edmjax.samplers.names import sampler_names

GOLDEN = golden("names")
# Samplers that solve the SDE in log sigma start at t = 0.9999 in ComfyUI, with the noise of t = 1.
FROM_THERE = [
    *("dpmpp_sde", "dpmpp_2m_sde", "dpmpp_2m_sde_heun", "dpmpp_3m_sde"),
    *("er_sde", "seeds_2", "seeds_3"),
]
# Where the package is wrong or has another quadrature: how far apart the samples are, and why.
APART = {
    "ipndm_v": (5e-3, 5e-2),  # a bracket: see docs/names.md
    "er_sde": (1e-5, 1e-3),  # 200 rectangles for an integral
}
NOT_HERE = {
    ("sd", "deis"): "time of the variance-preserving process",
    ("sd", "sa_solver"): "lowers the order at the end",
    ("sd", "sa_solver_pece"): "evaluates the corrected points",
    ("flow", "ddpm"): "another distribution",
    ("flow", "res_multistep_ancestral"): "another distribution",
}
CASES = [
    (package, *key.split(", ")) for package in ("comfyui", "k-diffusion") for key in GOLDEN[package]
]
QUICK = ("sd", "flow 3")


def levels(kind, name, package):
    """The grid that the package ran on, as ours."""
    grid = np.array(GOLDEN["grids"][kind])
    if name.startswith("uni_pc"):
        grid[-1] = 1e-3  # ComfyUI's, in place of 0
    if name == "dpm_fast":
        grid = schedules.dpm_fast(len(grid) - 1, grid[-2], grid[0])
    if kind == "sd":
        return grid
    if name in FROM_THERE:
        shift = float(kind.split()[1])
        grid[0] = shift * 0.9999 / (1 + (shift - 1) * 0.9999)
    return ej.processes.flow().levels(grid)


def difference(package, kind, name):
    """Of our sample from theirs, relative to its largest entry."""
    case, (problem, noise, bank) = GOLDEN[package][f"{kind}, {name}"], golden_problem()
    options = {"nfe": len(GOLDEN["grids"][kind]) - 1} if name == "dpm_fast" else {}
    spelled = f"sample_{name}" if package == "k-diffusion" else name
    sampler = s.from_name(spelled, package=package, flow=kind != "sd", **options)
    plan = ej.make_plan(sampler, levels(kind, name, package))
    assert plan.nfe == case["nfe"]
    assert plan.num_draws in (0, case["draws"])  # res_multistep draws what it multiplies by 0
    if kind == "sd":
        got = run(problem.denoise, plan, noise * plan.sigmas[0], bank)
    else:
        scales = dict(zip(plan.sigmas, plan.scale, strict=False))
        got = run(lambda y, sigma: problem.denoise(y / scales[sigma], sigma), plan, noise, bank)
    return float(np.abs(got - case["x"]).max() / np.abs(case["x"]).max())


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "package, kind, name",
    [pytest.param(*case, marks=[] if case[1] in QUICK else pytest.mark.thorough) for case in CASES],
)
def test_samples_are_those_of_the_package(package, kind, name):
    missing = NOT_HERE.get((kind.split()[0], name)) or NOT_HERE.get(("sd", name))
    if missing and (kind != "sd" or ("sd", name) in NOT_HERE):
        with pytest.raises(ValueError, match=missing):
            s.from_name(name, package=package, flow=kind != "sd")
        return
    if name in APART:
        least, most = APART[name]
        assert least < difference(package, kind, name) < most
    else:
        assert difference(package, kind, name) < 1e-12


def test_a_bracket_of_ipndm_v_is_in_the_wrong_place():
    """On even steps of sigma, where both have Adams and Bashforth's weights, they would agree."""
    h, h_1, h_2 = 0.7, 1.0, 1.3  # three uneven steps; weights of order 3 for the slope 1, s, s^2
    nodes = np.array([0.0, -h_1, -h_1 - h_2])
    moments = [h ** (k + 1) / (k + 1) for k in range(3)]
    exact = np.linalg.solve(np.vander(nodes, increasing=True).T, moments) / h
    shared = h / (3 * (h + h_1)) * (h * (h + h_1)) / (h_1 * (h_1 + h_2))
    theirs = (1 - shared) / 2
    right = (1 - h / (3 * (h + h_1))) / 2 * (h * (h + h_1)) / (h_1 * (h_1 + h_2))

    def weights(temp):
        ratio = h / h_1
        return [1 + ratio / 2 + temp, -ratio / 2 - (1 + h_1 / h_2) * temp, temp * h_1 / h_2]

    np.testing.assert_allclose(weights(right), exact, rtol=1e-12)
    assert abs(weights(theirs)[0] - exact[0]) > 0.1
    ours = s.ipndm_v(3)
    plan = ej.make_plan(ours, 5.0 - np.cumsum([0.0, h_2, h_1, h]))
    sigmas = plan.sigmas
    got = -plan.d[3, :3] * sigmas[::-1] / -h  # the weight of each output is -w / sigma
    np.testing.assert_allclose(got, exact, rtol=1e-10)


@pytest.mark.parametrize("key", GOLDEN["schedules"])
def test_levels_are_those_of_comfyui(key):
    kind, *rest = key.split(", ")
    low, high = GOLDEN["ends"]
    expected = np.array(GOLDEN["schedules"][key])
    if kind == "laplace":
        got = schedules.from_name("get_sigmas_laplace")(int(rest[0]), low, high)
    else:
        name, n = rest[0], int(rest[1])
        made = schedules.from_name(name, package="comfyui", flow=kind != "sd")
        if kind != "sd":
            levels = made(n, float(kind.split()[1]))
            sigma = np.asarray(levels.sigmas)
            got = np.where(np.isinf(sigma), 1.0, sigma / (1 + np.minimum(sigma, 1e300)))
        elif name in ("karras", "exponential", "kl_optimal"):
            got = made(n, low, high)
        else:
            got = made(n, sigma_max=high) if name == "linear_quadratic" else made(n)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-14 * expected.max())


@pytest.mark.parametrize("name", GOLDEN["k-diffusion schedules"])
def test_levels_are_those_of_k_diffusion(name):
    made = schedules.from_name(f"get_sigmas_{name}", package="k-diffusion")
    ends = () if name == "vp" else GOLDEN["ends"]
    expected = np.array(GOLDEN["k-diffusion schedules"][name])
    np.testing.assert_allclose(made(10, *ends), expected, rtol=1e-12)


def test_the_table_says_what_was_run():
    """And nothing was run that it does not say."""
    ran = set()
    for package, kind, name in CASES:
        origin = {"comfyui": "ComfyUI"}.get(package, package)
        row = sampler_names().find(f"sample_{name}" if package == "k-diffusion" else name, origin)
        if row.make is not None:
            ran.add((origin, row.run))
            assert kind == "sd" or "flows" in row.run or row.flow_note or name in APART, row.run
    for row in sampler_names().rows:
        assert row.make is None or row.run, row.names
        for origin in ("ComfyUI", "k-diffusion"):
            assert row.make is None or (origin in row.run) == ((origin, row.run) in ran), row.run


# ---- packages and ambiguous names


@pytest.mark.parametrize("name", ["lms", "ipndm", "IPNDM", "deis", "sa_solver", "UNIPC"])
def test_a_name_of_several_samplers_says_so(name):
    with pytest.raises(ValueError, match=f"'{name}' names different samplers: `") as error:
        s.from_name(name)
    for word in ("with package='edmjax'", "ComfyUI", "Say which one by `package`."):
        assert word in str(error.value)
    s.from_name(name, package="edmjax")


@pytest.mark.parametrize("name", ["beta", "linear_quadratic", "LINEAR_QUADRATIC"])
def test_a_name_of_several_schedules_says_so(name):
    with pytest.raises(ValueError, match=f"'{name}' names different schedules: `"):
        schedules.from_name(name)
    ours, theirs = (schedules.from_name(name, package=p)(9) for p in ("edmjax", "comfyui"))
    assert len(ours) == len(theirs) and not np.allclose(ours, theirs)


def test_the_package_says_which_one():
    for package, expected in (("edmjax", s.lms()), ("ComfyUI", s.lms(final="denoise"))):
        one = ej.make_plan(s.from_name("lms", package=package), [3.0, 1.0, 0.4, 0.0])
        other = ej.make_plan(expected, [3.0, 1.0, 0.4, 0.0])
        np.testing.assert_array_equal(one.d, other.d)


@pytest.mark.parametrize(
    "bad, message",
    [
        (lambda: s.from_name("heun", package="forge"), "`package` must be one of 'k-diffusion'"),
        (lambda: s.from_name("heunpp2", package="diffusers"), "in diffusers. It is a name of edm"),
        (lambda: s.from_name("dpmpp_2n", package="comfyui"), "in ComfyUI. Did you mean 'dpmpp_2m"),
        (lambda: s.from_name("ddpm", package="comfyui", flow=True), "for flows here. ComfyUI's"),
        (
            lambda: schedules.from_name("vp", package="k-diffusion", flow=True),
            "No schedule 'vp' in",
        ),
        (
            lambda: schedules.from_name("polyexponential", flow=True),
            "is no schedule for flows: take one of ComfyUI's, normal",
        ),
        (lambda: schedules.from_name("simple", flow=True)(4, shift=0.0), "`shift` must be"),
        (lambda: schedules.ddim_uniform(4, [1.0]), "start at step 1"),
        (lambda: schedules.laplace(40, 0.5, 2.0, clipped=True), "not all different"),
    ],
)
def test_what_is_wrong_is_said(bad, message):
    with pytest.raises(ValueError, match=message):
        bad()
