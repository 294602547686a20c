"""The probability flow as a diffrax term."""

import dataclasses
from typing import Any

import diffrax
import jax
import jax.numpy as jnp

from edmjax._common.arrays import from_left, working_dtype
from edmjax._common.functions import as_pytree, outputs_of
from edmjax._common.trees import check_like
from edmjax.denoisers.network import call
from edmjax.denoisers.preconditionings import EDM
from edmjax.terms._forms import Theta, make_form


def ode_term(
    denoise: Any, process: Any = None, form: Any = "theta", sigma_data: Any = None
) -> diffrax.ODETerm:
    """Returns the probability flow of a denoiser as a `diffrax.ODETerm`, from noise to data.

    The term knows the flow alone. Where it starts and ends, and how a point gets in and out, is
    said by the form, `term.vector_field.form` (see `make_form`):

        term = ej.terms.ode_term(denoise)
        form = term.vector_field.form
        ts = form.times([80.0, 0.002], x)
        y = form.enter(x, 80.0)
        solution = diffrax.diffeqsolve(term, diffrax.Tsit5(), ts[0], ts[-1], None, y, ...)
        x0 = form.leave(jax.tree.map(lambda leaf: leaf[-1], solution.ys), 0.002)

    The variable falls as noise does, which diffrax's solvers of ODEs allow. `args` of
    `diffeqsolve`, where it is not None, is the denoiser's `cond`. The term is a pytree with the
    denoiser's parameters as leaves, so it passes through `jit` as an argument.

    Args:
        denoise: `denoise(x, sigma)` returns `E[x0 | x]` like `x`, or a dict with "x0".
        process: whose own time form "t" runs in; see `make_form`.
        form: "theta", "log_sigma", "sigma" or "t", or a `Form`. What "theta" integrates is the
            network's own output F: `d(x / sqrt(sigma^2 + sigma_data^2)) = -F dtheta`, with
            `theta = arctan(sigma / sigma_data)`: as a rule 2 to 4 times fewer evaluations than
            "sigma" takes.
        sigma_data: the width of the data in "theta"; by default the denoiser's own, else 0.5. With
            the own one of `ej.denoisers.edm(net)`, F is what the network returns.

    Raises:
        TypeError: if `denoise` is not a function, or `process` not a process; in the solver, if
            the dtype of the times is not that of the state.
        ValueError: if `form` is unknown or `sigma_data` not positive; in the solver, if the
            denoiser returns another structure or shape than that of `x`.
    """
    own = getattr(denoise, "sigma_data", None) if sigma_data is None else sigma_data
    made = make_form(form, process, own)
    # `EDM` itself: what wraps it, as guidance does, has another output.
    direct = sigma_data is None and isinstance(form, str) and isinstance(made, Theta)
    return diffrax.ODETerm(Flow(made, as_pytree(denoise, "denoise"), direct and is_edm(denoise)))


def is_edm(denoise: Any) -> bool:
    return type(denoise) is EDM


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Flow:
    """`dy/ds` as a function of `(s, y, args)`, with `args` the denoiser's `cond`.

    Where `direct`, the slope is the output of the network itself, at `y`, which is its `c_in x`: no
    difference is divided by a small `c_out`.
    """

    form: Any
    denoise: Any
    direct: bool = dataclasses.field(default=False, metadata={"static": True})

    def __call__(self, s: Any, y: Any, args: Any) -> Any:
        s = in_precision_of(s, y)
        sigma = self.form.level(s)
        if self.direct:
            c_noise = self.denoise.coefficients(sigma)[-1]
            output = check_like(call(self.denoise.net, y, c_noise, args), y, "The network")
            return jax.tree.map(lambda value, leaf: -value.astype(leaf.dtype), output, y)
        factor = self.form.factor(sigma)
        x = jax.tree.map(lambda leaf: leaf / factor, y)
        a, b = self.form.rates(s, sigma)
        return affine(a, y, b, denoised(self.denoise, x, sigma, args))


def denoised(denoise: Any, x: Any, sigma: Any, cond: Any) -> Any:
    out = denoise(x, sigma) if cond is None else denoise(x, sigma, cond)
    return outputs_of(out, x)[0]


def affine(a: Any, y: Any, b: Any, outputs: Any) -> Any:
    """`a y + b D` in the dtypes of `y`."""
    return jax.tree.map(
        lambda leaf, out: from_left(a, leaf) * leaf + from_left(b, leaf) * out.astype(leaf.dtype),
        y,
        outputs,
    )


def in_precision_of(s: Any, y: Any) -> jax.Array:
    """The time as an array, whose dtype must be that of the state."""
    dtype = working_dtype(*[leaf.dtype for leaf in jax.tree.leaves(y)])
    given = getattr(s, "dtype", dtype)
    if given != dtype and not getattr(s, "weak_type", False):
        raise TypeError(
            f"The times are {given} and the state is {dtype}: pass `t0`, `t1` and `dt0` in the "
            "dtype of the state, as `form.times(sigmas, x)` gives them."
        )
    return jnp.asarray(s, dtype)
