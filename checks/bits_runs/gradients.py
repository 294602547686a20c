"""Gradients and transformations: `remat`, slopes of plans, `vmap`, the caller's `jit`, padding."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bits_runs import adapter, cases
from bits_runs.adapter import api
from bits_runs.registry import add, run, typed
from bits_runs.sampling import draws

TEXTS = ("heun()", "dpmpp_3m()", "dpmpp_2m_sde()")


def of_point(text: str, remat: bool, dtype: str) -> Any:
    plan, x = cases.plan(adapter.sampler(text)), cases.points((3, *cases.IMAGE), dtype)
    problem = cases.images()

    def loss(x: Any) -> Any:
        return jnp.sum(api.sample(problem, plan, x, noise=draws(plan, x), remat=remat) ** 2)

    return jax.value_and_grad(loss)(x)


def of_denoiser(text: str, remat: bool, dtype: str) -> Any:
    plan, x = cases.plan(adapter.sampler(text)), cases.tree_points(dtype)

    def loss(width: Any) -> Any:
        made = api.sample(cases.Tree(width), plan, x, noise=draws(plan, x), remat=remat)
        return sum(jnp.sum(leaf.astype("float32") ** 2) for leaf in jax.tree.leaves(made))

    return jax.jit(jax.value_and_grad(loss))(jnp.asarray(0.5, "float32"))


def of_levels(text: str, dtype: str) -> Any:
    """The slope through `make_plan`."""
    x = cases.points(dtype=dtype, scale=10.0)
    problem, sampler = cases.mixture(), adapter.sampler(text)
    noise = draws(api.make_plan(sampler, [10.0, 3.0, 1.0, 0.3, 0.0]), x)

    def loss(log_sigmas: Any) -> Any:
        sigmas = jnp.concatenate([jnp.exp(log_sigmas), jnp.zeros(1, log_sigmas.dtype)])
        plan = api.make_plan(sampler, sigmas, ends_at_zero=True)
        return jnp.sum(api.sample(problem, plan, x, noise=noise) ** 2)

    start = jnp.log(jnp.asarray([10.0, 3.0, 1.0, 0.3], dtype))
    return jax.jit(jax.value_and_grad(loss))(start)


def of_option(make: Any, value: float, dtype: str) -> Any:
    x, problem = cases.points(dtype=dtype), cases.mixture()
    noise = draws(api.make_plan(make(value), cases.karras()), x)

    def loss(value: Any) -> Any:
        plan = api.make_plan(make(value), cases.karras())
        return jnp.sum(api.sample(problem, plan, x, noise=noise) ** 2)

    return jax.jit(jax.value_and_grad(loss))(jnp.asarray(value, dtype))


for _text in TEXTS:
    for _remat in (False, True):
        _name = "remat" if _remat else "plain"
        typed(f"gradients/point/{_name}/{_text}", of_point, _text, _remat, dtypes=["float32"])
        typed(
            f"gradients/denoiser/{_name}/{_text}",
            of_denoiser,
            _text,
            _remat,
            dtypes=["float32", "bfloat16"],
        )
for _text in ("heun()", "dpmpp_2m()", "unipc()", "f_pc()", "deis()", "er_sde()", "sa_solver()"):
    typed(f"gradients/levels/{_text}", of_levels, _text, dtypes=["float32", "float64"])
for _name, _make, _value in (
    ("ddim_eta", lambda v: api.samplers.ddim(v), 0.5),
    ("churn", lambda v: api.samplers.churn(api.samplers.heun(), s_churn=v), 2.0),
    ("sa_solver_tau", lambda v: api.samplers.sa_solver(tau=v), 0.7),
    ("euler_maruyama_lam", lambda v: api.samplers.euler_maruyama(lam=v), 0.7),
):
    typed(f"gradients/option/{_name}", of_option, _make, _value, dtypes=["float32"])


# ---- transformations


def stacked(text: str, dtype: str) -> Any:
    """Plans of several grids at once, and points of each."""
    grids = [cases.karras(sigma_max=high) for high in (20.0, 80.0)]
    plans = [cases.plan(adapter.sampler(text), sigmas) for sigmas in grids]
    together = jax.tree.map(lambda *leaves: jnp.stack(leaves), *plans)
    x, problem = cases.points(dtype=dtype), cases.mixture()
    return jax.vmap(lambda plan: api.sample(problem, plan, x, cases.key()))(together)


def stacked_points(text: str, dtype: str) -> Any:
    plan, problem = cases.plan(adapter.sampler(text)), cases.mixture()
    x, keys = cases.points((3, 4, 2), dtype), jax.random.split(cases.key(), 3)
    return jax.vmap(lambda x, key: api.sample(problem, plan, x, key))(x, keys)


def one_by_one(text: str, dtype: str) -> Any:
    plan, problem = cases.plan(adapter.sampler(text)), cases.mixture()
    x, keys = cases.points(dtype=dtype), api.sample_keys(cases.key(), 4)
    return jax.vmap(lambda x, key: api.sample(problem, plan, x, key, batched=False))(x, keys)


def in_a_program(text: str, dtype: str) -> Any:
    """In the caller's program, with all as arguments."""
    plan, x = cases.plan(adapter.sampler(text)), cases.points((3, *cases.IMAGE), dtype)

    @jax.jit
    def generate(problem: Any, plan: Any, x: Any, key: Any) -> Any:
        return api.sample(problem, plan, 2 * x, key) + 1

    return generate(cases.images(), plan, x, cases.key())


def plan_in_a_program(text: str) -> Any:
    """A plan of traced levels, with a traced option where there is one."""
    sampler = adapter.sampler(text)
    made = jax.jit(lambda sigmas: api.make_plan(sampler, sigmas, ends_at_zero=True))
    return adapter.plan_arrays(made(jnp.asarray(cases.karras(), "float32")))


def like(text: str, wider: str, dtype: str) -> Any:
    """A plan padded to the shapes of a wider one."""
    wide = cases.plan(adapter.sampler(wider))
    plan = api.make_plan(adapter.sampler(text), cases.karras(), like=wide)
    x = cases.points(dtype=dtype)
    return adapter.plan_arrays(plan), api.sample(cases.mixture(), plan, x, cases.key())


for _text in ("heun()", "dpmpp_2m_sde()"):
    typed(f"transforms/stacked_plans/{_text}", stacked, _text, dtypes=["float32", "float64"])
    typed(f"transforms/stacked_points/{_text}", stacked_points, _text, dtypes=["float32"])
    typed(f"transforms/one_by_one/{_text}", one_by_one, _text, dtypes=["float32", "bfloat16"])
    typed(f"transforms/jit/{_text}", in_a_program, _text)
for _text in (
    "heun()",
    "dpm_2()",
    "dpmpp_3m()",
    "unipc()",
    "deis()",
    "lms()",
    "f_ab()",
    "dpmpp_sde()",
    "er_sde()",
    "churn(heun(), s_churn=4.0)",
    "ddpm()",
):
    add(f"transforms/traced_plan/{_text}", plan_in_a_program, _text)
for _text in ("heun()", "unipc()", "er_sde()"):
    add(f"transforms/traced_plan/{_text}", plan_in_a_program, _text, mode="x64")
for _text, _wider in (
    ("euler()", "lms()"),
    ("dpmpp_2m()", "sa_solver()"),
    ("ddpm()", "sa_solver()"),
):
    typed(f"transforms/like/{_text}", like, _text, _wider, dtypes=["float32"])


@run("transforms/sampler_of_the_user", modes=("x32", "x64"))
def sampler_of_the_user() -> Any:
    """Adams-Bashforth as in the README, with noise between its steps."""

    def step(x: Any, at: Any) -> Any:
        d = (x - at.denoise(x, at.sigma)) / at.sigma
        h = at.sigma_next - at.sigma
        if at.past and not at.last:
            old = at.past[0]
            d_old = (old.x - old.denoised) / old.sigma
            d = d + h / (2 * (at.sigma - old.sigma)) * (d - d_old)
        x = x + h * d
        return x if at.last else x + 0.1 * at.sigma_next * at.noise()

    plan = api.make_plan(step, cases.karras())
    x = cases.points()
    return adapter.plan_arrays(plan), api.sample(cases.mixture(), plan, x, noise=draws(plan, x))


@run("transforms/upwards")
def upwards() -> Any:
    """Up the levels, from data to noise."""
    sigmas = api.schedules.reverse(cases.karras(final_zero=False))
    plan = api.make_plan(adapter.sampler("heun()"), sigmas)
    x = cases.data()
    return adapter.plan_arrays(plan), api.sample(cases.mixture(), plan, x)


@run("transforms/mesh")
def on_a_mesh() -> Any:
    """Samples on four devices, with pixels in one piece and split."""
    mesh = jax.make_mesh((2, 2), ("data", "model"))
    plan, x = cases.plan(adapter.sampler("ddpm()")), cases.points((4, *cases.IMAGE))
    found = {}
    for name, axes in {"samples": ("data",), "pixels": ("data", "model")}.items():
        sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))
        made = api.sample(cases.images(), plan, jax.device_put(x, sharding), cases.key())
        found[name] = np.asarray(made)
    return found
