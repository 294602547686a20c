"""What a process is: marginals, SDE and levels; `edmjax.processes` has the instances."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeAlias, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from numpy.typing import DTypeLike

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
from edmjax._common.typing import Arraylike, Function, Grid, Int, PyTree, Scalar, Values, X
from edmjax.scalar import is_traced


@register_fields
@dataclasses.dataclass(frozen=True, eq=False)
class Process:
    """A process: `scale(t)`, `sigma(t)` and `time(sigma)`, the inverse of `sigma(t)`.

    `variance(t) = (scale sigma)^2` is the variance of the noise in the process's own scale. It is a
    field of its own for two reasons: its slope is finite at `t = 0`, where `sigma` may rise like a
    root, and it is finite where `scale` is 0 and `sigma` infinite.

    A process is a pytree, so that its numbers travel through `jit` as arguments: a function with
    numbers is a `jax.tree_util.Partial` that holds them. The functions act on each element of `t`;
    `array_module` lets them compute with NumPy on the host and with JAX elsewhere. Slopes come from
    `jax.jvp`.

    Attributes:
        scale: the factor of the data at a time.
        sigma: the noise level at a time.
        time: the time of a noise level.
        variance: the fourth, by default made of `scale` and `sigma`.
        t_max: the time of the most noise.
        t_min: the time of the data, 0 or, for `DDPM`, -1.

    Raises:
        TypeError: one of the four is not a function, or `t_max` not a number.
        ValueError: `t_max` is not above `t_min`.
    """

    scale: Function
    sigma: Function
    time: Function
    variance: Function = None  # type: ignore[assignment]  # replaced before anyone sees it
    t_max: Scalar = 1.0
    t_min: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        for name in ("scale", "sigma", "time", "variance"):
            function = getattr(self, name)
            if name == "variance" and function is None:
                function = Partial(_square, self.scale, self.sigma)
            if not callable(function):
                raise TypeError(f"`{name}` must be a function, got {function!r:.80}.")
            kept = function if isinstance(function, Partial) else Partial(function)
            object.__setattr__(self, name, kept)
        real(self.t_max, "t_max", above=self.t_min)

    def marginal(self, t: Arraylike) -> tuple[Values, Values]:
        """`(alpha, std)` of `x_process(t) = alpha x0 + std n`: `scale(t)` and `scale sigma`."""
        _check_time(t)
        return self.scale(t), root(self.variance(t))

    @property
    def prior_std(self) -> Values:
        """The standard deviation of the noise at `t_max`, in the process's own scale."""
        return self.marginal(self.t_max)[1]

    def drift(self, x: X, t: Arraylike) -> X:
        """`f(t) x` of the forward SDE, in the dtypes of `x`; `t` a scalar or one time a sample."""
        return _times(x, self.rates(t)[0])

    def diffusion(self, t: Arraylike) -> Values:
        """`g(t)` of the forward SDE, in the shape of `t`."""
        return self.rates(t)[1]

    def to_ve(self, x: X, t: Arraylike) -> X:
        """`x / scale(t)`: a point of the process in the package's frame, at level `sigma(t)`."""
        _check_time(t)
        return _times(x, 1 / self.scale(t))

    def from_ve(self, x: X, t: Arraylike) -> X:
        """`scale(t) x`: a point of the package's frame in the process's own scale."""
        _check_time(t)
        return _times(x, self.scale(t))

    def add_noise(self, x0: X, noise: PyTree, t: Arraylike) -> X:
        """`alpha x0 + std noise` with `(alpha, std) = marginal(t)`: data with the noise of `t`.

        In the dtypes of `x0`; `t` is a scalar or one time a sample. Raises ValueError where `noise`
        is not like `x0`, or a time is outside the process.
        """
        x0 = floating_tree(x0, "x0")
        noise = argument_like(noise, x0, "noise", "x0")
        alpha, std = self.marginal(self.within(t, x0))
        return weighted((alpha, x0), (std, noise))

    def within(self, t: Arraylike, x: PyTree) -> Values:
        """`t` as an array: a scalar, or one time for each entry of axis 0 of `x`, and in range."""
        _, times = array_module(t)
        if times.shape != ():
            as_level(times, x, "t")
        self._refuse(times)
        return times

    def scale_of(self, sigma: Arraylike) -> Values:
        """`scale(time(sigma))`, also where `sigma` is so large that `scale` rounds to 0."""
        t = self.time(sigma)
        xp, level = array_module(sigma)
        large = level > 1
        std = root(self.variance(t))
        return xp.where(large, std / xp.where(large, level, 1), self.scale(t))[()]

    def levels(self, times: Arraylike) -> "Levels":
        """The noise levels at `times`, with the times and the process: a grid for `make_plan`.

        Raises:
            TypeError: `times` are not real numbers.
            ValueError: `times` are not one-dimensional or not finite, or one is outside the
                process: before `t_min`, or where `sigma` is negative or not defined.
        """
        if any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(times)):
            times = jnp.asarray(times)  # a list with traced times among its numbers
        _, t = array_module(times)
        if t.ndim != 1 or not len(t):
            raise ValueError(
                f"`times` must be one-dimensional, got shape {t.shape}: give at least one time."
            )
        if not has_no_value(t) and not np.isfinite(t).all():
            raise ValueError(f"`times` must be finite, got {t}.")
        self._refuse(t)
        return Levels(self.sigma(t), t, self)

    def _refuse(self, times: Values) -> None:
        """Raises where one of `times` is outside the process, if they have values to look at."""
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

    def rates(self, t: Arraylike) -> tuple[Values, Values]:
        """`(f, g)` of the forward SDE at `t`, each in its shape; on the host in float64."""
        _check_time(t)
        xp, times, *_ = array_module(t, *jax.tree.leaves(self))
        if xp is jnp:
            return _rates(self, times)
        # Slopes need JAX. On the host the result keeps float64, whatever the x64 mode, and is
        # computed at once, also while a function around this is traced.
        with jax.ensure_compile_time_eval(), jax.enable_x64(True):
            f, g = _compiled_rates(self, times)
            return np.asarray(f)[()], np.asarray(g)[()]


@dataclasses.dataclass(frozen=True, eq=False)
class Levels:
    """Noise levels, the times that they belong to, and their process; see `Process.levels`.

    For `make_plan`: a plan of them holds its points in the scale of the process. A part of them,
    `levels[k:]`, is `Levels` too, and `levels[k]` is one noise level. Functions of NumPy that would
    make another grid, such as `np.append`, raise TypeError, as the process would be lost; all
    others see the noise levels, as `np.asarray(levels)` does.
    """

    sigmas: Grid
    times: Grid
    process: Process

    @property
    def scale(self) -> Values:
        """The process's scale at each level."""
        return self.process.scale(self.times)

    def __len__(self) -> int:
        return len(self.sigmas)

    @overload
    def __getitem__(self, index: Int) -> Scalar: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int] | np.ndarray) -> "Levels": ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, Sequence):
            index = np.asarray(index)
        part = self.sigmas[index]
        return part if np.ndim(part) == 0 else Levels(part, self.times[index], self.process)

    def __iter__(self) -> NoReturn:
        raise TypeError(
            "A loop over the levels of a process would lose the process: loop over "
            "`levels.sigmas` or `levels.times`, and take a part of them as `levels[k:]`."
        )

    def __reversed__(self) -> NoReturn:
        self.__iter__()

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.sigmas, dtype=dtype, copy=copy)

    def __array_function__(
        self, function: Function, types: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        if function in _MAKE_GRIDS:
            raise TypeError(
                f"`np.{function.__name__}` would lose the process of these levels: change their "
                f"times, as in `process.levels(np.{function.__name__}(levels.times, ...))`, or "
                "take a part, `levels[k:]`. For the noise levels alone pass `levels.sigmas`."
            )
        given = jax.tree.map(
            lambda leaf: leaf.sigmas if isinstance(leaf, Levels) else leaf,
            (tuple(args), dict(kwargs)),
            is_leaf=lambda leaf: isinstance(leaf, Levels),
        )
        return function(*given[0], **given[1])


# The functions of NumPy whose result would pass for a grid.
_MAKE_GRIDS = (
    *(np.append, np.concatenate, np.insert, np.delete, np.flip, np.sort, np.unique, np.union1d),
    *(np.hstack, np.resize, np.roll, np.repeat, np.interp, np.take, np.compress),
)


if TYPE_CHECKING:
    ProcessLike: TypeAlias = Process
else:
    # Anything with the methods of a process will do; `check_process` has its own message.
    ProcessLike = Any


def check_process(process: object, name: str = "process") -> None:
    """Raises TypeError where `process` is something else."""
    if not isinstance(process, Process):
        raise TypeError(
            f"`{name}` must be a process, such as `ej.processes.vp()`, got {process!r:.80}."
        )


def array_module(t: Arraylike, *numbers: Arraylike) -> tuple[Any, ...]:
    """`(module, t, *numbers)` to write a formula with, the same on the host and under `jit`.

    The module is NumPy, and the arrays float64, where everything is a number or a NumPy array.
    Otherwise it is `jax.numpy`, and the arrays have the precision of `t`, at least float32. Raises
    TypeError where `t` is not real.
    """
    if reals(t) is None:
        raise TypeError(f"Times and noise levels must be real numbers, got {t!r:.80}.")
    values: Any = (t, *numbers)
    if not is_traced(*values):
        return np, *(np.asarray(value, np.float64) for value in values)
    first = t if isinstance(t, jax.Array) else jnp.zeros(())
    dtype = working_dtype(first.dtype)
    return jnp, *(jnp.asarray(value, dtype) for value in values)


def root(value: Values) -> Values:
    """The square root; 0 with slope 0 where rounding leaves 0, or less, under the root."""
    if not is_traced(value):
        return np.sqrt(value)
    # The inner `where` keeps the infinite slope at 0 out of the gradient.
    nothing = value <= 0  # false of NaN, which stays
    return jnp.where(nothing, 0, jnp.sqrt(jnp.where(nothing, 1, value)))


def _check_time(t: Arraylike) -> None:
    """Raises where `t` is not a time: text, None, a bool, or NaN."""
    _, times = array_module(t)
    if not has_no_value(times) and np.isnan(times).any():
        raise ValueError(f"A time of a process must not be NaN, got t = {times!s:.80}.")


def _rates(process: Process, t: jax.Array) -> tuple[Values, Values]:
    one = jnp.ones_like(t)
    scale, scale_slope = jax.jvp(process.scale, (t,), (one,))
    variance, variance_slope = jax.jvp(process.variance, (t,), (one,))
    f = scale_slope / scale
    return f, root(variance_slope - 2 * f * variance)


_compiled_rates = jax.jit(_rates)


def _times(x: X, factor: Values) -> X:
    x = floating_tree(x, "x")
    return weighted((as_level(factor, x, "t"), x))


def _square(scale: Function, sigma: Function, t: Arraylike) -> Values:
    return (scale(t) * sigma(t)) ** 2
