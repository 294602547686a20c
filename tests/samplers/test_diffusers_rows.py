"""Samples of diffusers' schedulers, in float64, made here to its last digits.

`checks/diffusers_rows.py` ran the schedulers on a network in closed form. What they are here stands
in docs/names.md, with the largest difference of these rows.
"""

import json
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest
from support.diffusers_tests import Loop, run

import edmjax as ej
from edmjax import samplers as s

GOLDEN = pathlib.Path(__file__).parents[1] / "support/golden/diffusers_rows.json"
ROWS = json.loads(GOLDEN.read_text())["rows"]
START, DRAWS = (
    np.random.RandomState(i).normal(size=size) for i, size in ((3, (2, 3)), (7, (60, 2, 3)))
)
# The level of a middle that lies beside a time which is not whole has another time there.
LOOSE = {"KDPM2AncestralDiscrete": 2e-7}
FRAME = {
    "EulerDiscrete": s.euler(),
    "EulerAncestralDiscrete": s.ancestral(s.euler()),
    "HeunDiscrete": s.heun(),
    "KDPM2Discrete": s.dpm_2(),
    "KDPM2AncestralDiscrete": s.ancestral(s.dpm_2()),
    "LMSDiscrete": s.lms(),
}


def eps_net(x, t):
    return 0.8 * jnp.tanh(x) * (t + 5) / (t + 60) + 0.1 * x


def v_net(x, t):
    return -0.6 * jnp.tanh(x) * (t + 1) / (t + 300) - 12 * x / (t + 60)


def process_of(options):
    ends = options["beta_start"], options["beta_end"]
    return ej.processes.ddpm(options["beta_schedule"], *ends)


def denoiser(options, process, quantize=False):
    kind = options.get("prediction_type", "epsilon")
    net = v_net if kind == "v_prediction" else eps_net
    denoise = ej.denoisers.prediction(net, process, kind, quantize=quantize)
    return ej.guidance.clip(denoise) if options.get("clip_sample") else denoise


def in_the_frame(row, options):
    """Points are held as `x0 + sigma n`."""
    process, n, spacing = process_of(options), row["n"], options["timestep_spacing"]
    if options.get("use_karras_sigmas"):
        sigmas = ej.schedules.karras(n, process.sigma(0), process.sigma(999))
    elif spacing == "linspace":
        grid = process.grid(n, spacing, rounded=False)
        process, sigmas = grid.process, grid.sigmas
    else:
        offset, low = options.get("steps_offset", 0), options.get("final_sigmas_type")
        to_zero = low != "sigma_min"
        grid = process.grid(n, spacing, steps_offset=offset, set_alpha_to_one=to_zero)
        sigmas = grid.sigmas
    return denoiser(options, process), FRAME[row["scheduler"]], sigmas


def ddim(row, options):
    process, offset = process_of(options), options.get("steps_offset", 0)
    spacing, one = options["timestep_spacing"], options.get("set_alpha_to_one", True)
    grid = process.grid(row["n"], spacing, steps_offset=offset, set_alpha_to_one=one)
    sampler = s.ddim(options.get("eta", 0.0), use_clipped_model_output=False)
    return denoiser(options, process), sampler, grid


def ddpm(row, options):
    process, offset = process_of(options), options.get("steps_offset", 0)
    grid = process.grid(row["n"], options["timestep_spacing"], steps_offset=offset)
    return denoiser(options, process), s.ddpm(options["variance_type"]), grid


def multistep(row, options):
    """The first `n` of `n + 1` timesteps, but for trailing."""
    process, name, n = process_of(options), row["scheduler"], row["n"]
    low = options.get("final_sigmas_type") == "sigma_min" or name in ("SASolver", "DEISMultistep")
    spacing, rounded = options.get("timestep_spacing", "linspace"), False
    if options.get("use_karras_sigmas"):
        sigmas, rounded = ej.schedules.karras(n, process.sigma(0), process.sigma(999)), True
        grid = process.levels(process.time(sigmas))
    else:
        trailing, offset = spacing == "trailing", options.get("steps_offset", 0)
        steps = process.timesteps(n if trailing else n + 1, spacing)
        steps = (steps if trailing else steps[:-1]) + offset
        grid = process.levels([*steps, 0 if low else -1])
    return denoiser(options, process, rounded), SOLVERS[name](options, process), grid


def dpm_solver(options, process):
    algorithm, order = options.get("algorithm_type", "dpmsolver++"), options.get("solver_order", 2)
    ends = {
        "lower_order_final": options.get("lower_order_final", True),
        "euler_at_final": options.get("euler_at_final", False),
    }
    kind = options.get("solver_type", "midpoint")
    if algorithm == "dpmsolver":
        return s.dpm_solver(2, "multistep")
    if algorithm == "sde-dpmsolver++":
        return s.dpmpp_2m_sde(solver_type=kind, **ends)
    return [s.euler(), s.dpmpp_2m(kind, **ends), s.dpmpp_3m(kind, **ends)][order - 1]


def unipc(options, process):
    predict = "x0" if options.get("predict_x0", True) else "eps"
    variant = options.get("solver_type", "bh2")
    return s.unipc(options.get("solver_order", 2), variant, predict=predict)


def sa_solver(options, process):
    return s.sa_solver(
        options["predictor_order"],
        options["corrector_order"],
        interval=(float(process.sigma(200)), float(process.sigma(800))),
        lower_order_final=options["lower_order_final"],
        variant="half",
    )


SOLVERS = {
    "DPMSolverMultistep": dpm_solver,
    "DPMSolverSinglestep": lambda options, process: s.dpmpp_singlestep(options["solver_order"]),
    "UniPCMultistep": unipc,
    "DEISMultistep": lambda options, process: s.deis(options["solver_order"]),
    "SASolver": sa_solver,
}


def pndm(row, options):
    process = process_of(options)
    average = "v" if options["prediction_type"] == "v_prediction" else "eps"
    sampler = s.pndm(not options["skip_prk_steps"], process, average=average)
    return denoiser(options, process), sampler, process.grid(row["n"], "leading")


def edm(row, options):
    make = ej.schedules.exponential if "exponential" in options.values() else ej.schedules.karras
    order = options.get("solver_order", 2)
    sampler = [s.dpmpp_2m(lower_order_final=True), s.dpmpp_3m(lower_order_final=True)][order - 2]
    sampler = s.euler() if row["scheduler"] == "EDMEuler" else sampler
    return ej.denoisers.edm(eps_net), sampler, make(row["n"], 0.002, 80.0)


def inverse(row, options):
    process = process_of(options)
    steps = np.round(np.linspace(0, 999, row["n"] + 1))[:-1]
    sampler = s.dpmpp_2m(lower_order_final=True)
    return denoiser(options, process), sampler, process.levels([*steps, 999])


MAKE = {
    **dict.fromkeys(FRAME, in_the_frame),
    **dict.fromkeys(SOLVERS, multistep),
    "DDIM": ddim,
    "DDPM": ddpm,
    "PNDM": pndm,
    "EDMEuler": edm,
    "EDMDPMSolverMultistep": edm,
    "DPMSolverMultistepInverse": inverse,
}


def difference(row):
    denoise, sampler, grid = MAKE[row["scheduler"]](row, row["options"])

    def noise(plan):  # draw i belongs to step i, whether the plan uses it or not
        rows = [np.argwhere((plan.draws == j).any(axis=1))[0, 0] for j in range(plan.num_draws)]
        return [DRAWS[plan.step[k - 1]] for k in rows]

    got = run(Loop(denoise, [ej.make_plan(sampler, grid)], row["init"] * START, noise))
    return np.abs(got - row["sample"]).max() / np.abs(row["sample"]).max()


QUICK = ("KDPM2Discrete", "PNDM", "SASolver")


def _tier(name):
    return name if name in QUICK else pytest.param(name, marks=pytest.mark.thorough)


@pytest.mark.parametrize("scheduler", [_tier(name) for name in MAKE])
def test_samples_are_those_of_diffusers(scheduler):
    for row in ROWS:
        if row["scheduler"] == scheduler and not noisy_to_the_end(row):
            assert difference(row) < LOOSE.get(scheduler, 5e-12), row


def noisy_to_the_end(row):
    """diffusers adds the larger variance also in a last step that does not start at timestep 0."""
    options = row["options"]
    large = options.get("variance_type") == "fixed_large"
    return large and options["timestep_spacing"] != "linspace"


@pytest.mark.thorough
def test_the_larger_variance_stays_in_the_sample_of_diffusers():
    """Only there: 0.4 % of the sample on trailing steps, and beta of timestep 1 on leading ones."""
    for row in filter(noisy_to_the_end, ROWS):
        process = process_of(row["options"])
        grid = ddpm(row, row["options"])[2]
        beta = 1 - process.scale(grid.times[-2]) ** 2
        assert 0 < difference(row) < 4 * np.sqrt(beta)
    assert {row["scheduler"] for row in ROWS} == set(MAKE)
