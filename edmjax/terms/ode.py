"""The probability flow as a diffrax term."""

import dataclasses
from typing import Any

import diffrax
import jax
import jax.numpy as jnp

from edmjax._common.arrays import weighted, working_dtype
from edmjax._common.functions import denoiser_as_pytree, outputs_of, with_cond
from edmjax._common.trees import check_like
from edmjax._common.typing import Denoiser, Level, PyTree, Scalar
from edmjax.denoisers.network import call
from edmjax.denoisers.preconditionings import EDM
from edmjax.processes.process import Process
from edmjax.terms.forms import Form, Theta, make_form


def ode_term(
    denoise: Denoiser,
    process: Process | None = None,
    form: str | Form = "theta",
    sigma_data: Scalar | None = None,
) -> diffrax.ODETerm[Any]:
    """Returns the probability flow of a denoiser as a `diffrax.ODETerm`, from noise to data.

    The term knows the flow alone. The form, `term.vector_field.form` (see `make_form`), says where
    it starts and ends, and how a point gets in and out:

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
        form: "theta", "log_sigma", "sigma" or "t", or a `Form`. "theta" integrates the network's
            own output F: `d(x / sqrt(sigma^2 + sigma_data^2)) = -F dtheta`, with
            `theta = arctan(sigma / sigma_data)`. As a rule it takes 2 to 4 times fewer evaluations
            than "sigma".
        sigma_data: the standard deviation of the data in "theta"; by default the denoiser's own,
            else 0.5. With the own one of `ej.denoisers.edm(net)`, F is what the network returns.

    Raises:
        TypeError: if `denoise` is not a function, or `process` not a process; in the solver, if
            times and state differ in dtype.
        ValueError: if `form` is unknown or `sigma_data` not positive; in the solver, if the
            denoiser's output differs from `x` in structure or shape.
    """
    own = getattr(denoise, "sigma_data", None) if sigma_data is None else sigma_data
    made = make_form(form, process, own)
    # `EDM` itself: a wrapper, such as guidance, has another output than the network.
    direct = sigma_data is None and isinstance(form, str) and isinstance(made, Theta)
    return diffrax.ODETerm(
        Flow(made, denoiser_as_pytree(denoise, "denoise"), direct and is_edm(denoise))
    )


def is_edm(denoise: Denoiser) -> bool:
    return type(denoise) is EDM


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Flow:
    """`dy/ds` as a function of `(s, y, args)`, with `args` the denoiser's `cond`.

    Where `direct`, the slope is the output of the network itself at `y`, which is its `c_in x`, so
    that no difference is divided by a small `c_out`.
    """

    form: Form
    denoise: Any
    direct: bool = dataclasses.field(default=False, metadata={"static": True})

    def __call__(self, s: Level, y: PyTree, args: PyTree) -> Any:
        s = in_precision_of(s, y)
        sigma = self.form.level(s)
        if self.direct:
            c_noise = self.denoise.coefficients(sigma)[-1]
            output = check_like(call(self.denoise.net, y, c_noise, args), y, "The network")
            return jax.tree.map(lambda value, leaf: -value.astype(leaf.dtype), output, y)
        factor = self.form.factor(sigma)
        x = jax.tree.map(lambda leaf: leaf / factor, y)
        a, b = self.form.rates(s, sigma)
        return weighted((a, y), (b, denoised(self.denoise, x, sigma, args)))


def denoised(denoise: Denoiser, x: PyTree, sigma: Any, cond: PyTree) -> Any:
    """The denoised output alone, in the structure and shapes of `x`."""
    return outputs_of(with_cond(denoise, x, sigma, cond=cond), x)[0]


def in_precision_of(s: Level, y: PyTree) -> jax.Array:
    """The time as an array in the dtype of the state; raises where it has another."""
    dtype = working_dtype(*[leaf.dtype for leaf in jax.tree.leaves(y)])
    given = getattr(s, "dtype", dtype)
    if given != dtype and not getattr(s, "weak_type", False):
        raise TypeError(
            f"The times are {given} and the state is {dtype}: pass `t0`, `t1` and `dt0` in the "
            "dtype of the state, as `form.times(sigmas, x)` gives them."
        )
    return jnp.asarray(s, dtype)
