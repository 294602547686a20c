"""What a process is: marginals, SDE and levels; `edmjax.processes` has the instances."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from edmjax._common.arguments import real
from edmjax._common.arrays import (
    as_level,
    has_no_value,
    reals,
    register_fields,
    weighted,
    working_dtype,
)
from edmjax._common.trees import argument_like, floating_tree
from edmjax._common.typing import X


@register_fields
@dataclasses.dataclass(frozen=True, eq=False)
class Process:
    """A process: `scale(t)`, `sigma(t)` and `time(sigma)`, the inverse of `sigma(t)`.

    `variance(t)` is that of the noise in the process's own scale, `(scale sigma)^2`; it is a field
    of its own because its slope is finite at `t = 0`, where `sigma` may rise as a root does, and
    because it is finite where `scale` is 0 and `sigma` infinite.

    A pytree, so that the numbers of a process travel through `jit` as arguments: a function with
    numbers is a `jax.tree_util.Partial` that holds them. The functions act on each element of `t`;
    `array_module` lets them compute with NumPy on the host and with JAX elsewhere. Slopes come from
    `jax.jvp`.
    """

    scale: Any
    sigma: Any
    time: Any
    variance: Any = None
    t_max: Any = 1.0
    t_min = 0.0  # where the data are; a field of none of the instances

    def __post_init__(self):
        for name in ("scale", "sigma", "time", "variance"):
            function = getattr(self, name)
            if name == "variance" and function is None:
                function = Partial(_square, self.scale, self.sigma)
            if not callable(function):
                raise TypeError(f"`{name}` must be a function, got {function!r:.80}.")
            if not isinstance(function, Partial):
                function = Partial(function)
            object.__setattr__(self, name, function)
        real(self.t_max, "t_max", above=self.t_min)

    def marginal(self, t: Any) -> tuple[Any, Any]:
        """`(alpha, std)` of `x_process(t) = alpha x0 + std n`: `scale(t)` and `scale sigma`."""
        _check_time(t)
        return self.scale(t), root(self.variance(t))

    @property
    def prior_std(self) -> Any:
        """The standard deviation of the noise at `t_max`, in the process's own scale."""
        return self.marginal(self.t_max)[1]

    def drift(self, x: X, t: Any) -> X:
        """`f(t) x` of the forward SDE, in the dtypes of `x`; `t` a scalar or one time a sample."""
        return _times(x, self.rates(t)[0])

    def diffusion(self, t: Any) -> Any:
        """`g(t)` of the forward SDE, in the shape of `t`."""
        return self.rates(t)[1]

    def to_ve(self, x: X, t: Any) -> X:
        """`x / scale(t)`: a point of the process in the package's frame, at level `sigma(t)`."""
        _check_time(t)
        return _times(x, 1 / self.scale(t))

    def from_ve(self, x: X, t: Any) -> X:
        """`scale(t) x`: a point of the package's frame in the process's own scale."""
        _check_time(t)
        return _times(x, self.scale(t))

    def add_noise(self, x0: X, noise: X, t: Any) -> X:
        """`alpha x0 + std noise` with `(alpha, std) = marginal(t)`: data with the noise of `t`.

        In the dtypes of `x0`; `t` is a scalar or one time a sample. Raises ValueError where `noise`
        is not like `x0`, or a time is outside of the process.
        """
        x0 = floating_tree(x0, "x0")
        noise = argument_like(noise, x0, "noise", "x0")
        alpha, std = self.marginal(self.within(t, x0))
        return weighted((alpha, x0), (std, noise))

    def within(self, t: Any, x: X) -> Any:
        """`t`, where it is a scalar or one time for each entry of axis 0 of `x`, and in range."""
        _, t = array_module(t)
        if t.shape != ():
            as_level(t, x, "t")
        self._refuse(t)
        return t

    def scale_of(self, sigma: Any) -> Any:
        """`scale(time(sigma))`, also where `sigma` is so large that `scale` rounds to 0."""
        t = self.time(sigma)
        xp, sigma = array_module(sigma)
        large = sigma > 1
        std = root(self.variance(t))
        return xp.where(large, std / xp.where(large, sigma, 1), self.scale(t))[()]

    def levels(self, times: Any) -> "Levels":
        """The noise levels at `times`, with the times and the process: a grid for `make_plan`.

        Raises:
            TypeError: `times` not real numbers.
            ValueError: `times` not one-dimensional or not finite, or outside of the process: below
                0, or where `sigma` is negative or has no value.
        """
        if any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(times)):
            times = jnp.asarray(times)
        _, times = array_module(times)
        if times.ndim != 1 or not len(times):
            raise ValueError(
                f"times must be one-dimensional, got shape {times.shape}: give one time at least."
            )
        if not has_no_value(times) and not np.isfinite(times).all():
            raise ValueError(f"times must be finite, got {times}.")
        self._refuse(times)
        return Levels(self.sigma(times), times, self)

    def _refuse(self, times: Any) -> None:
        """A sentence where one of `times` is outside of the process, as far as they are numbers."""
        if has_no_value(times) or any(map(has_no_value, jax.tree.leaves(self))):
            return
        times = np.asarray(times, np.float64)
        with np.errstate(invalid="ignore"):
            outside = ~(np.asarray(self.sigma(times)) >= 0) | (times < self.t_min)  # NaN too
        if outside.any():
            raise ValueError(
                f"At t = {times[outside][0]} this process has no noise level: "
                f"times run from {self.t_min:g} to {float(self.t_max)}."
            )

    def rates(self, t: Any) -> tuple[Any, Any]:
        """`(f, g)` of the forward SDE at `t`, each in its shape; on the host in float64."""
        _check_time(t)
        xp, t, *_ = array_module(t, *jax.tree.leaves(self))
        if xp is jnp:
            return _rates(self, t)
        with jax.ensure_compile_time_eval(), jax.enable_x64(True):
            f, g = _compiled_rates(self, t)
            return np.asarray(f)[()], np.asarray(g)[()]


@dataclasses.dataclass(frozen=True, eq=False)
class Levels:
    """Noise levels that know the times they belong to and their process; see `Process.levels`."""

    sigmas: Any
    times: Any
    process: Process

    @property
    def scale(self) -> Any:
        """The process's scale at each level."""
        return self.process.scale(self.times)

    def __len__(self) -> int:
        return len(self.sigmas)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.array(self.sigmas, dtype=dtype, copy=copy)


def array_module(t: Any, *numbers: Any) -> tuple[Any, ...]:
    """`(module, t, *numbers)` to write a formula with, the same on the host and under `jit`.

    NumPy and float64 where everything is a number or a NumPy array; otherwise `jax.numpy` and
    arrays in the precision of `t`, float32 at least. Raises TypeError where `t` is no real number.
    """
    if reals(t) is None:
        raise TypeError(f"Times and noise levels must be real numbers, got {t!r:.80}.")
    if not _is_jax(t, *numbers):
        return np, *(np.asarray(value, np.float64) for value in (t, *numbers))
    first = t if isinstance(t, jax.Array) else jnp.zeros(())
    dtype = working_dtype(first.dtype)
    return jnp, *(jnp.asarray(value, dtype) for value in (t, *numbers))


def _is_jax(*values) -> bool:
    return any(isinstance(value, jax.Array) for value in values)


def root(value):
    """The square root; 0 with slope 0 where rounding leaves nothing, or less, under the root."""
    if not _is_jax(value):
        return np.sqrt(value)
    nothing = value <= 0  # false of NaN, which stays
    return jnp.where(nothing, 0, jnp.sqrt(jnp.where(nothing, 1, value)))


def _check_time(t):
    """Raises where `t` is no time: text, None, a bool, or NaN."""
    _, t = array_module(t)
    if not has_no_value(t) and np.isnan(t).any():
        raise ValueError(f"A time of a process must not be NaN, got t = {t!s:.80}.")


def _rates(process, t):
    one = jnp.ones_like(t)
    scale, scale_slope = jax.jvp(process.scale, (t,), (one,))
    variance, variance_slope = jax.jvp(process.variance, (t,), (one,))
    f = scale_slope / scale
    return f, root(variance_slope - 2 * f * variance)


_compiled_rates = jax.jit(_rates)


def _times(x, factor):
    x = floating_tree(x, "x")
    return weighted((as_level(factor, x, "t"), x))


def _square(scale, sigma, t):
    return (scale(t) * sigma(t)) ** 2
