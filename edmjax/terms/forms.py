"""Forms of the probability flow: four variables to integrate it in.

A form has a variable `s`, a function of the noise level, and holds the point as `y = factor x`.
The flow is then linear in the point and the denoised output,

    dy/ds = a y + b D(x, sigma),

and a form is four functions: `time(sigma)` is s, `level(s)` its inverse, `factor(sigma)`, and
`rates(s, sigma)` are (a, b). Each is written once and works in two places: with numbers in float64
on the host, where plan weights are formed, and with JAX arrays in their own precision.
"""

import dataclasses
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from edmjax._common.arguments import one_of, positive_leaf
from edmjax._common.arrays import as_level, has_no_value, register_fields, weighted, working_dtype
from edmjax._common.trees import floating_tree
from edmjax._common.typing import Grid, PyTree, Scalar, Values, X
from edmjax.processes import edm
from edmjax.processes.process import Process, array_module, check_process

# A level, or a value of a form's variable: a number, or many.
Level: TypeAlias = Scalar | Values

FORMS: tuple[str, ...] = ("theta", "log_sigma", "sigma", "t")


class Form:
    """What the forms share: times for a solver, and how a point gets in and out.

    `x` is a point in the package's frame, any pytree of floating arrays; levels are positive.
    """

    def time(self, sigma: Level) -> Values:
        """The form's variable at a level; it rises with the level."""
        raise NotImplementedError  # abstract: every subclass has its own

    def level(self, s: Level) -> Values:
        """The level at a value of the variable."""
        raise NotImplementedError  # abstract: every subclass has its own

    def factor(self, sigma: Level) -> Values:
        """`y / x` at a level."""
        raise NotImplementedError  # abstract: every subclass has its own

    def rates(self, s: Level, sigma: Level) -> tuple[Level, Level]:
        """(a, b) of `dy/ds = a y + b D`, at `s` with its level `sigma`."""
        raise NotImplementedError  # abstract: every subclass has its own

    def times(self, sigmas: Grid, x: PyTree) -> jax.Array:
        """The variable at each of `sigmas`, in the precision that a solver must have for `x`.

        The first and the last are `t0` and `t1` of `diffrax.diffeqsolve`. All of them are the `ts`
        of `diffrax.StepTo`, which must have the same two numbers at its ends. Python floats instead
        would make a float32 state float64 where JAX's x64 mode is on.

        Raises:
            ValueError: if a level is not positive and finite, or has no time in this form.
            TypeError: if levels are not numbers, or `x` holds no floating arrays.
        """
        levels = _levels(sigmas)
        times = self.time(levels)
        if not has_no_value(times) and not np.isfinite(times).all():
            raise ValueError(f"This form has no time at one of the levels {levels}, got {times}.")
        return jnp.asarray(times, _precision(x))

    def enter(self, x: X, sigma: Scalar) -> X:
        """`y` of a point `x` of the package's frame at level `sigma`, in at least float32."""
        return _scaled(floating_tree(x, "x"), self.factor(_levels(sigma)))

    def leave(self, y: X, sigma: Scalar) -> X:
        """`x` of `y` at level `sigma`: the inverse of `enter`."""
        return _scaled(floating_tree(y, "y"), 1 / self.factor(_levels(sigma)))


@register_fields
@dataclasses.dataclass(frozen=True, eq=False)
class Theta(Form):
    """`s = arctan(sigma / sigma_data)`, `y = x / sqrt(sigma^2 + sigma_data^2)`, `dy/ds = -F`.

    `F` is the output of a network with EDM preconditioning (Karras et al. 2022, equation 7 and
    Table 1), so both the point and its slope are of unit size all the way.
    """

    sigma_data: Any

    def time(self, sigma: Level) -> Values:
        xp, sigma, width = array_module(sigma, self.sigma_data)
        return xp.arctan(sigma / width)

    def level(self, s: Level) -> Values:
        xp, s, width = array_module(s, self.sigma_data)
        return width * xp.tan(s)

    def factor(self, sigma: Level) -> Values:
        xp, sigma, width = array_module(sigma, self.sigma_data)
        return 1 / xp.hypot(sigma, width)

    def rates(self, s: Level, sigma: Level) -> tuple[Level, Level]:
        # -F = (c_skip x - D) / c_out with x = y sqrt(sigma^2 + sigma_data^2).
        xp, sigma, width = array_module(sigma, self.sigma_data)
        return width / sigma, -xp.hypot(sigma, width) / (width * sigma)


@register_fields
@dataclasses.dataclass(frozen=True, eq=False)
class LogSigma(Form):
    """`s = log sigma`, `y = x`, `dy/ds = x - D`."""

    def time(self, sigma: Level) -> Values:
        xp, sigma = array_module(sigma)
        return xp.log(sigma)

    def level(self, s: Level) -> Values:
        xp, s = array_module(s)
        return xp.exp(s)

    def factor(self, sigma: Level) -> Values:
        return _one(sigma)

    def rates(self, s: Level, sigma: Level) -> tuple[Level, Level]:
        return _one(sigma), -_one(sigma)


@register_fields
@dataclasses.dataclass(frozen=True, eq=False)
class Sigma(Form):
    """`s = sigma`, `y = x`, `dy/ds = (x - D) / sigma` (Karras et al. 2022, equation 3)."""

    def time(self, sigma: Level) -> Values:
        return array_module(sigma)[1]

    def level(self, s: Level) -> Values:
        return array_module(s)[1]

    def factor(self, sigma: Level) -> Values:
        return _one(sigma)

    def rates(self, s: Level, sigma: Level) -> tuple[Level, Level]:
        _, sigma = array_module(sigma)
        return 1 / sigma, -1 / sigma


@register_fields
@dataclasses.dataclass(frozen=True, eq=False)
class Own(Form):
    """`s` the process's own time, `y` its own point: `dy/ds = f y - g^2 score / 2`.

    Song et al. (2021), equation 13.
    """

    process: Any

    def time(self, sigma: Level) -> Values:
        return self.process.time(sigma)

    def level(self, s: Level) -> Values:
        return self.process.sigma(s)

    def factor(self, sigma: Level) -> Values:
        return self.process.scale_of(sigma)

    def rates(self, s: Level, sigma: Level) -> tuple[Level, Level]:
        # The score is (scale D - y) / variance.
        f, g = self.process.rates(s)
        half = g**2 / (2 * self.process.variance(s))
        return f + half, -half * self.process.scale(s)


def make_form(
    form: str | Form = "theta", process: Process | None = None, sigma_data: Scalar | None = None
) -> Form:
    """Returns the form of a name: "theta", "log_sigma", "sigma" or "t".

    Args:
        form: the name; a `Form` is returned as it is.
        process: whose time and scale "t" is in (default: `ej.processes.edm()`, where "t" is
            "sigma"). The other forms are in the package's frame, which all processes share.
        sigma_data: the standard deviation of the data that "theta" is made for (default 0.5). The
            flow is the same for any; the number of steps that it takes is not.

    Raises:
        ValueError: if the form is unknown, or `sigma_data` is not positive.
        TypeError: if `process` is not a process.
    """
    if isinstance(form, Form):
        return form
    process = process_of(process)
    if one_of(form, "form", FORMS) == "theta":
        return Theta(positive_leaf(0.5 if sigma_data is None else sigma_data, "sigma_data"))
    return {"log_sigma": LogSigma(), "sigma": Sigma(), "t": Own(process)}[form]


def process_of(process: Any) -> Process:
    """`process`, which must be a process; `ej.processes.edm()` where it is None."""
    if process is None:
        return edm()
    check_process(process)
    return process


def _one(sigma: Any) -> Any:
    xp, sigma = array_module(sigma)
    return xp.ones_like(sigma)


def _precision(x: PyTree) -> Any:
    leaves = jax.tree.leaves(floating_tree(x, "x", shapes=True))
    return working_dtype(*[leaf.dtype for leaf in leaves])


def _scaled(tree: PyTree, factor: Any) -> Any:
    """`factor * tree` in at least float32: a solver's state in half precision would not do."""
    wide = jax.tree.map(lambda leaf: leaf.astype(working_dtype(leaf.dtype)), tree)
    return weighted((as_level(factor, wide), wide))


def _levels(sigmas: Any) -> Any:
    if any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(sigmas)):
        sigmas = jnp.asarray(sigmas)
    else:
        try:
            sigmas = np.asarray(sigmas, np.float64)
        except (TypeError, ValueError):
            raise TypeError(f"Levels must be numbers, got {sigmas!r:.80}.") from None
    if not has_no_value(sigmas) and not ((sigmas > 0) & (sigmas < np.inf)).all():
        raise ValueError(
            f"Levels must be positive and finite, got {sigmas}: the flow has no slope at 0 (end "
            "above it, with `denoise(x, sigma_min)` as the last step to the data), and no point at "
            "infinity."
        )
    return sigmas
