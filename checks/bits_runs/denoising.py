"""Denoisers: every preconditioning, prediction, conversion and rule of guidance."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bits_runs import cases
from bits_runs.adapter import api
from bits_runs.registry import add, run, typed

LEVELS = (0.01, 0.3, 1.0, 9.0)


def called(
    make: Callable[[], Any], dtype: str, cond: bool = False, top: float = 1.0, slope: bool = True
) -> Any:
    """The outputs at one level for all samples and at a level a sample, and a gradient."""
    denoise, x = make(), cases.points(dtype=dtype, scale=3.0)
    told = (jnp.arange(4.0),) if cond else ()
    one, each = jnp.asarray(0.7 * top, "float32"), top * jnp.asarray(LEVELS, "float32")
    if dtype == "float64":
        one, each = one.astype(dtype), each.astype(dtype)

    def total(x: Any) -> Any:
        out = denoise(x, each, *told)
        out = out["x0"] if isinstance(out, dict) else out
        return jnp.sum(out.astype("float32") ** 2)

    def apply(x: Any, *told: Any) -> Any:
        found = {"one": denoise(x, one, *told), "each": denoise(x, each, *told)}
        return found | {"slope": jax.grad(total)(x)} if slope else found

    # One program: to compile three takes three times as long.
    return jax.jit(apply)(x, *told)


def double(x: Any, c_noise: Any, cond: Any = None) -> Any:
    """A network of twice the channels, whose second half says the range of the variance."""
    out = cases.network(x, c_noise, cond)
    return jnp.concatenate([out, jnp.sin(out)], axis=-1)


PRECONDITIONED = {
    "edm": lambda: api.denoisers.edm(cases.network),
    "edm_wide": lambda: api.denoisers.edm(cases.network, sigma_data=0.8),
    "vp": lambda: api.denoisers.vp(cases.network),
    "ve": lambda: api.denoisers.ve(cases.network),
    "iddpm": lambda: api.denoisers.iddpm(cases.network),
    "iddpm_range": lambda: api.denoisers.iddpm(double, learned_range=True),
    "flow": lambda: api.denoisers.flow(cases.network),
    "song": lambda: api.denoisers.song(cases.network),
    "consistency": lambda: api.denoisers.consistency(cases.network),
}
for _name, _make in PRECONDITIONED.items():
    typed(f"denoisers/{_name}", called, _make)
for _name in ("edm", "vp", "iddpm"):
    typed(f"denoisers/{_name}/cond", called, PRECONDITIONED[_name], cond=True, dtypes=["float32"])


def process(name: str) -> Any:
    return getattr(api.processes, name)()


for _process in ("vp", "sub_vp", "cosine", "flow", "ddpm", "ve", "song_ve", "edm"):
    for _kind in ("eps", "v", "x0"):
        typed(
            f"denoisers/predicts/{_kind}/{_process}",
            called,
            lambda kind=_kind, name=_process: getattr(api.denoisers, kind)(
                cases.network, process(name)
            ),
            dtypes=["float32", "float64"] if _process in ("vp", "ddpm") else ["float32"],
            slope=_process in ("vp", "ddpm"),
        )
for _kind in ("epsilon", "v_prediction", "sample"):
    typed(
        f"denoisers/prediction/{_kind}",
        called,
        lambda kind=_kind: api.denoisers.prediction(
            double, process("ddpm"), kind, quantize=True, learned_range=True
        ),
        dtypes=["float32", "bfloat16"],
        slope=False,
    )


@run("denoisers/prediction/infinite_level")
def infinite_level() -> Any:
    made = api.denoisers.v(cases.network, api.processes.ddpm(rescale_zero_snr=True))
    return jax.jit(made)(cases.points(scale=1.0), jnp.float32(3e4))


CONVERSIONS = ("eps", "score", "v")


def conversions(dtype: str) -> Any:
    x, out = cases.points(dtype=dtype), cases.data(dtype=dtype)
    found = {}
    for name in CONVERSIONS:
        there = getattr(api.denoisers, f"{name}_from_denoised")
        back = getattr(api.denoisers, f"denoised_from_{name}")
        for sigma in (jnp.float32(0.7), jnp.asarray(LEVELS, "float32")):
            key = f"{name}, {sigma.ndim}"
            made = lambda x, out, s, f=there, g=back: (f(x, out, s), g(x, out, s))  # noqa: E731
            found[key] = jax.jit(made)(x, out, sigma)
        found[name] = there(x, out, 0.7), back(x, out, 0.7)
    return found


typed("denoisers/conversions", conversions)
for _name in (*CONVERSIONS, "x0"):
    typed(
        f"denoisers/from_{_name}",
        called,
        lambda name=_name: getattr(api.denoisers, f"from_{name}")(cases.network),
        dtypes=["float32", "bfloat16"],
    )
for _name in CONVERSIONS:
    typed(
        f"denoisers/to_{_name}",
        called,
        lambda name=_name: getattr(api.denoisers, f"to_{name}")(cases.mixture()),
        dtypes=["float32", "bfloat16"],
    )


# ---- guidance


def labelled() -> Any:
    """A denoiser of points with a condition."""
    return cases.Tree()


def worse() -> Any:
    return cases.Tree(0.8)


def free(scale: Any = 2.5, **options: Any) -> Any:
    return api.guidance.classifier_free(labelled(), scale, uncond=np.float32(0.0), **options)


def auto(scale: Any = 2.5) -> Any:
    return api.guidance.autoguidance(labelled(), worse(), scale)


GUIDED = {
    "classifier_free": free,
    "classifier_free/two_calls": lambda: free(one_call=False),
    "classifier_free/of_samples": lambda: free(np.array([1.0, 2.0, 3.0, 0.5])),
    "classifier_free/one": lambda: free(1.0),
    "autoguidance": auto,
    "autoguidance/one": lambda: auto(1.0),
    "interval": lambda: api.guidance.interval(free(), 0.1, 5.0),
    "rescale/v": lambda: api.guidance.rescale(free(), 0.7),
    "rescale/eps": lambda: api.guidance.rescale(free(), 0.7, prediction="eps"),
    "rescale/x0": lambda: api.guidance.rescale(auto(), 0.4, prediction="x0"),
    "adaptive_projected": lambda: api.guidance.adaptive_projected(free()),
    "adaptive_projected/short": lambda: api.guidance.adaptive_projected(
        auto(), eta=0.3, norm_threshold=0.5
    ),
    "cfg_pp": lambda: api.guidance.cfg_pp(labelled(), 0.7, uncond=np.float32(0.0)),
    "cfg_pp/two_calls": lambda: api.guidance.cfg_pp(
        labelled(), 0.7, uncond=np.float32(0.0), one_call=False
    ),
    "clip": lambda: api.guidance.clip(labelled(), -0.5, 0.6),
    "dynamic_threshold": lambda: api.guidance.dynamic_threshold(labelled(), 0.9),
    "dynamic_threshold/max": lambda: api.guidance.dynamic_threshold(
        api.guidance.classifier_free(labelled(), 6.0, uncond=np.float32(0.0)), 0.8, max_value=1.5
    ),
    "rescale_of_projected": lambda: api.guidance.rescale(
        api.guidance.adaptive_projected(api.guidance.interval(free(), 0.1, 5.0), eta=0.2)
    ),
    "interval_of_rescaled": lambda: api.guidance.interval(
        api.guidance.rescale(auto(), 0.5), 0.05, 2.0
    ),
    "clip_of_guided": lambda: api.guidance.clip(
        api.guidance.rescale(api.guidance.interval(free(4.0), 0.1, 50.0)), -0.9, 0.9
    ),
    "threshold_of_cfg_pp": lambda: api.guidance.clip(
        api.guidance.cfg_pp(labelled(), 0.7, uncond=np.float32(0.0)), -0.5, 0.5
    ),
}
for _name, _make in GUIDED.items():
    typed(f"guidance/{_name}", called, _make, cond=True, dtypes=["float32", "bfloat16"])


def guided_sample(name: str, dtype: str) -> Any:
    plan = cases.plan(api.samplers.dpmpp_2m())
    x, cond = cases.tree_points(dtype), jnp.arange(4.0)
    return api.sample(GUIDED[name](), plan, x, cond=cond)


for _name in ("classifier_free", "rescale_of_projected", "clip_of_guided"):
    typed(f"guidance/sample/{_name}", guided_sample, _name)


@run("guidance/traced_scale")
def traced_scale() -> Any:
    x, cond = cases.points(), jnp.arange(4.0)
    made = jax.jit(lambda scale: free(scale)(x, jnp.float32(0.7), cond))
    return made(jnp.float32(2.0)), made(jnp.float32(1.0))


def slope_of(name: str) -> Any:
    x, cond = cases.points(), jnp.arange(4.0)

    def total(scale: Any) -> Any:
        rule = {"free": free, "auto": auto}[name](scale)
        return jnp.sum(api.guidance.rescale(rule)(x, jnp.float32(0.7), cond))

    return jax.jit(jax.value_and_grad(total))(jnp.float32(2.0))


for _name in ("free", "auto"):
    add(f"guidance/slope/{_name}", slope_of, _name)
