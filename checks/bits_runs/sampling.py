"""Options of `sample` and `trajectory`: shapes, conditions, correctors, scales, raw outputs."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bits_runs import adapter, cases
from bits_runs.adapter import api
from bits_runs.registry import add, run, typed

# One of each kind: one step, history, inner rows with noise, several draws a row.
KINDS = (
    "heun()",
    "unipc()",
    "churn(heun(), s_churn=8.0, s_min=0.05, s_max=50.0, s_noise=1.003)",
    "seeds_2()",
)


def draws(plan: Any, x: Any, more: int = 0) -> Any:
    """Noise for a plan, made by NumPy; `more` draws for a corrector."""
    count = plan.num_draws + more
    return jax.tree.map(lambda leaf: cases.points((count, *leaf.shape), str(leaf.dtype), 1.0), x)


def sample(text: str, denoise: Any, x: Any, **options: Any) -> Any:
    plan = cases.plan(adapter.sampler(text))
    source = {} if "key" in options or not plan.num_draws else {"noise": draws(plan, x)}
    return api.sample(denoise, plan, x, **source, **options)


# ---- shapes and dtypes


def images(text: str, dtype: str) -> Any:
    """Held as matrices on a CPU."""
    x = cases.points((3, *cases.IMAGE), dtype)
    return sample(text, cases.images(), x, key=cases.key())


def trees(text: str, dtype: str) -> Any:
    return sample(text, cases.Tree(), cases.tree_points(dtype), key=cases.key())


def one(text: str, dtype: str) -> Any:
    """One sample without the axis of samples."""
    x = cases.points((2,), dtype)
    return sample(text, cases.mixture(), x, key=cases.key(), batched=False)


def one_image(text: str, dtype: str) -> Any:
    x = cases.points(cases.IMAGE, dtype)
    return sample(text, cases.images(), x, key=cases.key(), batched=False)


def one_key_a_sample(text: str, dtype: str) -> Any:
    x = cases.points(dtype=dtype)
    keys = api.sample_keys(cases.key(), 10)[3:7]
    return sample(text, cases.mixture(), x, key=keys)


def conditions(text: str, dtype: str) -> Any:
    x, cond = cases.tree_points(dtype), jnp.arange(4.0)
    return sample(text, cases.Tree(), x, cond=cond)


def function(text: str, dtype: str) -> Any:
    """A plain function, traced anew."""
    problem = cases.mixture()
    return sample(text, lambda x, sigma: problem(x, sigma), cases.points(dtype=dtype))


def mixed_dtypes(text: str) -> Any:
    x = {"a": cases.points(dtype="bfloat16"), "b": cases.points((4, 2, 3, 2))}
    return sample(text, cases.Tree(), x, key=cases.key())


for _text in KINDS:
    typed(f"sampling/images/{_text}", images, _text)
    typed(f"sampling/trees/{_text}", trees, _text)
    typed(f"sampling/one/{_text}", one, _text, dtypes=["float32"])
    typed(f"sampling/cond/{_text}", conditions, _text)
    typed(f"sampling/function/{_text}", function, _text, dtypes=["float32", "float64"])
for _text in KINDS[2:]:
    typed(f"sampling/one_key_a_sample/{_text}", one_key_a_sample, _text, dtypes=["float32"])
    typed(f"sampling/one_image/{_text}", one_image, _text, dtypes=["float32", "bfloat16"])
    add(f"sampling/mixed_dtypes/{_text}", mixed_dtypes, _text)


# ---- trajectories


def path(text: str, dtype: str, save: Any = None) -> Any:
    plan, x = cases.plan(adapter.sampler(text)), cases.points((3, *cases.IMAGE), dtype)
    options = {} if save is None else {"save": save}
    return api.trajectory(cases.images(), plan, x, noise=draws(plan, x), **options)


def means(x: Any, denoised: Any, sigma: Any) -> Any:
    return {"mean": jnp.mean(denoised, axis=0), "sigma": sigma, "gap": x - denoised}


for _text in (KINDS[1], KINDS[2]):
    typed(f"sampling/trajectory/{_text}", path, _text)
    typed(f"sampling/trajectory_save/{_text}", path, _text, dtypes=["float32"], save=means)


# ---- correctors

CORRECTORS = {
    "langevin": {"norm": "sample"},
    "langevin_batch": {"norm": "batch"},
    "langevin_sqrt_d": {"norm": "sqrt_d"},
    "langevin_batch_sqrt_d": {"norm": "batch_sqrt_d"},
    "annealed_langevin": {},
}


def corrector(name: str, **options: Any) -> Any:
    make = api.correctors.annealed_langevin if name.startswith("annealed") else None
    options = CORRECTORS[name] | options
    return (make or api.correctors.langevin)(**options)


def corrected(name: str, text: str, dtype: str, given: bool = False, **options: Any) -> Any:
    made = corrector(name, **options)
    plan, x = cases.plan(adapter.sampler(text)), cases.points((3, *cases.IMAGE), dtype)
    if not given:
        return api.sample(cases.images(), plan, x, cases.key(), corrector=made)
    # On the point that a step ends in, there is no call at sigma 0.
    calls = plan.nfe - bool(options.get("on_result"))
    noise = draws(plan, x, more=calls * options.get("num_steps", 1))
    return api.sample(cases.images(), plan, x, noise=noise, corrector=made)


for _name in CORRECTORS:
    for _late in (False, True):
        _where = "result" if _late else "point"
        for _text in ("euler()", "ddpm()"):
            _first = _name in ("langevin", "annealed_langevin")
            if _text == "ddpm()" and not _first:
                continue
            typed(
                f"sampling/corrector/{_name}/{_where}/{_text}",
                corrected,
                _name,
                _text,
                dtypes=["float32", "float64", "bfloat16"]
                if _text == "euler()" and _first
                else ["float32"],
                given=_text == "euler()",
                on_result=_late,
            )


@run("sampling/corrector/several_moves")
def several_moves() -> Any:
    return corrected("langevin", "euler()", "float32", num_steps=3, snr=0.1)


@run("sampling/corrector/of_a_process")
def of_a_process() -> Any:
    made = corrector("annealed_langevin", process=api.processes.vp(), num_steps=2)
    plan = cases.plan(adapter.sampler("ancestral_sampling(processes.vp())"))
    return api.sample(cases.mixture(), plan, cases.points(), cases.key(), corrector=made)


@run("sampling/corrector/function", modes=("x32", "x64"))
def plain_corrector() -> Any:
    """A function that declares nothing, handed the key of one draw a sample."""

    def move(denoise: Any, x: Any, sigma: Any, key: Any) -> Any:
        noise = jax.vmap(lambda k: jax.random.normal(k, x.shape[1:], x.dtype))(key)
        return x + 0.1 * (denoise(x, sigma) - x) + (0.1 * sigma * noise).astype(x.dtype)

    x, plan = cases.points(), cases.plan(adapter.sampler("ddim(eta=0.5)"))
    made = api.sample(cases.mixture(), plan, x, cases.key(), corrector=move)
    return made, api.total_nfe(plan, move)


# ---- scales of processes, infinite first levels, learned variances, raw outputs

PROCESSES = {
    "vp": lambda: api.processes.vp().levels(np.linspace(1.0, 1e-3, 7)),
    "sub_vp": lambda: api.processes.sub_vp().levels(np.linspace(1.0, 1e-3, 7)),
    "ddpm": lambda: api.processes.ddpm().grid(6),
    "flow": lambda: api.processes.flow().levels(np.linspace(1.0, 0.0, 7)),
    "cosine": lambda: api.processes.cosine().levels(np.linspace(1.0, 0.0, 7)),
    "zero_snr": lambda: api.processes.ddpm("scaled_linear", rescale_zero_snr=True).grid(6),
}
SCALED = ("euler()", "heun()", "dpmpp_2m()", "unipc()", "ddpm()", "dpmpp_2m_sde()", "sa_solver()")


def scaled_plan(process: str, text: str) -> Any:
    return adapter.plan_arrays(cases.plan(adapter.sampler(text), PROCESSES[process]()))


def scaled(process: str, text: str, dtype: str) -> Any:
    plan = cases.plan(adapter.sampler(text), PROCESSES[process]())
    x = cases.points(dtype=dtype, scale=1.0)
    return api.sample(cases.mixture(), plan, x, noise=draws(plan, x))


for _process in PROCESSES:
    for _text in SCALED:
        _infinite = _process in ("flow", "cosine", "zero_snr")
        if _infinite and _text == "heun()":
            continue  # it has no weights from an infinite level
        add(f"sampling/scale_plan/{_process}/{_text}", scaled_plan, _process, _text)
    for _text in ("dpmpp_2m()", "ddpm()"):
        typed(f"sampling/scale/{_process}/{_text}", scaled, _process, _text)


class Learned:
    """A denoiser that returns the logarithms of variances, with clipped and raw outputs."""

    def __init__(self, raw: bool = False):
        self.raw = raw

    def __call__(self, x: Any, sigma: Any) -> Any:
        x0 = cases.mixture()(x, sigma)
        raw = {"raw": 1.1 * x0} if self.raw else {}
        return {"x0": jnp.clip(x0, -0.8, 0.8), "log_var": jnp.sin(x), **raw}


def learned(given: bool, dtype: str, raw: bool = False) -> Any:
    plan = cases.plan(adapter.sampler("ddpm('learned_range')"), api.processes.ddpm().grid(6))
    x = cases.points(dtype=dtype, scale=1.0)
    source = {"noise": draws(plan, x)} if given else {"key": cases.key()}
    made = api.sample(Learned(raw), plan, x, **source)
    return {"plan": adapter.plan_arrays(plan), "x0": made}


typed("sampling/learned_variance/key", learned, False)
typed("sampling/learned_variance/noise", learned, True)


def raw(text: str, which: str, dtype: str) -> Any:
    """The output before clipping, or the unconditional one, in the direction of a step."""
    plan, x = cases.plan(adapter.sampler(text)), cases.points(dtype=dtype)
    if which == "clip":
        return api.sample(
            api.guidance.clip(cases.mixture(), -0.8, 0.8), plan, x, noise=draws(plan, x)
        )
    guided = api.guidance.cfg_pp(cases.Tree(), 0.7, uncond=np.float32(0.0))
    return api.sample(guided, plan, x, noise=draws(plan, x), cond=jnp.arange(4.0))


for _text in (
    "euler_cfg_pp()",
    "ddim(eta=0.5, use_clipped_model_output=False)",
    "ancestral(euler_cfg_pp(), eta=0.5)",
    "dpmpp_2m()",
):
    typed(f"sampling/raw_clip/{_text}", raw, _text, "clip")
    typed(f"sampling/raw_cfg_pp/{_text}", raw, _text, "cfg_pp", dtypes=["float32", "bfloat16"])
