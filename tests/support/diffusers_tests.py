"""What diffusers' scheduler tests run on: a ramp of numbers, a "network" and float32 tables.

And a loop over a plan in NumPy, in float64, around denoisers of this package.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

import edmjax as ej
from support.torch_random import normals


def ramp(shape, down=False):
    """Those tests' `dummy_sample_deter`, or with `down` their `dummy_noise_deter`."""
    batch, *rest = shape
    size = math.prod(shape)
    count = np.arange(size)[::-1] if down else np.arange(size)
    return np.moveaxis(count.reshape(*rest, batch) / size, -1, 0)


def net(x, t):
    """Those tests' `dummy_model`; `t` is a number, or one a sample."""
    t = jax.numpy.reshape(t, (-1, *[1] * (x.ndim - 1)))
    return x * t / (t + 1)


class Loop(NamedTuple):
    """Plans that are run one after the other, from `x`, with `noise` for their draws.

    A tuple of two plans ends with a step of first order, the second one twice as long in sigma: the
    sample is the one of a last step of length 0, to which such steps are linear.
    """

    denoise: Any
    plans: list[ej.Plan] | tuple[ej.Plan, ej.Plan]
    x: np.ndarray
    noise: Callable[[ej.Plan], Any] = lambda plan: None


@jax.jit
def _call(denoise, x, sigma):
    return denoise(x, sigma)


def run(loop: Loop) -> np.ndarray:
    """The sample of a loop."""
    with jax.enable_x64(True):
        if isinstance(loop.plans, tuple):
            near, far = (_run(loop.denoise, plan, loop.x, loop.noise(plan)) for plan in loop.plans)
            return 2 * near - far
        x = loop.x
        for plan in loop.plans:
            x = _run(loop.denoise, plan, x, loop.noise(plan))
        return x


def _run(denoise, plan, x, noise):
    scale = np.ones(plan.nfe + 1) if plan.scale is None else plan.scale
    points, outputs, raws = [np.asarray(x)], [], []
    tables = [(plan.y, points), (plan.d, outputs)]
    tables += [] if plan.r is None else [(plan.r, raws)]
    for k in range(plan.nfe + 1):
        point = sum(
            weights[k, j] * kept[-1 - j]
            for weights, kept in tables
            for j in np.flatnonzero(weights[k])
        )
        for slot in np.flatnonzero(plan.draws[k] >= 0):
            point = point + plan.z[k, slot] * noise[plan.draws[k, slot]]
        points.append(point)
        if k < plan.nfe:
            got = _call(denoise, point / scale[k], plan.sigmas[k])
            both = (got["x0"], got["raw"]) if isinstance(got, dict) else (got, got)
            outputs.append(np.asarray(both[0]))
            raws.append(np.asarray(both[1]))
    return points[-1]


def process_of(options):
    """`processes.ddpm`, with the table as diffusers has it: products in float32.

    Near timestep 0, where it is a difference of numbers near 1, a level has three digits.
    """
    abar = np.cumprod(1 - betas_of(options), dtype=np.float64).astype(np.float32)
    table = np.sqrt((1 - abar) / abar).astype(np.float64)
    return ej.processes.DDPM(table, len(table))


def betas_of(options):
    total, single = options["num_train_timesteps"], np.float32
    if options["beta_schedule"] == "linear":
        start, end = single(options["beta_start"]), single(options["beta_end"])
        # `torch.linspace` counts up in the first half, down in the other, with one rounding each.
        step, i = float((end - start) / single(total - 1)), np.arange(total)
        up, down = float(start) + step * i, float(end) - step * (total - 1 - i)
        return np.where(i < total // 2, up, down).astype(single)
    alpha = np.cos((np.arange(total + 1) / total + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.minimum(1 - alpha[1:] / alpha[:-1], 0.999).astype(single)


def torch_draws(row) -> Iterator[np.ndarray]:
    return normals(0, tuple(row["shape"]))
