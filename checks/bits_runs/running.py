"""Other ways to run a plan: sweeps, chunks, parts, and runs that report what is not finite."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bits_runs import adapter, cases
from bits_runs.adapter import api
from bits_runs.registry import add, run, typed
from bits_runs.sampling import PROCESSES, Learned, draws

# ---- sweep

SWEEPS = {
    "plain": ("euler()", "heun()", "dpmpp_2m()"),
    "mixed": ("euler()", "unipc()", "ddpm()", "seeds_2()", "pndm()"),
    "raw": ("euler_cfg_pp()", "heun()", "ddim(eta=0.5, use_clipped_model_output=False)"),
}


def plans_of(name: str) -> list[Any]:
    grids = [cases.karras(n) for n in (5, 3, 7, 4, 6)]
    return [
        cases.plan(adapter.sampler(text), sigmas)
        for text, sigmas in zip(SWEEPS[name], grids, strict=False)
    ]


def swept(name: str, way: str, dtype: str) -> Any:
    plans, x = plans_of(name), cases.points(dtype=dtype)
    problem = cases.mixture()
    if name == "raw":
        problem = api.guidance.clip(problem, -0.8, 0.8)
    if way == "noise":
        most = max(plans, key=lambda plan: plan.num_draws)
        return api.sweep(problem, plans, x, noise=draws(most, x))
    if way == "jit":
        return jax.jit(lambda plans, x, key: api.sweep(problem, plans, x, key))(
            plans, x, cases.key()
        )
    return api.sweep(problem, plans, x, cases.key())


for _name in SWEEPS:
    for _way in ("host", "noise", "jit"):
        _dtypes = ["float32", "float64", "bfloat16"] if _name == "mixed" else ["float32"]
        typed(f"sweep/{_name}/{_way}", swept, _name, _way, dtypes=_dtypes)


def swept_images(dtype: str) -> Any:
    x = cases.points((3, *cases.IMAGE), dtype)
    return api.sweep(cases.images(), plans_of("mixed"), x, cases.key())


def swept_trees(dtype: str) -> Any:
    plans = dict(zip("abc", plans_of("plain"), strict=True))
    x, cond = cases.tree_points(dtype), jnp.arange(4.0)
    return api.sweep(cases.Tree(), plans, x, cond=cond)


typed("sweep/images", swept_images)
typed("sweep/trees", swept_trees, dtypes=["float32", "bfloat16"])


@run("sweep/one")
def swept_one() -> Any:
    return api.sweep(
        cases.mixture(), plans_of("mixed"), cases.points((2,)), cases.key(), batched=False
    )


@run("sweep/learned")
def swept_learned() -> Any:
    levels = PROCESSES["ddpm"]()
    plans = [cases.plan(adapter.sampler(t), levels) for t in ("ddpm('learned_range')", "euler()")]
    return api.sweep(Learned(), plans, cases.points(scale=1.0), cases.key())


@run("sweep/slope")
def swept_slope() -> Any:
    x, plans = cases.points(), plans_of("plain")
    return jax.jvp(lambda x: api.sweep(cases.mixture(), plans, x), (x,), (jnp.ones_like(x),))


# ---- chunks


def chunked(text: str, size: int, dtype: str, brownian: bool = False, **options: Any) -> Any:
    plan = cases.plan(adapter.sampler(text))
    shape = {"a": jax.ShapeDtypeStruct((3,), dtype), "b": jax.ShapeDtypeStruct((2, 2, 2), dtype)}
    source = api.brownian(cases.key()) if brownian else cases.key()
    return api.sample_in_chunks(
        cases.Tree(), plan, source, num_samples=7, chunk_size=size, shape=shape, **options
    )


for _size in (3, 7):
    typed(f"chunks/ddpm/{_size}", chunked, "ddpm()", _size)
typed("chunks/heun", chunked, "heun()", 4, dtypes=["float32"])
typed("chunks/brownian", chunked, "dpmpp_2m_sde()", 4, brownian=True, dtypes=["float32"])
typed("chunks/cond", chunked, "ddpm()", 3, cond=np.arange(7.0), dtypes=["float32"])


@run("chunks/corrector")
def chunks_corrected() -> Any:
    return chunked("euler()", 3, "float32", corrector=api.correctors.annealed_langevin())


@run("chunks/scale")
def chunks_scaled() -> Any:
    plan = cases.plan(adapter.sampler("ddpm()"), PROCESSES["zero_snr"]())
    shape = jax.ShapeDtypeStruct((2,), "float32")
    return api.sample_in_chunks(
        cases.mixture(), plan, cases.key(), num_samples=5, chunk_size=2, shape=shape
    )


# ---- parts


def parts(text: str, cuts: tuple[int, ...], dtype: str, **options: Any) -> Any:
    """A run that is stopped after some evaluations and resumed, from one point of each cut."""
    plan, x = cases.plan(adapter.sampler(text)), cases.points((3, *cases.IMAGE), dtype)
    at, seen = x, []
    for stop in (*cuts, plan.nfe):
        at = api.sample_until(cases.images(), plan, at, cases.key(), stop=stop, **options)
        seen.append((at.x, at.evaluation))
    return seen


for _text in ("heun()", "unipc()", "seeds_2()", "churn(heun(), s_churn=8.0)"):
    typed(f"parts/{_text}", parts, _text, (0, 1, 4), dtypes=["float32", "bfloat16"])
typed("parts/whole", parts, "dpmpp_2m_sde()", (), dtypes=["float32", "float64"])


@run("parts/corrector")
def parts_corrected() -> Any:
    return parts("ddpm()", (2, 3), "float32", corrector=api.correctors.langevin(on_result=True))


@run("parts/noise")
def parts_noise() -> Any:
    plan, x = cases.plan(adapter.sampler("ddpm()")), cases.points()
    noise = draws(plan, x)
    half = api.sample_until(cases.mixture(), plan, x, stop=3, noise=noise)
    return api.sample_until(cases.mixture(), plan, half, stop=plan.nfe, noise=noise).x


@run("parts/brownian")
def parts_brownian() -> Any:
    plan, x, path = cases.plan(adapter.sampler("ddpm()")), cases.points(), api.brownian(cases.key())
    half = api.sample_until(cases.mixture(), plan, x, path, stop=3)
    return api.sample_until(cases.mixture(), plan, half, path, stop=plan.nfe).x


# ---- reports


def checked(text: str, dtype: str) -> Any:
    plan, x = cases.plan(adapter.sampler(text)), cases.points(dtype=dtype)
    x0, report = api.sample_checked(cases.mixture(), plan, x, cases.key())
    return x0, adapter.report_arrays(report)


for _text in ("heun()", "dpmpp_2m_sde()"):
    typed(f"checked/{_text}", checked, _text)


def broken(where: str) -> Any:
    """A number that is not finite in the point or in the output of the denoiser."""
    plan, x = cases.plan(adapter.sampler("dpmpp_2m()")), cases.points()
    problem = cases.mixture()

    def denoise(x: Any, sigma: Any) -> Any:
        out = problem(x, sigma)
        return out.at[2].set(jnp.where(sigma < 1, jnp.nan, out[2])) if where == "output" else out

    x = x.at[1].set(jnp.nan) if where == "point" else x
    x0, report = api.sample_checked(denoise, plan, x)
    return x0, adapter.report_arrays(report), str(report)


for _where in ("point", "output"):
    add(f"checked/not_finite/{_where}", broken, _where)


@run("running/progress")
def with_progress() -> Any:
    plan, x = cases.plan(adapter.sampler("heun()")), cases.points()
    return api.sample(cases.mixture(), plan, x, progress=True)
