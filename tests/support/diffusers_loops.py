"""The full loops of diffusers' scheduler tests, run here: options of a scheduler to grid, sampler
and denoiser.

Those tests run a scheduler on a ramp of numbers with a "network" `x t / (t + 1)`, and assert the
sum or the mean of the absolute values of the sample. `golden/diffusers_loops.json` has each test
with its options and what it asserts, and the noise of the one scheduler whose draws are not
`torch.randn`'s. Everything is float64: plans run in NumPy, around denoisers of this package.
"""

import base64
import dataclasses
import functools
import json
import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

import edmjax as ej
from support.diffusers_tests import Loop, betas_of, net, process_of, ramp, run, torch_draws

GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden" / "diffusers_loops.json").read_text())
ROWS = {row["id"]: row for row in GOLDEN["rows"]}


# ---- what the schedulers share


def _denoise(options, process, quantize=False):
    kind = options.get("prediction_type", "epsilon")
    denoise = ej.denoisers.prediction(net, process, kind, quantize=quantize)
    if options.get("thresholding"):
        ratio, most = options["dynamic_thresholding_ratio"], options["sample_max_value"]
        return ej.guidance.dynamic_threshold(denoise, ratio, most)
    if options.get("clip_sample"):
        most = options.get("clip_sample_range", 1.0)
        return ej.guidance.clip(denoise, -most, most)
    return denoise


def _each(row):
    """A draw of `torch.randn` for each draw of the plan."""
    draws = torch_draws(row)
    return lambda plan: [next(draws) for _ in range(plan.num_draws)]


def _karras(process, n):
    return ej.schedules.karras(n, process.table[0], process.table[-1], final_zero=False)


# ---- schedulers in the scale of the process


def _ddim(row, options):
    process = process_of(options)
    one = bool(options.get("set_alpha_to_one", False))
    grid = process.grid(row["n"], options["timestep_spacing"], set_alpha_to_one=True)
    if not one:  # to the level of timestep 0, where the last step of these grids starts
        grid = grid[:-1]
    return _scaled(row, options, process, ej.samplers.ddim(use_clipped_model_output=False), grid)


def _scaled(row, options, process, sampler, grid, quantize=False):
    """One plan on a grid of the process; with noise, from the level that the test chose."""
    denoise, x = _denoise(options, process, quantize), ramp(row["shape"])
    if row.get("skipped"):
        grid = grid[row["skipped"] :]
    if row.get("add_noise"):
        alpha, std = process.marginal(process.time(grid.sigmas[0]))
        x = alpha * x + std * ramp(row["shape"], down=True)
    plans: Any = [ej.make_plan(sampler, grid)]
    if quantize and row["scheduler"].startswith(("UniPC", "SASolver")):
        longer = (np.append(grid.sigmas, share * grid.sigmas[-1]) for share in (0.9, 0.8))
        plans = tuple(
            _rescale_end(
                ej.make_plan(sampler, ej.processes.Levels(g, process.time(g), process)), process
            )
            for g in longer
        )
    return Loop(denoise, plans, x, _each(row))


def _rescale_end(plan, process):
    """The plan with its sample in the package's frame, in which such a step is linear."""
    scale, y, d, z = (np.array(table) for table in (plan.scale, plan.y, plan.d, plan.z))
    # The scale of the level that a last step of length 0 stays at.
    factor = process.scale_of(plan.grid[-2]) / scale[-1]
    y[-1], d[-1], z[-1], scale[-1] = factor * y[-1], factor * d[-1], factor * z[-1], 1.0
    return dataclasses.replace(plan, y=y, d=d, z=z, scale=scale)


def _batch(row, options, sampler):
    """One step of each of three parts, from the timesteps 0, 1 and 2 by `T // n` or by 1."""
    process = process_of(options)
    back = process.num_timesteps // (row.get("n") or process.num_timesteps)
    denoise, x = _denoise(options, process), ramp(row["shape"])
    found = []
    for t, shift in ((0, 0.0), (1, 0.1), (2, -0.1)):
        grid = process.levels([t, max(t - back, -1)])
        found.append(run(Loop(denoise, [ej.make_plan(sampler, grid)], x + shift, _zeros)))
    return np.concatenate(found)


def _zeros(plan):
    return np.zeros(plan.num_draws)


def _ddpm(row, options):
    process = process_of(options)
    grid = process.grid(row.get("n") or process.num_timesteps, "leading")
    rounded = row.get("float32")
    sampler = _posterior(options) if rounded else ej.samplers.ddpm()
    return _scaled(row, options, process, sampler, grid)


def _unclip(row, options):
    process, n = process_of(options), row.get("n")
    # Both ends, as diffusers' own `set_timesteps` of this scheduler.
    grid = process.grid(n, "linspace") if n else process.grid(process.num_timesteps)
    return _scaled(row, options, process, _posterior(options), grid)


def _posterior(options):
    """`samplers.ddpm()` with the coefficients that float32 leaves of its formula in diffusers.

    Beta is a difference of numbers near 1 there: at timestep 0, where the weight of the data is 1,
    the scheduler of UnCLIP has 0.9993. Tests whose number has seen that are run with this.
    """
    single, betas = np.float32, betas_of(options)
    abar = np.append(np.cumprod(1 - betas, dtype=np.float64).astype(single), single(1))

    def step(x, at):
        t, to = (round(float(time)) for time in (at.time, at.time_next))
        left, left_next = single(1) - abar[t], single(1) - abar[to]
        own = row_of_unclip and to == t - 1
        beta = betas[t] if own else single(1) - abar[t] / abar[to]
        kept = (
            (np.sqrt(single(1) - beta) if own else np.sqrt(abar[t] / abar[to])) * left_next / left
        )
        data, std = np.sqrt(abar[to]) * beta / left, np.sqrt(left_next / left * beta)
        alpha, alpha_next = (1 / math.hypot(1, sigma) for sigma in (at.sigma, at.sigma_next))
        denoised = at.denoise(x, at.sigma)  # first: the call makes x a basis vector
        mean = float(kept) * alpha * x + float(data) * denoised
        return (mean if to < 0 else mean + float(std) * at.noise()) / alpha_next

    row_of_unclip = options["beta_schedule"] == "squaredcos_cap_v2"
    return step


def _multistep_grid(row, options, process):
    """Timesteps of the multistep solvers, and whether the times are rounded."""
    low = options.get("final_sigmas_type", "sigma_min") == "sigma_min"
    if options.get("use_karras_sigmas") or options.get("use_lu_lambdas"):
        # With `sigma_min` diffusers takes one more step, from that level to itself.
        make = _karras if options.get("use_karras_sigmas") else _exponential
        sigmas = make(process, row["n"])
        sigmas = sigmas if low else np.append(sigmas, 0)
        times = np.round(process.time(sigmas[:-1])) if low else process.time(sigmas)
        return ej.processes.Levels(sigmas, np.append(times, 0) if low else times, process), True
    steps = process.timesteps(row["n"] + 1, "linspace")[:-1]
    return process.levels(np.append(steps, 0 if low else -1)), False


def _exponential(process, n):
    return ej.schedules.exponential(n, process.table[0], process.table[-1], final_zero=False)


def _multistep(sampler_of):
    def make(row, options):
        process = process_of(options)
        grid, rounded = _multistep_grid(row, options, process)
        return _scaled(row, options, process, sampler_of(options), grid, rounded)

    return make


def _singlestep(row, options):
    loop = _multistep(
        lambda o: ej.samplers.dpmpp_singlestep(
            o["solver_order"], lower_order_final=bool(o.get("lower_order_final"))
        )
    )(row, options)
    if row.get("skipped", 0) % 2 == 0:
        return loop
    # A start inside a block: diffusers keeps the places of the blocks, and takes a step of order 1
    # until the next one begins.
    process = process_of(options)
    grid, _ = _multistep_grid(row, options, process)
    grid, sampler = grid[row["skipped"] :], ej.samplers.dpmpp_singlestep(2, lower_order_final=False)
    return loop._replace(plans=[ej.make_plan(sampler, g) for g in (grid[:2], grid[1:])])


def _dpm_inverse(row, options):
    process, n = process_of(options), row["n"]
    if options.get("use_karras_sigmas"):
        # Rising, as the ends that it takes are exchanged.
        sigmas = _karras(process, n)[::-1]
        times = np.round(process.time(sigmas))
        grid, rounded = ej.processes.Levels(sigmas, times, process), True
    else:
        last = process.num_timesteps - 1
        steps = np.round(np.linspace(0, last, n + 1))[:-1]
        grid, rounded = process.levels(np.append(steps, last)), False
    return _scaled(row, options, process, ej.samplers.dpmpp_2m(), grid, rounded)


def _ddim_inverse(row, options):
    """The network is shown the timestep that a step leads to, and a first level of 0 is allowed."""
    process, n = process_of(options), row["n"]
    to = np.arange(n) * (process.num_timesteps // n)
    # From the level 0, or from the level of timestep 0 to itself: this step clips.
    start = 1e-7 if options.get("set_alpha_to_one") else process.sigma(0) * (1 - 1e-9)
    levels = np.append(start, process.sigma(to))
    shown = ej.processes.DDPM(levels, process.num_timesteps, np.append(to, process.num_timesteps))
    grid = ej.processes.Levels(levels, process.time(levels), process)
    plan = ej.make_plan(ej.samplers.euler_cfg_pp(), grid)
    return Loop(_denoise(options, shown), [plan], ramp(row["shape"]))


def _pndm(row, options):
    process = process_of(options)
    average = "v" if options["prediction_type"] == "v_prediction" else "eps"
    sampler = ej.samplers.pndm(process=process, average=average)
    grid = process.grid(row["n"], "leading")
    if not options.get("set_alpha_to_one"):  # to timestep 0, where the last step starts
        grid = grid[:-1]
    return _scaled(row, options, process, sampler, grid)


def _sa_solver(row, options):
    process = process_of(options)
    grid, rounded = _multistep_grid(row, options, process)
    sampler = ej.samplers.sa_solver(
        options["predictor_order"],
        options["corrector_order"],
        interval=(float(process.sigma(200)), float(process.sigma(800))),
        lower_order_final=bool(options.get("lower_order_final")),
        variant="half",
    )
    loop = _scaled(row, options, process, sampler, grid, rounded)
    return loop._replace(noise=_of_each_step(row))


def _of_each_step(row):
    """Draw i of torch belongs to step i, whether the plan uses it or not."""

    def noise(plan):
        draws = torch_draws(row)
        every = [next(draws) for _ in range(len(plan.grid) - 1)]
        first = [int(np.argwhere((plan.draws == j).any(1))[0, 0]) for j in range(plan.num_draws)]
        return [every[plan.step[k - 1]] for k in first]

    return noise


# ---- schedulers in the package's frame


def _frame(sampler, draws: Callable[..., Any] = _each):
    def make(row, options):
        process = process_of(options)
        if options.get("use_karras_sigmas"):
            grid = np.append(_karras(process, row["n"]), 0.0)
        else:
            grid = process.grid(row["n"], "linspace", rounded=False)
            process, grid = grid.process, grid.sigmas
        x = grid[0] * ramp(row["shape"])
        if row.get("skipped"):
            grid = grid[math.ceil(row["skipped"] / row.get("order", 1)) :]
        if row.get("add_noise"):
            x = x + grid[0] * ramp(row["shape"], down=True)
        held = functools.partial(_unscaled, process)
        denoise = ej.denoisers.prediction(held, process, options["prediction_type"])
        return Loop(denoise, [ej.make_plan(_scaling(sampler), grid)], x, draws(row))

    return make


def _unscaled(process, x, t):
    """The network at the point itself: the denoiser has scaled it."""
    return net(x / process.scale(t), t)


def _scaling(inner):
    """Those tests hand a step the scaled input of the network in place of the point.

    A step of first order goes on from it. The second stage of a step takes its slope there, or for
    DPM++ SDE its denoised output, and goes on from the first.
    """

    def scaled(x, sigma):
        return x / math.hypot(1, sigma)

    def step(x, at):
        def denoise(x, sigma, raw=False):
            if sigma == at.sigma:
                return at.denoise(x, sigma)
            y = scaled(x, sigma)
            denoised = at.denoise(y, sigma)
            return denoised if inner is _DPMPP_SDE else x - (y - denoised)

        return inner(scaled(x, at.sigma), at._replace(denoise=denoise))

    return step


def _brownian(row):
    bank = GOLDEN["noise"][row["noise"]]
    draws = np.frombuffer(base64.b64decode(bank), np.float32).reshape(-1, *row["shape"])
    return lambda plan: draws.astype(np.float64)


def _edm_net(kind, scheduler, data, x, c_noise):
    """The network of the EDM schedulers; the test of the multistep one does not scale its input."""
    if scheduler == "EDMDPMSolverMultistepScheduler":
        x = x * jax.numpy.hypot(jax.numpy.exp(4 * c_noise), data)
    return (-1 if kind == "v_prediction" else 1) * net(x, c_noise)


def _edm(sampler):
    def make(row, options):
        low, high, data = (options[key] for key in ("sigma_min", "sigma_max", "sigma_data"))
        sigmas = ej.schedules.karras(row["n"], low, high, options["rho"])
        if options.get("final_sigmas_type") == "sigma_min":
            sigmas = sigmas[:-1]
        shown = functools.partial(_edm_net, options["prediction_type"], row["scheduler"], data)
        denoise = ej.denoisers.edm(shown, data)
        if options.get("thresholding"):
            ratio, most = options["dynamic_thresholding_ratio"], options["sample_max_value"]
            denoise = ej.guidance.dynamic_threshold(denoise, ratio, most)
        x = row.get("factor", 1.0) * ramp(row["shape"])
        if row.get("skipped"):
            sigmas = sigmas[row["skipped"] :]
        if row.get("add_noise"):
            x = x + sigmas[0] * ramp(row["shape"], down=True)
        return Loop(denoise, [ej.make_plan(sampler, sigmas)], x)

    return make


def _consistency(row, options):
    """A new noise a step, of the size that is left above `sigma_min`."""
    low, high, data = (options[key] for key in ("sigma_min", "sigma_max", "sigma_data"))
    total = options["num_train_timesteps"]
    steps = row.get("timesteps") or (np.arange(row["n"]) * (total // row["n"]))[::-1]
    every = ej.schedules.karras(total, low, high, options["rho"], final_zero=False)
    sigmas = np.append(every[np.sort(steps)], low)
    denoise = ej.denoisers.consistency(_in_thousands, sigma_min=low, sigma_data=data)
    x = high * ramp(row["shape"])
    if row.get("skipped"):
        sigmas = sigmas[row["skipped"] :]
    if row.get("add_noise"):
        x = x + sigmas[0] * ramp(row["shape"], down=True)

    def step(x, at):
        up = math.sqrt(at.sigma_next**2 - low**2)
        return at.denoise(x, at.sigma) + (up * at.noise() if up else 0.0 * x)

    plan = ej.make_plan(step, sigmas)
    return Loop(ej.guidance.clip(denoise), [plan], x, _each(row))


def _in_thousands(x, c_noise):
    return net(x, 1000 * c_noise)


def _score_sde_ve(row, options):
    """A predictor and a corrector, one step at a time: both draw from one stream, in turn."""
    n, low, high = row["n"], options["sigma_min"], options["sigma_max"]
    # That test shows the network the first levels of all training timesteps.
    times = np.linspace(1, options["sampling_eps"], options["num_train_timesteps"])[:n]
    levels = np.append(np.exp(np.linspace(math.log(high), math.log(low), n)), 0.0)
    correct = ej.correctors.langevin(options["snr"], norm="batch")
    draws, x = torch_draws(row), ramp(row["shape"])
    for t, sigma, sigma_next in zip(times, levels[:-1], levels[1:], strict=True):
        shown = low * (high / low) ** t
        denoise = ej.denoisers.from_score(functools.partial(_score_at, shown))
        with jax.enable_x64(True):
            z = jax.numpy.asarray(next(draws), float)[None]
            x = np.asarray(correct(denoise, jax.numpy.asarray(x), sigma, z))
        predictor = ej.samplers.reverse_diffusion(final="denoise" if sigma_next else "method")
        plan = ej.make_plan(predictor, [sigma, sigma_next])
        drawn = [next(draws)]
        x = run(Loop(denoise, [plan], x, lambda plan, drawn=drawn: drawn))
    return x


def _score_at(shown, x, sigma):
    return net(x, shown)


_DPMPP_SDE = ej.samplers.dpmpp_sde(noise="brownian")
_MAKE = {
    "DDIM": _ddim,
    "DDIMParallel": _ddim,
    "DDIMInverse": _ddim_inverse,
    "DDPM": _ddpm,
    "DDPMParallel": _ddpm,
    "UnCLIP": _unclip,
    "CMStochasticIterative": _consistency,
    "DEISMultistep": _multistep(lambda o: ej.samplers.deis(o["solver_order"])),
    "DPMSolverMultistep": _multistep(
        lambda o: ej.samplers.dpmpp_2m(lower_order_final=bool(o.get("lower_order_final")))
    ),
    "DPMSolverMultistepInverse": _dpm_inverse,
    "DPMSolverSinglestep": _singlestep,
    "UniPCMultistep": _multistep(lambda o: ej.samplers.unipc(o["solver_order"])),
    "SASolver": _sa_solver,
    "PNDM": _pndm,
    "EulerDiscrete": _frame(ej.samplers.euler()),
    "EulerAncestralDiscrete": _frame(ej.samplers.ancestral(ej.samplers.euler())),
    "HeunDiscrete": _frame(ej.samplers.heun()),
    "KDPM2Discrete": _frame(ej.samplers.dpm_2()),
    "KDPM2AncestralDiscrete": _frame(ej.samplers.ancestral(ej.samplers.dpm_2())),
    "LMSDiscrete": _frame(ej.samplers.lms()),
    "DPMSolverSDE": _frame(_DPMPP_SDE, _brownian),
    "EDMEuler": _edm(ej.samplers.euler()),
    "EDMDPMSolverMultistep": _edm(ej.samplers.dpmpp_2m()),
}


def loop_of(row: Mapping[str, Any]) -> Loop:
    """The loop of a row of the golden file."""
    return _MAKE[row["scheduler"].removesuffix("Scheduler")](row, row["options"])


@functools.cache
def sample_of(identity: str) -> np.ndarray:
    """The sample of a row of the golden file, as the test of that row ends with it."""
    row = ROWS[identity]
    if row["test"] == "test_batch_step_no_noise":
        ddim = row["scheduler"].startswith("DDIM")
        made = ej.samplers.ddim(use_clipped_model_output=False) if ddim else ej.samplers.ddpm()
        return _batch(row, row["options"], made)
    if row["scheduler"] == "ScoreSdeVeScheduler":
        return _score_sde_ve(row, row["options"])
    return run(loop_of(row))
