"""Log-densities by every trace and every way along the flow; codes and the way back."""

from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from bits_runs import cases
from bits_runs.adapter import api
from bits_runs.registry import add, run, typed

ENDS = {"sigma_min": 0.01, "sigma_max": 20.0}


def levels(n: int = 8) -> Any:
    return api.schedules.karras(n, ENDS["sigma_min"], ENDS["sigma_max"], final_zero=False)


def up(sampler: Any = None) -> Any:
    return api.make_plan(sampler or api.samplers.heun(), api.schedules.reverse(levels()))


def down() -> Any:
    return api.make_plan(api.samplers.heun(), levels())


WAYS = {
    "plan": lambda: {"plan": up()},
    "unipc": lambda: {"plan": up(api.samplers.unipc(order=3))},
    "adaptive": lambda: ENDS | {"rtol": 1e-3, "atol": 1e-3},
    "diffrax_heun": lambda: ENDS | {"rtol": 1e-2, "atol": 1e-2, "solver": diffrax.Heun()},
    "reversible": lambda: ENDS | {"solver": api.likelihood.reversible(8)},
}
TRACES = {
    "exact": {},
    "hutchinson": {"num_probes": 2},
    "hutchinson_gaussian": {"num_probes": 2, "probes": "gaussian"},
    "hutch++": {"num_probes": 6},
}


def density(way: str, trace: str, dtype: str) -> Any:
    options = WAYS[way]() | TRACES[trace]
    if trace != "exact":
        options["key"] = cases.key()
    log_p, stats = api.likelihood.log_likelihood(
        cases.mixture(),
        cases.data(dtype=dtype),
        trace=trace.split("_")[0],
        return_stats=True,
        **options,
    )
    spread = () if stats.standard_error is None else stats.standard_error
    return log_p, spread, stats.nfe, stats.x, stats.arrived


for _way in WAYS:
    for _trace in TRACES:
        if _trace == "exact" or _way == "plan" or (_way, _trace) == ("adaptive", "hutchinson"):
            _both = _way in ("plan", "reversible") and _trace == "exact"
            typed(
                f"likelihood/{_way}/{_trace}",
                density,
                _way,
                _trace,
                dtypes=["float32", "float64", "bfloat16"] if _both else ["float32"],
            )


@run("likelihood/images")
def images() -> Any:
    return api.likelihood.log_likelihood(
        cases.images(),
        cases.data((3, *cases.IMAGE)),
        plan=up(),
        trace="hutchinson",
        num_probes=2,
        key=api.sample_keys(cases.key(), 3),
    )


@run("likelihood/trees")
def trees() -> Any:
    x0 = jax.tree.map(lambda leaf: leaf / 80, cases.tree_points())
    return api.likelihood.log_likelihood(cases.Tree(), x0, plan=up(), cond=jnp.arange(4.0))


@run("likelihood/given_probes_and_prior")
def given() -> Any:
    def log_prior(x: Any) -> Any:
        return -0.5 * jnp.sum((x / 20.0) ** 2, axis=1)

    return api.likelihood.log_likelihood(
        cases.mixture(),
        cases.data(),
        plan=up(),
        trace="hutchinson",
        num_probes=3,
        probes=cases.points((3, 4, 2), scale=1.0),
        log_prior=log_prior,
        sigma_data=0.7,
    )


def slope(way: str) -> Any:
    options = WAYS[way]()

    def total(x: Any) -> Any:
        return jnp.sum(api.likelihood.log_likelihood(cases.mixture(), x, **options))

    return jax.jit(jax.value_and_grad(total))(cases.data())


for _way in ("plan", "reversible"):
    add(f"likelihood/slope/{_way}", slope, _way)


# ---- codes


def codes(way: str, dtype: str) -> Any:
    x0 = cases.data((3, *cases.IMAGE), dtype)
    options = WAYS[way]()
    code = api.likelihood.encode(cases.images(), x0, **options)
    if way in ("plan", "unipc"):
        options = {"plan": down()}
    return code, api.likelihood.decode(cases.images(), code, **options)


for _way in WAYS:
    typed(
        f"codes/{_way}",
        codes,
        _way,
        dtypes=["float32", "bfloat16", "float64"]
        if _way in ("plan", "reversible")
        else ["float32"],
    )


@run("codes/round_trip")
def round_trip() -> Any:
    x0, problem = cases.data(), cases.mixture()
    return {
        "plan": api.likelihood.round_trip(problem, x0, plan=(up(), down())),
        "reversible": api.likelihood.round_trip(problem, x0, **WAYS["reversible"]()),
    }


@run("codes/from_noise")
def from_noise() -> Any:
    x, problem = cases.points(scale=20.0), cases.mixture()
    to_zero = api.make_plan(api.samplers.dpmpp_2m(), api.schedules.karras(6, 0.01, 20.0))
    return {
        "plan": api.likelihood.decode(problem, x, plan=to_zero),
        "reversible": api.likelihood.decode(problem, x, **WAYS["reversible"]()),
    }


# ---- bits


def bits(dtype: str) -> Any:
    greys = np.random.default_rng(4).integers(0, 256, (3, *cases.IMAGE))
    x = jnp.asarray(greys / 127.5 - 1, dtype)
    spread = api.likelihood.dequantize(x, cases.key(), step=1 / 127.5)
    numbers = api.likelihood.bits_per_dim(jnp.asarray([-3.0, 10.0, 0.0]), 72, step=1 / 127.5)
    return spread, numbers


typed("bits/dequantize", bits, dtypes=["float32"])


@run("bits/images")
def image_bits() -> Any:
    greys = np.random.default_rng(4).integers(0, 256, (5, *cases.IMAGE))
    scaled = (greys / 127.5 - 1).astype(np.float32)
    return api.evaluation.image_bits(
        cases.images(), scaled, num_levels=6, num_probes=2, chunk_size=3
    )
