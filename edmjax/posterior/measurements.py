"""Measurements: what was measured of a sample, and how surely.

A measurement acts on one sample, without the axis of the batch: `y = A(x0) + noise_std n`, `n`
standard normal. Inside, samples and measurements are rows, (batch, d) and (batch, m), whatever
their shapes and however many arrays they are.
"""

import contextlib
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import register_dataclass

from edmjax._common.arguments import describe
from edmjax._common.arrays import has_no_value, has_tracers
from edmjax._common.functions import as_pytree
from edmjax._common.trees import Flat
from edmjax._common.typing import Arraylike, Function, PyTree
from edmjax.posterior.operators import Operator
from edmjax.posterior.solvers import symmetric_solution


class Measurement:
    """The base of all: `log_prob(x0)`, the log-likelihood of each sample of a batch."""

    def log_prob(self, x0: PyTree) -> jax.Array:
        """log p(y | x0) of each sample, in nats; shape (batch,)."""
        raise NotImplementedError  # abstract: every subclass has its own


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Noisy(Measurement):
    """What `nonlinear` and `linear` return: `y = apply(x0) + noise_std n`."""

    apply: Function
    y: PyTree
    noise_std: PyTree

    def log_prob(self, x0: PyTree) -> jax.Array:
        """log N(y; apply(x0), noise_std^2) of each sample; shape (batch,)."""
        need_noise(self, "log_prob")
        flat = Flat(x0)
        seen = self.on(flat, jax.tree.leaves(x0)[0].shape[0])
        residual, variance = seen.residual(flat.rows(x0)), seen.variance
        each = residual**2 / variance + jnp.log(2 * np.pi * variance)
        return -0.5 * jnp.sum(jnp.broadcast_to(each, residual.shape), axis=1)

    def on(self, flat: Flat, batch: int) -> "Seen":
        """The measurement as functions of rows, for `batch` samples that are like `flat`."""
        image = Flat(jax.eval_shape(jax.vmap(self.apply), flat.like(1)))
        if not image.dim:
            raise ValueError("This measurement sees nothing: `apply` returns no numbers.")
        y = rows_of(self.y, image, batch, "y", flat.dtype)
        std = rows_of(self.noise_std, image, batch, "noise_std", flat.dtype)
        return Seen(self, flat, image, jnp.broadcast_to(y, (batch, image.dim)), std**2)


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Linear(Noisy):
    """What `linear` and the operators with known singular values return."""

    def in_matrices(self, shape: tuple[int, ...]) -> tuple[Any, Any, Any]:
        """`(A, y, variance)` of shapes (m, d), (m,) and (m,), for samples that are one array.

        In float64 on the host where nothing is traced, else in JAX's default precision.
        """
        known = not has_tracers(self)
        with contextlib.ExitStack() as stack:
            if known:
                stack.enter_context(jax.enable_x64(True))
                stack.enter_context(jax.ensure_compile_time_eval())
            flat = Flat(jax.ShapeDtypeStruct((1, *shape), jnp.zeros(()).dtype))
            seen = self.on(flat, 1)
            a, y = seen.matrix(), seen.y[0]
            variance = jnp.broadcast_to(seen.variance, seen.y.shape)[0]
            return tuple(map(np.asarray, (a, y, variance))) if known else (a, y, variance)


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Likelihood(Measurement):
    """What `likelihood` returns."""

    function: Function

    def log_prob(self, x0: PyTree) -> jax.Array:
        """The user's log-likelihood of each sample; shape (batch,)."""
        out = jax.vmap(self.function)(x0)
        if getattr(out, "shape", None) != jax.tree.leaves(x0)[0].shape[:1]:
            raise ValueError(
                f"`log_prob` must return one number for a sample, got {describe(out)} for a batch."
            )
        return out


def linear(apply: Function, y: PyTree, noise_std: PyTree) -> Linear:
    """The linear measurement `y = A x0 + noise_std n`, with `A x = apply(x)`.

    The adjoint is the transposition of `apply`. Solves with `A A^T` are conjugate gradients;
    `mask`, `blur`, `downsample`, `matrix` and `fourier` know their singular values, and solve
    exactly.

    Args:
        apply: a linear function of one sample, without the axis of the batch, that returns one
            measurement; a sample and a measurement may be any pytree. Where it is a pytree, its
            arrays travel through `jit`.
        y: what was measured, of the structure and shapes of `apply(x0)`; with one more axis in
            front of every array there is one measurement for each sample.
        noise_std: the standard deviation of the noise, a number or an array like `y`; 0 for none.

    Raises:
        TypeError: `apply` is not a function.
        ValueError: `noise_std` is negative or not finite. And at the first evaluation, when the
            shape of a sample is known: `apply` is not linear, or `y` does not have its shape.
    """
    return Linear(*checked(apply, y, noise_std))


def nonlinear(apply: Function, y: PyTree, noise_std: PyTree) -> Noisy:
    """The measurement `y = apply(x0) + noise_std n` of any differentiable function.

    Args and errors are as in `linear`, except that `apply` need not be linear.
    """
    return Noisy(*checked(apply, y, noise_std))


def likelihood(log_prob: Function) -> Likelihood:
    """A measurement by its log-likelihood, `log_prob(x0) = log p(y | x0)` of one sample in nats."""
    return Likelihood(as_pytree(log_prob, "log_prob", "a function of one sample"))


def checked(apply: Function, y: PyTree, noise_std: PyTree) -> tuple[Any, Any, Any]:
    """The fields of a measurement, with arrays for numbers."""
    held = as_pytree(apply, "apply", "a function of one sample")
    y, noise_std = _array_of_numbers(y), _array_of_numbers(noise_std)

    def numbers(value: Any, name: str) -> Any:
        if not hasattr(value, "dtype"):
            value = np.asarray(value, np.float64)
        if not jnp.issubdtype(value.dtype, jnp.number) or jnp.issubdtype(
            value.dtype, jnp.complexfloating
        ):
            raise TypeError(f"`{name}` must hold real numbers, got {describe(value)}.")
        if not has_no_value(value) and not np.isfinite(np.asarray(value)).all():
            raise ValueError(f"`{name}` must be finite, got {describe(value)}.")
        return value

    y = jax.tree.map(lambda leaf: numbers(leaf, "y"), y)
    std = jax.tree.map(lambda leaf: numbers(leaf, "noise_std"), noise_std)
    for leaf in jax.tree.leaves(std):
        if not has_no_value(leaf) and (np.asarray(leaf) < 0).any():
            raise ValueError(f"`noise_std` must be 0 or above, got {np.min(leaf)}.")
    return held, y, std


def _array_of_numbers(value: Any) -> Any:
    """A list of numbers as an array; a list of arrays is a pytree."""
    numbers = isinstance(value, list | tuple) and all(
        isinstance(leaf, float | int) for leaf in jax.tree.leaves(value)
    )
    return np.asarray(value, np.float64) if numbers else value


def need_noise(measurement: Noisy, who: str) -> None:
    """Raises where a noise of 0 would be divided by."""
    for leaf in jax.tree.leaves(measurement.noise_std):
        if not has_no_value(leaf) and not np.asarray(leaf).all():
            raise ValueError(
                f"{who} divides by the noise of the measurement, and `noise_std` is 0: give it the "
                "error that y has, or take a method for exact measurements (ddnm, mmps, tmpd)."
            )


def rows_of(value: PyTree, image: Flat, batch: int, name: str, dtype: np.dtype) -> jax.Array:
    """`value` as rows, (1, m) or (batch, m); a number is (1, 1)."""
    leaves, treedef = jax.tree.flatten(value)
    if name == "noise_std" and len(leaves) == 1 and np.shape(leaves[0]) == ():
        return jnp.asarray(leaves[0], dtype).reshape(1, 1)
    shapes = [np.shape(leaf) for leaf in leaves]
    wanted = [shape for shape, _ in image.leaves]
    if treedef != image.treedef or shapes not in (wanted, [(batch, *shape) for shape in wanted]):
        raise ValueError(
            f"`{name}` has shape {_shown(shapes)}, and `apply` makes {_shown(wanted)} of a sample: "
            f"expected that, or {batch} of them, one a sample, along a first axis."
        )
    lead = 1 if shapes == wanted else batch
    sized = zip(leaves, image.sizes, strict=True)
    return jnp.concatenate([jnp.asarray(v, dtype).reshape(lead, n) for v, n in sized], axis=1)


def _shown(shapes: list[Any]) -> str:
    return str(shapes[0]) if len(shapes) == 1 else str(shapes)


class Seen:
    """A measurement as functions of rows: `forward`, `adjoint`, `pull`, and `y`, `variance`.

    Attributes:
        y: what was measured, (batch, m).
        variance: `noise_std^2`, (1 or batch, 1 or m).
    """

    def __init__(self, of: Noisy, flat: Flat, image: Flat, y: jax.Array, variance: jax.Array):
        self.of: Noisy = of
        self.flat: Flat = flat
        self.image: Flat = image
        self.y: jax.Array = y
        self.variance: jax.Array = variance
        if isinstance(of, Linear) and not isinstance(of.apply, Operator):
            self._check_linear()

    def forward(self, rows: jax.Array) -> jax.Array:
        """`A(x)` of each row; (batch, m)."""
        made = jax.vmap(self.of.apply)(self.flat.tree(rows, wide=True))
        return self.image.rows(made).astype(rows.dtype)

    def residual(self, rows: jax.Array) -> jax.Array:
        """`y - A(x)`; (batch, m)."""
        return self.y - self.forward(rows)

    def adjoint(self, image: jax.Array) -> jax.Array:
        """`A^T r` of each row; (batch, d)."""
        like = jax.ShapeDtypeStruct((image.shape[0], self.flat.dim), image.dtype)
        return jax.linear_transpose(self.forward, like)(image)[0]

    def pull(self, image: jax.Array, of_data: Arraylike, noise: Arraylike) -> jax.Array:
        """`A^T (of_data A A^T + noise)^-1 r`, with the pseudo-inverse where this is singular.

        `of_data` is a number or (batch, 1), `noise` what `variance` may be.
        """
        of_data, noise = jnp.asarray(of_data, image.dtype), jnp.asarray(noise, image.dtype)
        apply = self.of.apply
        if isinstance(apply, Operator) and (noise.shape[-1:] in ((), (1,)) or apply.diagonal):
            return self._pull_by_spectrum(apply, image, of_data, noise)

        def matrix(r: jax.Array) -> jax.Array:
            return of_data * self.forward(self.adjoint(r)) + noise * r

        return self.adjoint(symmetric_solution(matrix, image))

    def _pull_by_spectrum(self, operator: Operator, image: Any, of_data: Any, noise: Any) -> Any:
        ((shape, _),) = self.flat.leaves
        squares = operator.squares(shape, image.dtype).reshape(1, -1)
        total = of_data * squares + noise
        safe = jnp.where(total > 0, total, 1)
        back = self.adjoint(image).reshape(-1, *shape)
        coordinates = operator.to_basis(back).reshape(image.shape[0], -1)
        weighted = jnp.where((total > 0) & (squares > 0), coordinates / safe, 0)
        return operator.from_basis(weighted.reshape(-1, *shape)).reshape(back.shape[0], -1)

    def matrix(self) -> jax.Array:
        """`A` as a matrix, (m, d)."""
        return self.forward(jnp.eye(self.flat.dim, dtype=self.flat.dtype)).T

    def _check_linear(self) -> None:
        """Raises where `apply` is not linear, as far as can be seen without a sample."""
        try:
            self.adjoint(jnp.zeros((1, self.image.dim), self.flat.dtype))
        except Exception as err:  # JAX raises many kinds
            raise ValueError(
                "`apply` is not linear in the sample, so JAX cannot transpose it: use "
                f"`nonlinear(apply, y, noise_std)`. ({str(err).splitlines()[0]:.120})"
            ) from err
        if has_tracers(self.of.apply):
            return
        with jax.ensure_compile_time_eval():
            at_zero = self.forward(jnp.zeros((1, self.flat.dim), self.flat.dtype))
            if np.asarray(at_zero).any():
                raise ValueError(
                    f"`apply` is not linear: of zeros it makes {np.abs(at_zero).max():.3g} and not "
                    "0. Subtract that from both `apply` and `y`."
                )
