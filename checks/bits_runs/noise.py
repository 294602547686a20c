"""Where noise comes from: keys of samples, draws made beforehand, Brownian paths."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bits_runs import adapter, cases
from bits_runs.adapter import api
from bits_runs.registry import run, typed


@run("noise/sample_keys", modes=("x32", "x64"))
def keys() -> Any:
    made = api.sample_keys(cases.key(), 5), api.sample_keys(cases.key(), 3, start=1000)
    like = {"a": jnp.zeros((5, 3)), "b": jnp.zeros((5, 2, 2), "bfloat16")}
    return made, api.normal_like(made[0], like)


def drawn(text: str, dtype: str) -> Any:
    """The noise that `sample` would draw, and the sample that it makes."""
    plan, x = cases.plan(adapter.sampler(text)), cases.tree_points(dtype)
    noise = api.draw_noise(plan, cases.key(), x)
    return noise, api.sample(cases.Tree(), plan, x, noise=noise)


def for_a_corrector(on_result: bool, dtype: str) -> Any:
    corrector = api.correctors.langevin(on_result=on_result)
    plan, x = cases.plan(adapter.sampler("ddpm()")), cases.points(dtype=dtype)
    noise = api.draw_noise(plan, cases.key(), x, corrector=corrector)
    return noise, api.sample(cases.mixture(), plan, x, noise=noise, corrector=corrector)


def for_one(dtype: str) -> Any:
    plan, x = cases.plan(adapter.sampler("ddpm()")), cases.points((2,), dtype)
    return api.draw_noise(plan, cases.key(), x, batched=False)


for _text in ("ddpm()", "seeds_3()", "restart(heun(), [(0.3, 5.0, 3, 2)])"):
    typed(f"noise/draw_noise/{_text}", drawn, _text)
for _late in (False, True):
    typed(f"noise/draw_noise/corrector/{_late}", for_a_corrector, _late, dtypes=["float32"])
typed("noise/draw_noise/one", for_one, dtypes=["float32", "bfloat16"])


# ---- Brownian paths

PATHS = {
    "euler_maruyama()": None,
    "ddpm()": None,
    "dpmpp_2m_sde()": None,
    "dpmpp_sde()": None,
    "seeds_2()": None,
    "er_sde()": None,
    "sa_solver()": None,
    "euler_maruyama(processes.vp())": "vp",
    "ancestral(euler())": None,
}


def clock(name: str | None) -> Any:
    return None if name is None else getattr(api.processes, name)()


def along(text: str, process: str | None, dtype: str) -> Any:
    path = api.brownian(cases.key(), clock(process))
    plan, x = cases.plan(adapter.sampler(text)), cases.points(dtype=dtype)
    return api.sample(cases.mixture(), plan, x, path)


for _text, _process in PATHS.items():
    _dtypes = ["float32", "float64", "bfloat16"] if _text == "dpmpp_2m_sde()" else ["float32"]
    typed(f"noise/brownian/sample/{_text}", along, _text, _process, dtypes=_dtypes)


def increments(dtype: str) -> Any:
    x = cases.tree_points(dtype)
    path, vp = api.brownian(cases.key()), api.brownian(cases.key(), api.processes.vp())
    times = [(0.0, 1.0), (1.0, 1.5), (80.0, 0.002), (1e-3, 1e-3), (2.0, 8.0)]
    found = [path.increment(x, a, b) for a, b in times]
    return found, vp.increment(x, 0.2, 0.7), path.increment(x["a"][0], 0.5, 0.75, batched=False)


typed("noise/brownian/increments", increments)


@run("noise/brownian/draw_noise")
def drawn_along() -> Any:
    path = api.brownian(api.sample_keys(cases.key(), 4))
    plan, x = cases.plan(adapter.sampler("dpmpp_2m_sde()")), cases.tree_points()
    return api.draw_noise(plan, path, x)


@run("noise/brownian/traced")
def traced_path() -> Any:
    plan, x = cases.plan(adapter.sampler("ddpm()")), cases.points()

    @jax.jit
    def made(key: Any, x: Any, t: Any) -> Any:
        path = api.brownian(key)
        return api.sample(cases.mixture(), plan, x, path), path.increment(x, t, 2 * t)

    return made(cases.key(), x, jnp.float32(0.3))


@run("noise/brownian/diffrax")
def with_diffrax() -> Any:
    """The path as diffrax takes it."""
    path = api.brownian(cases.key(), api.processes.vp()).diffrax_path(cases.points())
    return [path.evaluate(np.float32(-0.9), np.float32(-0.4))]
