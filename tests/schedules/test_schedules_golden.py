"""Schedules: parity with reference packages and independent programs in float64.

`golden/schedules.json` holds the grids of k-diffusion 0.1.1, the legacy DDPM and iDDPM grids, and
the continuous processes and preconditioners. End points of k-diffusion are a rounding off; ours
are exact.
"""

import json
import pathlib
import re

import numpy as np
import pytest

from edmjax import denoisers, processes, schedules

GOLDEN = json.loads(
    (pathlib.Path(__file__).parents[1] / "support" / "golden" / "schedules.json").read_text()
)


def _close(got, want, rtol=1e-13):
    np.testing.assert_allclose(got, want, rtol=rtol, atol=0)


@pytest.mark.parametrize("case", GOLDEN["k_diffusion"])
def test_k_diffusion(case):
    name, arguments = re.fullmatch(r"(\w+)\((.*)\)", case).groups()
    pairs = [argument.split("=") for argument in arguments.split(",")]
    args = [json.loads(pair[0]) for pair in pairs if len(pair) == 1]
    kwargs = {pair[0]: json.loads(pair[1]) for pair in pairs if len(pair) == 2}
    if "eps" in kwargs:
        kwargs["eps_s"] = kwargs.pop("eps")
    # k-diffusion's vp subtracts 1 from an exponential.
    rtol = 1e-10 if name == "vp" else 1e-13
    _close(
        getattr(schedules, name)(*args, **kwargs), GOLDEN["k_diffusion"][case]["sigmas"], rtol=rtol
    )


@pytest.mark.parametrize("case", GOLDEN["legacy_ddpm"])
def test_legacy_ddpm(case):
    options = {key: json.loads(value) for key, value in (p.split("=") for p in case.split(","))}
    golden = GOLDEN["legacy_ddpm"][case]
    _close(schedules.ddpm(**options), golden["sigmas"])
    n = options.pop("n")
    table = schedules.ddpm_table(**options)
    _close(table[golden["timesteps_ascending"]][::-1], golden["sigmas"][:-1])
    _close(schedules.ddpm(n, table=table), golden["sigmas"])


def test_iddpm_table():
    golden = GOLDEN["iddpm"]
    _close(schedules.iddpm_table()[::-1][golden["u_index"]], golden["u"])


@pytest.mark.parametrize("n", GOLDEN["iddpm"]["grids"])
def test_iddpm(n):
    _close(schedules.iddpm(int(n)), GOLDEN["iddpm"]["grids"][n])


def test_ve():
    golden = GOLDEN["continuous"]["ve_edm"]
    _close(schedules.ve(golden["grid_n"]), golden["grid"])
    # As the paper has it: sigma = sqrt(t), and the times are those variances.
    for t, sigma in zip(golden["t"], golden["sigma"], strict=True):
        _close(schedules.uniform(1, np.sqrt, 0.0, t), [sigma, 0.0])


@pytest.mark.parametrize("case", ["beta_d=19.9,beta_min=0.1", "beta_d=9.0,beta_min=0.4"])
def test_vp_levels_are_those_of_its_times(case):
    golden = GOLDEN["continuous"][f"vp({case})"]
    beta_d, beta_min = (float(pair.split("=")[1]) for pair in case.split(","))
    for t, sigma, t_back in zip(golden["t"], golden["sigma"], golden["t_from_sigma"], strict=True):
        betas = {"beta_min": beta_min, "beta_max": beta_min + beta_d}
        if t < 1:
            _close(schedules.vp(2, eps_s=t, **betas)[1], sigma, rtol=1e-12)
        # From a level to its time and back: the middle of three is that of the middle time.
        middle = schedules.vp(3, sigma_min=sigma / 2, sigma_max=sigma, **betas)
        exponent = np.log1p(sigma**2 / 4)
        t_low = 2 * exponent / (beta_min + np.sqrt(beta_min**2 + 2 * beta_d * exponent))
        t_middle = (t_back + t_low) / 2
        want = np.sqrt(np.expm1(beta_d * t_middle**2 / 2 + beta_min * t_middle))
        _close(middle, [sigma, want, sigma / 2, 0.0], rtol=1e-12)


def test_uniform_reads_the_golden_processes():
    for case, golden in GOLDEN["continuous"].items():
        if case.startswith(("vp", "ve_geometric")):
            first, second = (float(v) for v in re.findall(r"=([\d.]+)", case))
            process = (
                processes.vp(second, first + second)
                if case.startswith("vp")
                else processes.ve(first, second)
            )
            for t, sigma in zip(golden["t"], golden["sigma"], strict=True):
                _close(schedules.uniform(1, process, 0.0, t)[0], sigma, rtol=1e-12)


def test_sub_vp_as_a_process_of_ones_own():
    golden = GOLDEN["continuous"]["subvp(beta_d=19.9,beta_min=0.1)"]
    vp, t = processes.vp(), np.array(golden["t"])
    # Song et al. (2021), equation 29: the VP scale, and the square of its variance.
    process = processes.Process(
        vp.scale, lambda t: vp.variance(t) / vp.scale(t), vp.time, lambda t: vp.variance(t) ** 2
    )
    alpha, std = process.marginal(t)
    _close(alpha, golden["alpha"], rtol=1e-12)
    _close(std, golden["std"], rtol=1e-12)
    _close(process.diffusion(t), golden["diffusion"], rtol=1e-12)
    levels = schedules.uniform(2, process, 0.25, 0.75)
    _close(levels[:2], [golden["std"][i] / golden["alpha"][i] for i in (6, 4)], rtol=1e-12)


@pytest.mark.parametrize(
    "case, convert",
    [
        ("v(sigma_data=1)", denoisers.denoised_from_v),
        ("eps", denoisers.denoised_from_eps),
    ],
)
def test_conversions_have_the_golden_coefficients(x64, case, convert):
    golden = GOLDEN["preconditioning"][case]
    for sigma, skip, out in zip(golden["sigma"], golden["c_skip"], golden["c_out"], strict=True):
        _close(convert(np.array([[1.0]]), np.array([[0.0]]), sigma), [[skip]])
        _close(convert(np.array([[0.0]]), np.array([[1.0]]), sigma), [[out]])


@pytest.mark.parametrize("sigma_data", [0.5, 1.0])
def test_edm_has_the_golden_coefficients(x64, sigma_data):
    golden = GOLDEN["preconditioning"][f"edm(sigma_data={sigma_data})"]
    denoise = denoisers.edm(lambda x, c_noise: x, sigma_data)
    for i, sigma in enumerate(golden["sigma"]):
        want = [golden[name][i] for name in ("c_skip", "c_out", "c_in", "c_noise")]
        got = denoise.coefficients(np.float64(sigma))
        np.testing.assert_allclose(got, want, rtol=1e-13, atol=1e-16)
        _close(1 / want[1] ** 2, golden["loss_weight"][i], rtol=1e-12)


# diffusers 0.42.1: the steps that its schedulers take of 1000, 13 at a time.
STEPS = {
    "leading": [912, 836, 760, 684, 608, 532, 456, 380, 304, 228, 152, 76, 0],
    "linspace": [999, 916, 832, 749, 666, 583, 500, 416, 333, 250, 166, 83, 0],
    "trailing": [999, 922, 845, 768, 691, 614, 537, 461, 384, 307, 230, 153, 76],
}
LINSPACE_WITHOUT_LAST = [999, 922, 845, 768, 692, 615, 538, 461, 384, 307, 231, 154, 77]


@pytest.mark.parametrize("spacing", STEPS)
def test_diffusers_spacings(spacing):
    table = np.arange(1.0, 1001.0)
    steps = schedules.ddpm(13, table=table, spacing=spacing, final_zero=False) - 1
    np.testing.assert_array_equal(steps, STEPS[spacing])


def test_nearest_steps_are_those_of_diffusers():
    options = {"table": np.arange(1.0, 1001.0), "interpolate": False, "final_zero": False}
    np.testing.assert_array_equal(schedules.normal(13, **options) - 1, STEPS["linspace"])
    np.testing.assert_array_equal(schedules.sgm_uniform(13, **options) - 1, LINSPACE_WITHOUT_LAST)


# diffusers 0.42.1, DPMSolverMultistepScheduler in float64, 20 steps.
TRAILING = [
    14.614641229333639, 10.904235383317124, 8.302803191053336, 6.442955086741442, 5.087763182678662,
    4.081729363724308, 3.321083129846573, 2.7354691219641074, 2.2764630657646574, 1.910250729459602,
    1.612886194303876, 1.3671727316461477, 1.1605783219528756, 0.9838172169257704,
    0.8298595281753968, 0.6932048996386885, 0.5692848883499537, 0.45381852445623216,
    0.3416738322812819, 0.22300313793410365, 0.0,
]  # fmt: skip
COSINE = [
    20291.169610019886, 12.807270565347434, 6.364591868537911, 4.1995382176881435,
    3.103729729719953, 2.4354356842037412, 1.980697447933026, 1.6477737828029095,
    1.3907513454724243, 1.1840806576451548, 1.0155505505195104, 0.8685827425075662,
    0.740281005744906, 0.625997416027417, 0.522359940253995, 0.4268367640785847, 0.3374608545937841,
    0.2526455435065965, 0.17104355328665174, 0.09134751043368596, 0.0,
]  # fmt: skip


def test_diffusers_levels():
    _close(schedules.ddpm(20, spacing="trailing"), TRAILING)
    # Their cosine table is made of betas, so that 1e-12 of it is rounding.
    cosine = schedules.sgm_uniform(20, schedules.iddpm_table(), interpolate=False)
    _close(cosine, COSINE, rtol=1e-11)


def test_normal_is_k_diffusions_discrete_schedule():
    # DiscreteSchedule.get_sigmas(10) of a Stable Diffusion model, as printed.
    want = [14.6146, 7.8399, 4.6092, 2.9183, 1.9502, 1.3449, 0.9324, 0.6250, 0.3687, 0.0292, 0]
    np.testing.assert_allclose(schedules.normal(10), want, rtol=0, atol=5.1e-5)
    np.testing.assert_array_equal(schedules.normal(10, interpolate=False), schedules.normal(10))


def test_tables_end_where_the_models_do():
    sd = schedules.ddpm_table()
    assert len(sd) == 1000
    np.testing.assert_allclose(sd[[0, -1]], [0.0291672, 14.6146412], rtol=1e-5)
    ddpm = schedules.ddpm_table(np.linspace(1e-4, 0.02, 1000))  # Ho et al. (2020)
    np.testing.assert_allclose(ddpm[[0, -1]], [0.0100005, 157.4073], rtol=1e-6)
    assert len(schedules.iddpm_table(250)) == 250
