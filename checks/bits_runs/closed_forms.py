"""Numbers on the host and in closed form: schedules, processes, problems, metrics and more."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bits_runs import adapter, cases
from bits_runs.adapter import api
from bits_runs.registry import add, run, typed

# ---- schedules

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "karras": [{"rho": 3.0}, {"sigma_min": 0.01, "sigma_max": 20.0}],
    "polyexponential": [{"rho": 0.7}],
    "theta": [{"sigma_data": 0.9}],
    "logistic": [{"center": 0.3, "scale": 0.8}, {"sigma_data": 1.0, "scale": 1.6}],
    "laplace": [{"mu": 0.5, "beta": 0.7}],
    "beta": [{"alpha": 0.5, "beta": 0.8}],
    "beta_discrete": [{"alpha": 0.7, "beta": 0.5}],
    "kl_optimal": [{"sigma_data": 0.5}],
    "linear_quadratic": [{"threshold_noise": 0.05, "linear_steps": 4}],
    "vp": [{"beta_d": 15.0, "eps_s": 1e-4}, {"sigma_min": 0.01, "sigma_max": 50.0}],
    "iddpm": [{"sigma_max": 40.0, "num_timesteps": 500}],
    "ddpm": [{"spacing": spacing} for spacing in ("trailing", "leading", "linspace")],
    "normal": [{"interpolate": False}],
    "sgm_uniform": [{"interpolate": False}],
    "align_your_steps": [{"model": "sdxl"}, {"model": "svd"}],
}


def schedule(name: str) -> Any:
    """Levels for several numbers of steps, with and without the last zero, and of each option."""
    make = getattr(api.schedules, name)
    needed = (api.processes.vp(),) if name == "uniform" else ()
    found = {}
    for n in (2, 7, 30):
        for zero in (True, False):
            found[f"{n}, {zero}"] = make(n, *needed, final_zero=zero)
    for i, options in enumerate(OPTIONS.get(name, [])):
        found[f"options {i}"] = make(11, *needed, **options)
    return found


for _name in adapter.schedule_names():
    add(f"schedules/{_name}", schedule, _name)


@run("schedules/uniform_of_processes")
def uniform() -> Any:
    names = ("ve", "song_ve", "vp", "sub_vp", "cosine", "edm")
    made = {
        name: api.schedules.uniform(9, getattr(api.processes, name)(), 1e-2, 0.9, 2.0)
        for name in names
    }
    return made, api.schedules.uniform(9, api.processes.flow(), t_max=0.99)


@run("schedules/tables_and_edits")
def tables() -> Any:
    grid = cases.karras(10)
    names = {"karras", "sgm_uniform", "Exponential", "normal", "kl_optimal", "beta", "simple"}
    return {
        "ddpm": api.schedules.ddpm_table(),
        "of_betas": api.schedules.ddpm_table(np.linspace(1e-3, 0.1, 30)),
        "iddpm": api.schedules.iddpm_table(100),
        "truncate": [api.schedules.truncate(grid, s) for s in (0.3, 0.75, 1.0)],
        "reverse": api.schedules.reverse(grid),
        "named": {name: _of_name(api.schedules.from_name(name)) for name in sorted(names)},
    }


def _of_name(make: Any) -> Any:
    return make(8)


# ---- processes

PROCESSES = {
    "edm": lambda: api.processes.edm(),
    "ve": lambda: api.processes.ve(),
    "song_ve": lambda: api.processes.song_ve(),
    "vp": lambda: api.processes.vp(),
    "sub_vp": lambda: api.processes.sub_vp(),
    "cosine": lambda: api.processes.cosine(),
    "flow": lambda: api.processes.flow(),
    "ddpm": lambda: api.processes.ddpm(),
    "ddpm_sigmoid": lambda: api.processes.ddpm("sigmoid", 1e-3, 0.05, 50),
    "ddpm_cosine": lambda: api.processes.ddpm("squaredcos_cap_v2"),
    "zero_snr": lambda: api.processes.ddpm("scaled_linear", rescale_zero_snr=True),
}


def process(name: str, dtype: str | None) -> Any:
    """Marginals, rates and levels at times of the process; on the host, or by JAX."""
    made = PROCESSES[name]()
    high = float(made.t_max)
    times = np.linspace(0.05 * high, 0.93 * high, 7)
    levels = np.array([0.03, 0.5, 2.0, 8.0])
    if dtype is not None:
        times, levels = jnp.asarray(times, dtype), jnp.asarray(levels, dtype)

    def functions(times: Any, levels: Any) -> Any:
        return {
            "scale": made.scale(times),
            "sigma": made.sigma(times),
            "variance": made.variance(times),
            "time": made.time(levels),
            "scale_of": made.scale_of(levels),
            "marginal": made.marginal(times),
            "rates": made.rates(times),
            "diffusion": made.diffusion(times),
        }

    if dtype is None:
        return functions(times, levels) | {"prior_std": made.prior_std}
    return jax.jit(functions)(times, levels)


def points_of(name: str, dtype: str) -> Any:
    """Points of a process in its own scale, at one time for all and at one time a sample."""
    made = PROCESSES[name]()
    high = float(made.t_max)
    x0, noise = cases.data(dtype=dtype), cases.points(dtype=dtype, scale=1.0)
    found = {}
    for key, t in (("one", 0.4 * high), ("each", high * np.linspace(0.2, 0.8, 4))):
        found[key] = {
            "add_noise": made.add_noise(x0, noise, t),
            "to_ve": made.to_ve(x0, t),
            "from_ve": made.from_ve(x0, t),
            "drift": made.drift(x0, t),
        }
        if hasattr(made, "get_velocity"):
            found[key]["velocity"] = made.get_velocity(x0, noise, t)
    return found


for _name in PROCESSES:
    add(f"processes/{_name}/host", process, _name, None)
    typed(f"processes/{_name}", process, _name, dtypes=["float32", "float64"])
for _name in ("vp", "flow", "ddpm", "ve"):
    typed(f"processes/points/{_name}", points_of, _name, dtypes=["float32", "bfloat16"])


@run("processes/levels")
def levels() -> Any:
    found = {}
    for name, make in PROCESSES.items():
        made = make()
        grid = made.levels(np.linspace(float(made.t_max), 0.1 * float(made.t_max), 6))
        found[name] = grid.sigmas, grid.times, grid.scale
    return found


@run("processes/timesteps")
def timesteps() -> Any:
    made, found = PROCESSES["ddpm"](), {}
    for spacing in ("trailing", "leading", "linspace", "legacy"):
        grid = made.grid(13, spacing)
        found[spacing] = made.timesteps(7, spacing), grid.sigmas, grid.times
    offset = made.grid(13, "leading", steps_offset=1, set_alpha_to_one=False)
    return found, made.timesteps(7, "leading", steps_offset=1), offset.sigmas


# ---- problems

PROBLEMS = {
    "gaussian": cases.gaussian,
    "diagonal": lambda: api.problems.Gaussian([0.3, -0.2], [0.2, 0.5]),
    "mixture": cases.mixture,
    "full_mixture": lambda: api.problems.Mixture(
        [0.5, 0.5], [[1.0, 0.0], [-1.0, 0.5]], [[[0.2, 0.1], [0.1, 0.3]], [[0.1, 0.0], [0.0, 0.4]]]
    ),
    "empirical": lambda: api.problems.Empirical(
        np.random.default_rng(2).normal(size=(9, 2)), std=0.1
    ),
}


def problem(name: str, dtype: str) -> Any:
    made, x = PROBLEMS[name](), cases.points(dtype=dtype, scale=2.0)
    levels = jnp.asarray([0.1, 0.7, 3.0, 20.0], "float32" if dtype == "bfloat16" else dtype)
    names = ("denoise", "score", "log_prob")

    def functions(x: Any, levels: Any) -> Any:
        at = {"one": levels[1], "each": levels}
        return {
            k: {name: getattr(made, name)(x, sigma) for name in names} for k, sigma in at.items()
        }

    found = jax.jit(functions)(x, levels)
    found["samples"] = made.sample(cases.key(), 5)
    if hasattr(made, "flow"):
        found["flow"] = made.flow(x, 80.0, 0.5)
    return found


for _name in PROBLEMS:
    typed(f"problems/{_name}", problem, _name)


def few_step(name: str) -> Any:
    made = getattr(api.problems, name)()
    x = made.sample(cases.key(), 3)
    return x, jax.jit(made)(x, jnp.float32(0.6)), jax.jit(made)(80 * x, jnp.float32(40.0))


for _name in ("P1", "P2", "P3"):
    add(f"problems/{_name}", few_step, _name)


# ---- metrics and recommendations


@run("metrics/distances")
def distances() -> Any:
    x, y = cases.data((32, 3)), cases.points((32, 3), scale=0.7)
    return {
        "sliced": api.metrics.sliced_wasserstein(x, y, cases.key(), num_projections=16),
        "groups": api.metrics.sliced_wasserstein(x, y, cases.key(), num_groups=2),
        "energy": api.metrics.energy_distance(x, y),
        "pairs": api.metrics.energy_distance(x, y, num_groups=2),
    }


def recommended(nfe: int) -> Any:
    found = {}
    for name, options in {
        "plain": {},
        "narrow": {"sigma_data": 0.2, "sigma_max": 20.0},
        "above_zero": {"final_zero": False, "sigma_min": 0.01},
    }.items():
        sampler, sigmas = api.recommend(nfe, **options)
        found[name] = sigmas, adapter.plan_arrays(api.make_plan(sampler, sigmas))
    return found


for _nfe in (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 25, 32, 50):
    add(f"recommend/{_nfe}", recommended, _nfe)


@run("scalar/functions", modes=("x32", "x64"))
def scalars() -> Any:
    names = ("exp", "expm1", "log", "sqrt")
    values = (0.3, np.float64(2.0))
    host = {name: [getattr(api.scalar, name)(v) for v in values] for name in names}
    traced = {name: jax.jit(getattr(api.scalar, name))(jnp.float32(0.3)) for name in names}
    return host, traced
