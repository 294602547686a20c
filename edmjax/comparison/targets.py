"""What solvers are compared on: a denoiser, starts, and where the flow takes them.

Everything is float64. The flow goes from sigma 80 to 0.002, and a reference is Dopri8 in log sigma,
with steps for each sample of its own, at a tolerance of 1e-10 (1e-9 on a trained network).
"""

import dataclasses
import io
import zlib
from pathlib import Path
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array

import edmjax as ej
from edmjax._common.functions import width_of
from edmjax._common.typing import Denoiser, Sigma
from edmjax.training.files import write_file

HIGH, LOW = 80.0, 0.002

# The standard deviation of the data, a coordinate; the error that is read; the share of the samples
# that are taken. P3's root mean square is that of the few samples that end in another digit, and an
# evaluation of it costs twice one of P2, and forty times one of P1.
PROBLEMS = {
    "P1": (0.70807922, "rms", 1.0),
    "P2": (0.5, "rms", 1.0),
    "P3": (0.54390235, "median", 0.5),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Target:
    """A flow to solve.

    Attributes:
        name: in the rows.
        denoise: the denoiser.
        sigma_data: the standard deviation of the data.
        x: the starts, at sigma 80.
        law: the problem, which has exact samples; None of a trained network.
        judged_by: which error tables and plots read, "rms" or "median".
        share: the share of the samples asked for that it takes.
    """

    name: str
    denoise: Denoiser
    sigma_data: float
    x: Array
    law: Any
    judged_by: str
    share: float = 1.0


def problem(name: str, num_samples: int, seed: int) -> Target:
    """One of `ej.problems.P1`, `P2` and `P3`, with exact starts at sigma 80."""
    law, (width, judged_by, share) = getattr(ej.problems, name)(), PROBLEMS[name]
    x = law.sample(jax.random.key(seed), int(num_samples * share), sigma=HIGH)
    return Target(name, law, width, x, law, judged_by, share)


def trained(path: str, num_samples: int, seed: int) -> Target:
    """A trained network, its arrays in float64, from starts `80 n`.

    Raises as `ej.training.load_denoiser` does, and ValueError where it takes conditions.
    """
    denoise, shape, *_, conditions, _ = ej.training.load_trained(path)
    if conditions is not None:
        raise ValueError(
            f"The network in {path} was trained with a condition, and solvers are compared on "
            "networks without: edmjax fit-plan --cond FILE compares plans for conditions."
        )
    denoise = jax.tree.map(_wide, denoise)
    x = HIGH * jax.random.normal(jax.random.key(seed), (num_samples, *shape), jnp.float64)
    # The name says which weights: rows and references of another training do not pass for these.
    weights = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(denoise))
    name = f"{Path(path).resolve().name}-{zlib.crc32(weights):08x}"
    return Target(name, denoise, float(width_of(denoise)), x, None, "rms")


def _wide(leaf: Any) -> Any:
    floating = jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
    return jnp.asarray(leaf, jnp.float64) if floating else leaf


def reference(target: Target, cached: Path) -> np.ndarray:
    """x(0.002) of each start: from the file, or computed and written there."""
    x = np.asarray(target.x)
    if cached.exists():
        with np.load(cached) as stored:
            if np.array_equal(stored["x"], x):
                return stored["x0"]
    tolerance = 1e-9 if target.law is None else 1e-10
    x0, _ = solved(target, diffrax.Dopri8(), tolerance, form="log_sigma", per_sample=True)
    content = io.BytesIO()
    np.savez(content, x=x, x0=np.asarray(x0))
    write_file(cached, content.getvalue())
    return np.asarray(x0)


def solved(
    target: Target, solver: diffrax.AbstractSolver[Any], tolerance: float, **options: Any
) -> tuple[Array, Array]:
    """x(0.002) of each start, and the evaluations, by adaptive steps of a solver of diffrax.

    `options` are those of `ej.terms.adaptive_sample`. RuntimeError where it does not arrive.
    """
    options |= {"sigma_max": HIGH, "sigma_min": LOW, "rtol": tolerance, "atol": tolerance}
    x0, report = ej.terms.adaptive_sample(target.denoise, target.x, solver=solver, **options)
    report.check()
    return x0, report.nfe


def perturbed(target: Target, size: float) -> Denoiser:
    """The target's denoiser with a fixed smooth error, as a network has one: with F its output,

        D' = D + size c_out(sigma) f(c_in x, log sigma)

    and f of unit size a coordinate, 256 cosines with random directions: `size` is what is wrong
    with F, whose own size is 1 (c_in and c_out of Karras et al. 2022, Table 1). Where it is 0, this
    is the denoiser itself.
    """
    if size == 0:
        return target.denoise
    rng, cosines, d = np.random.default_rng(20), 256, target.x[0].size
    # c_in x has length sqrt(d), so an angle turns by about 2 over it.
    inner = rng.normal(size=(d, cosines)) * 2 / np.sqrt(d)
    levels, phases = rng.normal(size=cosines) / 2, rng.uniform(0, 2 * np.pi, cosines)
    outer = rng.normal(size=(cosines, d)) * np.sqrt(2 / cosines)
    waves = inner, levels, phases, outer
    return Partial(_off, target.denoise, np.float64(size), np.float64(target.sigma_data), waves)


def _off(
    denoise: Any, size: Any, sigma_data: Any, waves: tuple[Any, ...], x: Array, sigma: Sigma
) -> Array:
    inner, levels, phases, outer = waves
    flat = x.reshape(len(x), -1)
    level = jnp.broadcast_to(sigma, (len(x),))[:, None]
    total = jnp.hypot(level, sigma_data)
    angles = (flat / total) @ inner + jnp.log(level) * levels + phases
    field = jnp.cos(angles) @ outer
    error = size * level * sigma_data / total * field
    return denoise(x, sigma) + error.reshape(x.shape)
