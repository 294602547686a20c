"""Within `jax.shard_map`, with its check of the types of arrays on, calls give what they give."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec as P
from support.helpers import over

import edmjax as ej
from edmjax import adaptive, likelihood, samplers as s

KEY = jax.random.key(0)
X = 8.0 * jax.random.normal(KEY, (4, 2))
PROBLEM = ej.problems.Gaussian([0.3, 0.1], 0.25)
ENDS, LOOSE = {"sigma_max": 8.0, "sigma_min": 0.1}, {"rtol": 1e-2, "atol": 1e-2}
HEUN = ej.make_plan(s.heun(), ej.schedules.karras(5))
DDPM = ej.make_plan(s.ddpm(), ej.schedules.karras(5))
UP = ej.make_plan(s.heun(), ej.schedules.karras(5, final_zero=False)[::-1])
CALLS = {
    "sample": lambda x: ej.sample(PROBLEM, HEUN, x),
    "sweep": lambda x: ej.sweep(PROBLEM, [HEUN], x)[0],
    "checked": lambda x: ej.sample_checked(PROBLEM, HEUN, x)[0],
    "sweep, noise": lambda x: ej.sweep(PROBLEM, [DDPM, HEUN], x, ej.sample_keys(KEY, len(x)))[0],
    "path": lambda x: ej.sample(PROBLEM, DDPM, x, ej.brownian(ej.sample_keys(KEY, len(x)))),
    "noise": lambda x: ej.sample(PROBLEM, DDPM, x, KEY),
    "multistep": lambda x: adaptive.sample(PROBLEM, adaptive.multistep(), x, **ENDS)[0],
    "differentiable": lambda x: adaptive.sample(
        PROBLEM, adaptive.multistep(**LOOSE), x, differentiable=True, **ENDS
    )[0],
    "dpm": lambda x: adaptive.sample(PROBLEM, adaptive.dpm_adaptive(), x, **ENDS)[0],
    "diffrax": lambda x: ej.terms.adaptive_sample(PROBLEM, x, **ENDS, **LOOSE)[0],
    "diffrax, one state": lambda x: ej.terms.adaptive_sample(
        PROBLEM, x, per_sample=False, **ENDS, **LOOSE
    )[0],
    "likelihood": lambda x: likelihood.log_likelihood(PROBLEM, x / 8, **ENDS, **LOOSE),
    "likelihood, plan": lambda x: likelihood.log_likelihood(PROBLEM, x / 8, plan=UP),
    "encode": lambda x: likelihood.encode(PROBLEM, x / 8, **ENDS, **LOOSE),
    "gradient": lambda x: jax.grad(lambda x: jnp.sum(ej.sample(PROBLEM, HEUN, x) ** 2))(x),
}
# One device is enough: the types are the same on any number.
MESH = jax.make_mesh((1,), ("data",))


SLOW = {"encode", "diffrax, one state"}


@pytest.mark.parametrize("name", over(CALLS, ("multistep",), CALLS.keys() - SLOW))
def test_it_is_the_call_itself(name):
    run = jax.shard_map(CALLS[name], mesh=MESH, in_specs=P("data"), out_specs=P("data"))
    got = jax.jit(run)(jax.device_put(X, NamedSharding(MESH, P("data"))))
    np.testing.assert_allclose(got, CALLS[name](X), rtol=1e-5, atol=1e-5)


# What varies over the mesh, with all else the same on every device: (x, key, the condition, a
# number of the denoiser).
VARIES = {
    "keys": (ej.sample, DDPM, (P(), P("data"), P(), P())),
    "keys of a path": (ej.sample, DDPM, (P(), P("data"), P(), P())),
    "keys of a sweep": (ej.sweep, [DDPM, HEUN], (P(), P("data"), P(), P())),
    "condition": (ej.sample, HEUN, (P(), P(), P("data"), P())),
    "parameters": (ej.sample, HEUN, (P(), P(), P(), P("data"))),
    "parameters, adaptive": (
        lambda denoise, method, x, key, cond: adaptive.sample(
            denoise, method, x, cond=cond, **ENDS
        ),
        adaptive.dpm_adaptive(),
        (P(), P(), P(), P("data")),
    ),
}


def _net(scale, x, c_noise, cond):
    return scale * cond[:, None] * x


@pytest.mark.parametrize("name", over(VARIES, ("condition",), ("keys",)))
def test_any_argument_may_vary(name):
    run, plan, specs = VARIES[name]
    of_path = name == "keys of a path"

    def made(x, keys, cond, scale):
        denoise = ej.denoisers.edm(jax.tree_util.Partial(_net, scale[0]))
        out = run(denoise, plan, x, ej.brownian(keys) if of_path else keys, cond=cond)
        return out if name in ("keys", "keys of a path", "condition", "parameters") else out[0]

    arguments = (X, ej.sample_keys(KEY, 4), jnp.full(4, 0.2), jnp.ones(1))
    got = jax.jit(jax.shard_map(made, mesh=MESH, in_specs=specs, out_specs=P("data")))(
        *(
            jax.device_put(v, NamedSharding(MESH, spec))
            for v, spec in zip(arguments, specs, strict=True)
        )
    )
    np.testing.assert_allclose(got, made(*arguments), rtol=1e-5, atol=1e-5)
