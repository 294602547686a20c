"""Networks forward and backward, their convolutions, and losses with their gradients."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from bits_runs import cases
from bits_runs.adapter import api
from bits_runs.registry import add, run, typed

SMALL: dict[str, Any] = {"embed_dim": 8}
NETWORKS = {
    "UNet": ((8, 8, 1), {"channels": (4, 8), **SMALL}),
    "UNet_deep": ((8, 8, 3), {"channels": (4, 4, 8), "num_blocks": 2, "num_heads": 2, **SMALL}),
    "PatchUNet": ((8, 8, 1), {"channels": (4, 8), "num_blocks": (2, 1), **SMALL}),
    "ScoreNet": ((9, 9, 1), {"channels": (4, 4, 8), **SMALL}),
}


def network(name: str, classes: int = 0, **options: Any) -> tuple[Any, Any, Any]:
    """(apply, params, x); the zeros that networks start from are moved, so that all layers act."""
    shape, own = NETWORKS[name]
    made = getattr(api.nn, name.split("_")[0])(
        shape, num_classes=classes, rngs=nnx.Rngs(0), **own, **options
    )
    apply, params = api.nn.functional(made)
    rng = np.random.default_rng(5)
    params = {
        k: jnp.asarray(np.asarray(v) + 0.1 * rng.normal(size=v.shape).astype(np.float32))
        for k, v in sorted(params.items())
    }
    return apply, params, cases.points((3, *shape), scale=1.0)


def forward(name: str, dtype: str, classes: int = 0, slopes: bool = False, **options: Any) -> Any:
    """Outputs, and gradients; in float64 the activations are as wide as the images."""
    kind = None if dtype == "float64" else dtype
    apply, params, x = network(name, classes, dtype=kind, **options)
    x = x.astype(dtype) if dtype == "float64" else x
    c_noise = jnp.asarray([-1.0, 0.1, 0.8], "float32")
    cond = (jnp.array([0, 2, classes]),) if classes else ()

    def total(params: Any, x: Any) -> Any:
        out = apply(params, x, c_noise, *cond)
        return jnp.sum(out**2), out

    if not slopes:
        return jax.jit(total)(params, x)
    return jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))(params, x)


# Gradients take long to compile: training has those of bfloat16 and of classes.
for _name in NETWORKS:
    typed(f"networks/{_name}", forward, _name, dtypes=["float32", "bfloat16"])
for _name in ("UNet", "PatchUNet", "ScoreNet"):
    typed(f"networks/{_name}/slopes", forward, _name, slopes=True, dtypes=["float32"])
    typed(f"networks/{_name}/classes", forward, _name, classes=3, dtypes=["float32"])
    typed(f"networks/{_name}/lax", forward, _name, impl="lax", dtypes=["float32"])
for _name in ("UNet", "ScoreNet"):
    typed(f"networks/{_name}", forward, _name, dtypes=["float64"])


@run("networks/initial_parameters")
def initial() -> Any:
    found = {}
    for name, (shape, options) in NETWORKS.items():
        made = getattr(api.nn, name.split("_")[0])(shape, rngs=nnx.Rngs(1), **options)
        apply, params = api.nn.functional(made)
        found[name] = params, apply.buffers
    return found


CONVOLUTIONS = (
    {"stride": 1},
    {"stride": 1, "padding": 1},
    {"stride": 2},
    {"stride": 2, "padding": 1},
)


def convolution(impl: str, transposed: bool, dtype: str) -> Any:
    """Outputs and slopes of every stride and padding."""
    apply = api.nn.conv_transpose if transposed else api.nn.conv
    options = [o for o in CONVOLUTIONS if not (transposed and "padding" in o)]
    kernel, x = cases.points((3, 3, 2, 4), dtype, 0.3), cases.points((2, 7, 6, 2), dtype, 1.0)

    def total(x: Any, kernel: Any) -> Any:
        made = [apply(x, kernel, impl=impl, **o) for o in options]
        return sum(jnp.sum(out.astype("float32") ** 2) for out in made), made

    return jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))(x, kernel)


for _impl in ("lax", "matmul", "auto"):
    for _name in ("conv", "conv_transpose"):
        _dtypes = ["float32"] if _impl == "auto" else ["float32", "bfloat16"]
        typed(
            f"networks/{_name}/{_impl}",
            convolution,
            _impl,
            _name == "conv_transpose",
            dtypes=_dtypes,
        )


def sampled(name: str) -> Any:
    """Samples by a network that is a pytree, as commands draw them."""
    apply, params, x = network(name)
    denoise = api.denoisers.edm(apply.bind(params), sigma_data=0.5)
    plan = cases.plan(api.samplers.heun(), cases.karras(4))
    return api.sample(denoise, plan, 80 * x, cases.key())


for _name in ("UNet", "PatchUNet", "ScoreNet"):
    add(f"networks/sample/{_name}", sampled, _name)


# ---- losses


def scaled_tanh(params: Any, x: Any, c_noise: Any, cond: Any = None) -> Any:
    return params["a"] * cases.network(x, c_noise, cond) + params["b"]


LOSSES = {
    "edm": {"sigma_data": 0.7},
    "edm_stratified": {"stratified": True, "p_mean": -0.8, "p_std": 1.0},
    "dsm": {},
    "dsm_stratified": {"stratified": True, "sigma": 10.0, "eps": 1e-3},
}


def loss(name: str, dtype: str, cond: bool = False) -> Any:
    kind, options = name.split("_")[0], LOSSES[name]
    params = {"a": jnp.asarray(0.8, dtype), "b": jnp.asarray([0.1, -0.2], dtype)}
    x0, told = cases.data(dtype=dtype), jnp.arange(4.0) if cond else None

    def value(params: Any) -> Any:
        return getattr(api.losses, kind)(scaled_tanh, params, x0, cases.key(), cond=told, **options)

    each = getattr(api.losses, f"{kind}_per_sample")(
        scaled_tanh, params, x0, cases.key(), cond=told, **options
    )
    return jax.jit(jax.value_and_grad(value))(params), each._asdict()


for _name in LOSSES:
    typed(f"losses/{_name}", loss, _name, dtypes=["float32", "float64"])
typed("losses/edm/cond", loss, "edm", cond=True, dtypes=["float32"])


@run("losses/uncertainty")
def uncertainty() -> Any:
    start = api.losses.init_uncertainty(2, dim=8)
    start["weight"] = start["weight"] + jnp.linspace(-0.5, 0.5, 8)
    params = {"a": jnp.float32(0.8), "b": jnp.float32([0.1, -0.2])}

    def value(params: Any, uncertainty: Any) -> Any:
        each = api.losses.edm_per_sample(scaled_tanh, params, cases.data(), cases.key())
        return api.losses.uncertainty_weighted(each, uncertainty)

    levels = jnp.linspace(-1.0, 1.0, 5)
    slopes = jax.jit(jax.value_and_grad(value, argnums=(0, 1)))(params, start)
    return slopes, api.losses.log_uncertainty(start, levels)
