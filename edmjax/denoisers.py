"""Denoisers: from a network, or from any way to say the same thing, to `denoise(x, sigma)`.

The frame is variance exploding: `x = x0 + sigma * n` with `n` standard normal, and `denoise(x,
sigma)` estimates `E[x0 | x]`. Networks reach it by preconditioning (`edm`, `song`), functions by
conversion (`from_score`, `from_eps`, `from_v`, `from_x0`; the other way `to_score`, `to_eps`,
`to_v`). Everything here is called as `denoise(x, sigma)` or `denoise(x, sigma, cond)`, and is a
pytree whose leaves are the network's arrays and its own numbers, so that it travels through `jit`
as an argument.

`x` is any pytree of floating arrays; `sigma` is a scalar or has one level for each entry of axis 0,
and is broadcast from the left. What comes back has the structure, shapes and dtypes of `x`; in
between, coefficients and sums are float32 at least (float64 for float64 `sigma` or `x`).
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial, register_dataclass

from edmjax import _checks, processes
from edmjax._arrays import as_level, has_no_value, positive_number, weighted, working_dtype
from edmjax._typing import Sigma, X


class Preconditioned:
    """A denoiser `c_skip x + c_out F(c_in x, c_noise)` around a network F.

    Karras et al. (2022), equation 7. A preconditioning is a subclass with the field `net` and the
    method `coefficients`.
    """

    net: Any

    def coefficients(self, sigma: jax.Array) -> tuple[Any, Any, Any, Any]:
        """`(c_skip, c_out, c_in, c_noise)` in the shape and dtype of `sigma`."""
        raise NotImplementedError

    def __call__(self, x: X, sigma: Sigma, cond: Any = None) -> X:
        """The estimate of `E[x0 | x]`. See the module's docstring for shapes and dtypes."""
        x = _checks.floating_tree(x, "x")
        level = as_level(sigma, x)
        c_skip, c_out, c_in, c_noise = self.coefficients(level)
        output = _call(self.net, weighted((c_in, x)), c_noise, cond)
        return weighted((c_skip, x), (c_out, _checks.like(output, x, "The network")))


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class EDM(Preconditioned):
    """See `edm`."""

    net: Any
    sigma_data: Any

    def coefficients(self, sigma):
        sigma_data = jnp.asarray(self.sigma_data, sigma.dtype)
        total = jnp.hypot(sigma, sigma_data)  # does not overflow where sigma ** 2 would
        # At 0 the output is multiplied by c_out = 0, so any finite c_noise gives D = x; that of the
        # least level of the paper's range keeps the network, and the slope of D, where it was
        # trained.
        seen = jnp.where(sigma > 0, sigma, 0.002)
        return (sigma_data / total) ** 2, sigma / total * sigma_data, 1 / total, jnp.log(seen) / 4


def edm(net: Any, sigma_data: Any = 0.5) -> EDM:
    """The denoiser of a network `net(x, c_noise[, cond]) -> F` with EDM preconditioning.

        D(x; sigma) = c_skip x + c_out F(c_in x, c_noise)
        c_skip = sigma_data^2 / (sigma^2 + sigma_data^2)
        c_out  = sigma sigma_data / sqrt(sigma^2 + sigma_data^2)
        c_in   = 1 / sqrt(sigma^2 + sigma_data^2)
        c_noise = log(sigma) / 4

    `net` gets `c_in x` in the dtypes of `x` and `c_noise` in the shape of `sigma`. At `sigma = 0`
    the result is `x`, and `c_noise` is that of 0.002. Parameters travel through `jit` where `net`
    is a pytree (a Flax NNX module, a `jax.tree_util.Partial` of arrays); a plain function is
    static, with what it closes over.

    Raises:
        TypeError: `net` is not callable, `x` is not floating.
        ValueError: `sigma_data` is not positive, `sigma` does not fit `x`, or the network returns
            another structure or shape than that of `x`.

    Source: Karras et al. (2022), Table 1 (rightmost column) and equation 7.
    """
    return EDM(_as_pytree(net, "net"), positive_number("sigma_data", sigma_data))


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Song(Preconditioned):
    """See `song`."""

    net: Any
    sigma: Any

    def coefficients(self, sigma):
        one = jnp.ones_like(sigma)
        return one, sigma, one, processes.song_ve(self.sigma).time(sigma)


def song(net: Any, sigma: Any = 25.0) -> Song:
    """The denoiser of a network `net(x, t[, cond]) -> F` trained on the SDE dx = sigma^t dw.

    With the standard deviation `std(t) = sqrt((sigma^(2t) - 1) / (2 log sigma))` of that SDE, its
    network estimates `score = F / std(t)`; hence at level `s`

        D(x; s) = x + s F(x, t(s)),    t(s) = log(1 + 2 s^2 log sigma) / (2 log sigma).

    The network itself is not to divide by `std`. Raises as `edm` does, and where `sigma`, the base,
    is not above 1. Source: the score-based tutorial of Song, whose sigma is 25; Song et al. (2021),
    equation 30 for the loss.
    """
    processes.song_ve(sigma)  # raises where the base makes no process
    return Song(_as_pytree(net, "net"), positive_number("sigma", sigma))


def denoised_from_score(x: X, score: X, sigma: Sigma) -> X:
    """`x + sigma^2 score`, for a score: the gradient in `x` of the log-density at level `sigma`."""
    x, score, sigma = _enter(x, score, sigma, "score")
    return weighted((1.0, x), (sigma**2, score))


def denoised_from_eps(x: X, eps: X, sigma: Sigma) -> X:
    """`x - sigma eps`, for an estimate of the noise `n` in `x = x0 + sigma n`."""
    x, eps, sigma = _enter(x, eps, sigma, "eps")
    return weighted((1.0, x), (-sigma, eps))


def denoised_from_v(x: X, v: X, sigma: Sigma) -> X:
    """`x / (1 + sigma^2) - sigma / sqrt(1 + sigma^2) v`.

    `v = alpha eps - s x0` with `alpha = 1 / sqrt(1 + sigma^2)` and `s = sigma alpha`, in the
    variance-preserving frame `x_vp = alpha x` (Salimans and Ho 2022, appendix D).
    """
    x, v, sigma = _enter(x, v, sigma, "v")
    alpha = 1 / jnp.hypot(1.0, sigma)
    return weighted((alpha**2, x), (-sigma * alpha, v))


def score_from_denoised(x: X, denoised: X, sigma: Sigma) -> X:
    """`(denoised - x) / sigma^2`. Raises ValueError at `sigma = 0`, where it has no value."""
    x, denoised, sigma = _enter(x, denoised, sigma, "denoised", divides=True)
    return _spread(x, denoised, -((1 / sigma) ** 2), 0.0)


def eps_from_denoised(x: X, denoised: X, sigma: Sigma) -> X:
    """`(x - denoised) / sigma`. Raises ValueError at `sigma = 0`, where it has no value."""
    x, denoised, sigma = _enter(x, denoised, sigma, "denoised", divides=True)
    return _spread(x, denoised, 1 / sigma, 0.0)


def v_from_denoised(x: X, denoised: X, sigma: Sigma) -> X:
    """`alpha (x - denoised) / sigma - sigma alpha denoised`, with `alpha` of `denoised_from_v`.

    Raises ValueError at `sigma = 0`, where it has no value.
    """
    x, denoised, sigma = _enter(x, denoised, sigma, "denoised", divides=True)
    alpha = 1 / jnp.hypot(1.0, sigma)
    return _spread(x, denoised, alpha / sigma, -sigma * alpha)


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Converted:
    """A function of `(x, sigma[, cond])`, with `convert(x, output, sigma)` of what it returns."""

    fn: Any
    convert: Any = dataclasses.field(metadata={"static": True})
    name: str = dataclasses.field(metadata={"static": True})

    def __call__(self, x: X, sigma: Sigma, cond: Any = None) -> X:
        """The converted output. See the module's docstring for shapes and dtypes."""
        x = _checks.floating_tree(x, "x")
        level = as_level(sigma, x)
        output = _call(self.fn, x, level, cond)
        if self.name == "denoise":
            output, _ = _checks.outputs(output, x)
        return self.convert(x, _checks.like(output, x, f"`{self.name}`"), sigma)


def from_score(score_fn: Any) -> Converted:
    """The denoiser of `score_fn(x, sigma[, cond])`, the score of `x0 + sigma n` at `x`."""
    return _converted(score_fn, denoised_from_score, "score_fn")


def from_eps(eps_fn: Any) -> Converted:
    """The denoiser of `eps_fn(x, sigma[, cond])`, an estimate of `n` in `x = x0 + sigma n`."""
    return _converted(eps_fn, denoised_from_eps, "eps_fn")


def from_v(v_fn: Any) -> Converted:
    """The denoiser of `v_fn(x, sigma[, cond])`, an estimate of v; see `denoised_from_v`."""
    return _converted(v_fn, denoised_from_v, "v_fn")


def from_x0(x0_fn: Any) -> Converted:
    """The denoiser of `x0_fn(x, sigma[, cond])`, an estimate of `x0` itself.

    It is the function made a pytree, its output checked and cast to the dtypes of `x`.
    """
    return _converted(x0_fn, _same, "x0_fn")


def to_score(denoise: Any) -> Converted:
    """The score `(denoise(x, sigma) - x) / sigma^2` as a function of `(x, sigma[, cond])`."""
    return _converted(denoise, score_from_denoised, "denoise")


def to_eps(denoise: Any) -> Converted:
    """The noise `(x - denoise(x, sigma)) / sigma` as a function of `(x, sigma[, cond])`."""
    return _converted(denoise, eps_from_denoised, "denoise")


def to_v(denoise: Any) -> Converted:
    """The v of `denoise(x, sigma)` as a function of `(x, sigma[, cond])`; see `denoised_from_v`."""
    return _converted(denoise, v_from_denoised, "denoise")


def _converted(function: Any, convert: Any, name: str) -> Converted:
    return Converted(_as_pytree(function, name), convert, name)


def _as_pytree(function: Any, name: str) -> Any:
    """`function` as a child: itself where it is a pytree with arrays, else within a `Partial`."""
    if not callable(function):
        raise TypeError(f"`{name}` must be a function of (x, sigma), got {function!r:.80}.")
    arrays = (jax.Array, np.ndarray, np.generic)
    has_arrays = any(isinstance(leaf, arrays) for leaf in jax.tree.leaves(function))
    return function if has_arrays else Partial(function)


def _call(function: Any, x: Any, level: jax.Array, cond: Any) -> Any:
    # A float64 level at float32 x serves the coefficients; a network is spared the promotion.
    level = level.astype(working_dtype(*[leaf.dtype for leaf in jax.tree.leaves(x)]))
    return function(x, level) if cond is None else function(x, level, cond)


def _same(x: Any, output: Any, sigma: Any) -> Any:
    return jax.tree.map(lambda leaf, out: jnp.asarray(out, leaf.dtype), x, output)


def _enter(x: Any, other: Any, sigma: Any, name: str, divides: bool = False):
    """The arguments of a conversion, checked; `sigma` as an array."""
    x = _checks.floating_tree(x, "x")
    other = _checks.like(_checks.floating_tree(other, name), x, f"`{name}`")
    if divides and not has_no_value(sigma) and (np.asarray(sigma) == 0).any():
        raise ValueError("At sigma = 0 a score, eps or v has no value: ask for sigma above 0.")
    return x, other, as_level(sigma, x)


def _spread(x: Any, denoised: Any, a: jax.Array, b: Any) -> Any:
    """`a (x - denoised) + b denoised` in the dtypes of `x`."""

    def difference(leaf, denoised):  # exact where the two are close, before `a` magnifies it
        dtype = working_dtype(leaf.dtype)
        return leaf.astype(dtype) - denoised.astype(dtype)

    wide = weighted((a, jax.tree.map(difference, x, denoised)), (b, denoised))
    return jax.tree.map(lambda leaf, value: value.astype(leaf.dtype), x, wide)
