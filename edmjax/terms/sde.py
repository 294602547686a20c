"""The reverse SDE, and the family between it and the probability flow, as diffrax terms.

Time runs forward: `tau = -t`, with `t` the process's own time, so that `tau` rises as noise falls.
With time running backwards the stochastic Runge-Kutta solvers of diffrax 0.7.2 are wrong (its issue
598): their drift comes with the sign of time running forward.
"""

import dataclasses
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import lineax
import numpy as np

from edmjax import scalar
from edmjax._common.arguments import real
from edmjax._common.arrays import has_no_value, register_fields, weighted
from edmjax._common.deprecation import renamed
from edmjax._common.functions import denoiser_as_pytree
from edmjax._common.trees import floating_tree
from edmjax._common.typing import Denoiser, Grid, Keys, Level, PyTree, Scalar
from edmjax.noise.keys import check_key, check_single_key
from edmjax.processes.process import Process
from edmjax.terms.forms import Own, process_of
from edmjax.terms.ode import denoised, in_precision_of
from edmjax.terms.path import wide_shapes


@renamed(lam="eta")
def sde_terms(
    denoise: Denoiser,
    process: Process | None = None,
    brownian: diffrax.AbstractBrownianPath[Any] | None = None,
    *,
    eta: Scalar = 1.0,
    sigma_max: Scalar | None = None,
    sigma_min: Scalar | None = None,
) -> diffrax.MultiTerm[Any]:
    """Returns the SDE of a denoiser from noise to data as drift and diffusion for diffrax.

    In the forward variable `tau = -t`, for a point `y` in the process's own scale,

        dy = -(f y - (1 + eta^2) / 2 g^2 score(y)) dtau + eta g dw

    `eta = 0` is the probability flow and `eta = 1` the reverse of the forward SDE; each has the
    marginals of the process. Source: Song et al. (2021), equations 6 and 13, for the two ends; the
    family is equation 6 of Karras et al. (2022) with `beta = eta^2 sigma' / sigma`.

    The noise does not depend on the point, so Itô and Stratonovich are the same, and solvers for
    additive noise (SEA, SRA1, ShARK) apply. The diffusion is a diagonal operator: no array of the
    size of `x` squared is made.

        solver, process = diffrax.ShARK(), ej.processes.ve(0.002, 80.0)
        tau = ej.terms.sde_times(process, [80.0, 0.002], x)
        path = ej.terms.brownian_path(solver, key, x, tau[0], tau[-1], tol=1e-3)
        terms = ej.terms.sde_terms(denoise, process, path)
        solution = diffrax.diffeqsolve(terms, solver, tau[0], tau[-1], 1 / 128, y, ...)

    `ej.terms.make_form("t", process)` has `enter` and `leave`, from `x` to `y` and back.

    Args:
        denoise: `denoise(x, sigma)` returns `E[x0 | x]` like `x`, in the package's frame, or a dict
            with "x0". `args` of `diffeqsolve`, where it is not None, is its `cond`.
        process: its time and scale; equal steps in it are what a solver with a constant step takes,
            so `ej.processes.ve(sigma_min, sigma_max)` steps in log sigma. Default `edm()`.
        brownian: a path over the interval with the structure and shapes of `x`, and the Lévy area
            that the solver asks for, as `brownian_path` makes it. (With another area diffrax
            raises `TermAndSolverIncompatible` as it starts.) It is one path for the state as a
            whole: the noise of a sample depends on its batch. For noise of a sample's own,
            `jax.vmap` the solve over samples, with a key and a path for each.
        eta: strength of noise, at least 0; a scalar. (Often called lambda: `g` times it.)
        sigma_max, sigma_min: the levels between which the terms will be solved; where given, the
            path must cover them. (Where they are not given, diffrax raises as it runs.)

    Raises:
        TypeError: if an argument is of the wrong kind; in the solver, if times and state differ in
            dtype.
        ValueError: if `eta` is negative or infinite, the levels do not fall or are not positive, or
            the path does not cover the interval; in the solver, if the path or the denoiser's
            output differs from the state in structure or shapes.
    """
    process = process_of(process)
    if not isinstance(brownian, diffrax.AbstractBrownianPath):
        raise TypeError(
            "`brownian` must be a Brownian path of diffrax, such as `ej.terms.brownian_path` "
            f"makes, got {brownian!r:.80}."
        )
    if (sigma_max is None) != (sigma_min is None):
        raise ValueError("Pass both of `sigma_max` and `sigma_min`, or neither.")
    if sigma_max is not None and sigma_min is not None:
        high, low = scalar.host(sigma_max, "sigma_max"), scalar.host(sigma_min, "sigma_min")
        if not scalar.is_traced(high, low):
            _must_cover(brownian, process, high, low)
    eta = real(eta, "eta", least=0)
    drift = Drift(process, eta, denoiser_as_pytree(denoise, "denoise"))
    shape = getattr(brownian, "shape", None)
    like = None if shape is None else _shapes(shape)
    return diffrax.MultiTerm(
        diffrax.ODETerm(drift), diffrax.ControlTerm(Diffusion(process, eta, like), brownian)
    )


def sde_times(process: Process | None, sigmas: Grid, x: PyTree) -> jax.Array:
    """`tau = -t` of each level, rising as levels fall, in the precision to solve for `x` in.

    The first and the last are `t0` and `t1`, all of them the `ts` of `diffrax.StepTo`. Raises
    the errors of `Form.times`.
    """
    return -Own(process_of(process)).times(sigmas, x)


def brownian_path(
    solver: diffrax.AbstractSolver[Any],
    key: Keys,
    x: PyTree,
    t0: Scalar,
    t1: Scalar,
    *,
    tol: Scalar,
) -> diffrax.VirtualBrownianTree:
    """Returns a Brownian path for `x` over `[t0, t1]`, with the Lévy area that `solver` asks for.

    Args:
        solver: a solver of SDEs. Stochastic Runge-Kutta methods need space-time (or
            space-time-time) Lévy area, Euler and Heun the increments alone.
        key: one typed key.
        x: arrays of the shapes of the noise, one path for all of it. A sample's noise depends on
            the samples beside it.
        t0, t1: the interval in `tau`, as `sde_times` gives it.
        tol: the time to which the path is resolved; must be below the shortest step.

    Raises:
        TypeError: if `solver` is not a solver of diffrax, `key` not a typed key, `x` not floating,
            or a time is not a number, or `key` is more than one key.
        ValueError: if `t0` is not below `t1` (time runs forward here)
            or not finite, or `tol` not positive.
    """
    check_key(key)
    check_single_key(key)  # the path is one for all samples
    if not isinstance(solver, diffrax.AbstractSolver):
        raise TypeError(
            f"`solver` must be a solver of diffrax, such as `diffrax.ShARK()`, got {solver!r:.80}."
        )
    start, end = scalar.host(t0, "t0"), scalar.host(t1, "t1")
    if not scalar.is_traced(start, end) and not -np.inf < start < end < np.inf:
        raise ValueError(f"SDEs are solved forward: t0 must be below t1, got {t0} and {t1}.")
    real(tol, "tol", above=0)
    asked = getattr(solver, "minimal_levy_area", diffrax.AbstractBrownianIncrement)
    made = [diffrax.BrownianIncrement, diffrax.SpaceTimeLevyArea, diffrax.SpaceTimeTimeLevyArea]
    area = next(kind for kind in made if issubclass(kind, asked))
    shape = wide_shapes(floating_tree(x, "x", shapes=True))
    times: dict[str, Any] = {"t0": t0, "t1": t1, "tol": tol}
    return diffrax.VirtualBrownianTree(**times, shape=shape, key=key, levy_area=area)


@register_fields
@dataclasses.dataclass(frozen=True, eq=False)
class Drift:
    """The drift as a function of `(tau, y, args)`."""

    process: Any
    eta: Any
    denoise: Denoiser

    def __call__(self, tau: Level, y: PyTree, args: PyTree) -> Any:
        t = -in_precision_of(tau, y)
        scale = self.process.scale(t)
        x = jax.tree.map(lambda leaf: leaf / scale, y)
        f, g = self.process.rates(t)
        # (1 + eta^2) / 2 g^2 score, with the score (scale D - y) / variance.
        pull = (1 + jnp.asarray(self.eta, t.dtype) ** 2) / 2 * g**2 / self.process.variance(t)
        outputs = denoised(self.denoise, x, self.process.sigma(t), args)
        return weighted((-f - pull, y), (pull * scale, outputs))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Diffusion:
    """The diffusion as a function of `(tau, y, args)`: a diagonal operator, whatever `y` is."""

    process: Any
    eta: Any
    like: Any = dataclasses.field(metadata={"static": True})  # structure and shapes of the path

    def __call__(self, tau: Level, y: PyTree, args: PyTree) -> lineax.DiagonalLinearOperator:
        # A path of one sample would be broadcast, and all samples would have its noise.
        if self.like is not None and self.like != _shapes(y):
            (path, shapes), state = self.like, jax.tree.map(jnp.shape, y)
            raise ValueError(
                f"The Brownian path has the shapes {path.unflatten(shapes)}, and the state "
                f"{state}: build it with `ej.terms.brownian_path` from the same `x`."
            )
        t = -in_precision_of(tau, y)
        g = jnp.asarray(self.eta, t.dtype) * self.process.diffusion(t)
        return lineax.DiagonalLinearOperator(jax.tree.map(lambda v: jnp.full_like(v, g), y))


def _shapes(tree: PyTree) -> tuple[Any, tuple[Any, ...]]:
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple(tuple(leaf.shape) for leaf in leaves)


def _must_cover(brownian: Any, process: Any, sigma_max: Any, sigma_min: Any) -> None:
    if not 0 < sigma_min < sigma_max < np.inf:
        raise ValueError(
            "`sigma_max` must be above `sigma_min` and that above 0, both finite, got "
            f"{sigma_max} and {sigma_min}."
        )
    start, end = (
        -Own(process).time(np.asarray(sigma, np.float64)) for sigma in (sigma_max, sigma_min)
    )
    low, high = brownian.t0, brownian.t1
    if has_no_value(low) or has_no_value(high):
        return
    low, high = float(low), float(high)
    # A path in float32 ends where the times of a float32 state do.
    room = 1e-6 * max(abs(start), abs(end))
    if not (low <= start + room and end - room <= high):
        raise ValueError(
            f"The Brownian path covers [{low:g}, {high:g}], and from sigma {sigma_max} to "
            f"{sigma_min} the time -t runs from {start:g} to {end:g}: build the path with "
            "`ej.terms.brownian_path` over `ej.terms.sde_times`."
        )
