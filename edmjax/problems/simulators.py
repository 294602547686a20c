"""Simulators whose posterior is known: what inference is tested on.

Both are tasks of the benchmark of Lueckmann et al. (2021, arXiv 2101.04653), with its numbers.
`theta` are the parameters, `x` the data of one simulation. Each has four methods:

    prior(key, n)            parameters (n, d)
    simulate(key, theta)     data (n, d), one simulation for each row of theta
    posterior(key, x, n)     exact draws (n, d) of the parameters, given data x (d,)
    log_posterior(theta, x)  the normalised log-density in nats, (n,); x is (n, d), or (d,) for all

Draws are float32, or float64 under x64.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from edmjax._common.arguments import on_host, whole
from edmjax._common.arrays import working_dtype
from edmjax._common.typing import Arraylike, Int, Keys

if TYPE_CHECKING:
    Rows = np.ndarray | Array
else:
    Rows = Any  # a wrong one must reach its message


@dataclass(frozen=True)
class GaussianLinear:
    """A mean with a Gaussian prior, seen through Gaussian noise, in 10 dimensions.

        theta ~ N(0, 0.1 I),   x | theta ~ N(theta, 0.1 I),   theta | x ~ N(x / 2, 0.05 I)

    Source: Lueckmann et al. (2021), appendix T.1.
    """

    dim: ClassVar[int] = 10
    variance: ClassVar[float] = 0.1  # of the prior and of the noise

    def prior(self, key: Keys, n: Int) -> Float[Array, "n d"]:
        """`n` parameters."""
        return _normal(key, (whole(n, "n"), self.dim), self.variance)

    def simulate(self, key: Keys, theta: Rows) -> Float[Array, "n d"]:
        """Data for each row of `theta`."""
        theta = _rows(theta, "theta", self.dim)
        return theta + _normal(key, theta.shape, self.variance)

    def posterior(self, key: Keys, x: Arraylike, n: Int) -> Float[Array, "n d"]:
        """`n` exact draws of the parameters, given data `x` (d,)."""
        x = jnp.asarray(_observed(x, self.dim))
        return x / 2 + _normal(key, (whole(n, "n"), self.dim), self.variance / 2)

    def log_posterior(self, theta: Rows, x: Rows) -> Float[Array, " n"]:
        """The log-density of the parameters given `x`, in nats."""
        theta, x = _rows(theta, "theta", self.dim), _rows(x, "x", self.dim, single=True)
        v = self.variance / 2
        return -0.5 * jnp.sum((theta - x / 2) ** 2 / v + math.log(2 * math.pi * v), axis=-1)


@dataclass(frozen=True)
class TwoMoons:
    """Two parameters whose posterior is two thin crescents.

        theta ~ U([-1, 1]^2),   u = (theta_1 + theta_2, theta_2 - theta_1) / sqrt(2)
        x = (1/4 + r cos a - |u_1|, r sin a + u_2),   r ~ N(0.1, 0.01^2),  a ~ U(-pi/2, pi/2)

    The law of the point p = (1/4 + r cos a, r sin a) has the density `N(r; 0.1, 0.01^2) / (pi r)`
    right of 1/4, where 1 / r is from polar coordinates. Given x, both `|u_1| = p_1 - x_1` and
    `u_2 = x_2 - p_2` are p shifted and mirrored, so the posterior is that density, for both signs
    of u_1, where theta is within the square, over the integral of it there. Where x_1 is above 1/4,
    `|u_1| >= 0` cuts the crescents too.

    The benchmark's own reference sampler misses that cut, and its density lacks the factor 1 / r.

    Source: Lueckmann et al. (2021), appendix T.8, the simulator; Greenberg et al. (2019, arXiv
    1905.07488), appendix A.5.2.
    """

    dim: ClassVar[int] = 2
    radius: ClassVar[float] = 0.1
    spread: ClassVar[float] = 0.01
    centre: ClassVar[float] = 0.25

    def prior(self, key: Keys, n: Int) -> Float[Array, "n 2"]:
        """`n` parameters, uniform in the square."""
        return jax.random.uniform(key, (whole(n, "n"), 2), minval=-1.0, maxval=1.0)

    def simulate(self, key: Keys, theta: Rows) -> Float[Array, "n 2"]:
        """Data for each row of `theta`."""
        u = _turned(_rows(theta, "theta", 2))
        p = self._points(key, len(u))
        return jnp.stack([p[:, 0] - jnp.abs(u[:, 0]), p[:, 1] + u[:, 1]], axis=-1)

    def posterior(self, key: Keys, x: Arraylike, n: Int) -> Float[Array, "n 2"]:
        """`n` exact draws of the parameters, given data `x` (2,), by rejection.

        Raises:
            ValueError: data that the simulator makes less than once in a million times.
        """
        x, n = _observed(x, 2), whole(n, "n")
        share = float(self._share(jnp.asarray(x[None]))[0])
        if share < 1e-6:
            raise ValueError(f"`x` cannot be data of two moons, got {x.tolist()}.")
        # A power of two, so that other data rarely are another shape, and compile nothing anew.
        size, found, i = 1 << min(math.ceil(math.log2(1.1 * n / share + 1)), 20), [], 0
        while sum(map(len, found)) < n:
            theta, kept = self._proposed(jax.random.fold_in(key, i), jnp.asarray(x), size)
            found.append(np.asarray(theta)[np.asarray(kept)])
            i += 1
        return jnp.asarray(np.concatenate(found)[:n])

    @partial(jax.jit, static_argnums=(0, 3))
    def _proposed(self, key: Keys, x: Array, size: int) -> tuple[Array, Array]:
        """The parameters of `size` points, and which of them are in the square."""
        key_p, key_sign = jax.random.split(key)
        p = self._points(key_p, size)
        east, north = p[:, 0] - x[0], x[1] - p[:, 1]
        u = jnp.stack([east * jax.random.rademacher(key_sign, (size,), p.dtype), north], axis=-1)
        kept = (east >= 0) & (east + jnp.abs(north) <= math.sqrt(2))
        return _turned(u, back=True), kept

    def log_posterior(self, theta: Rows, x: Rows) -> Float[Array, " n"]:
        """The log-density of the parameters given `x`, in nats; -inf where there is none."""
        theta, x = _rows(theta, "theta", 2), _rows(x, "x", 2, single=True)
        u = _turned(theta)
        p = jnp.stack([x[..., 0] + jnp.abs(u[:, 0]), x[..., 1] - u[:, 1]], axis=-1)
        east = p[:, 0] - self.centre
        r = jnp.hypot(east, p[:, 1])
        z = (r - self.radius) / self.spread
        log_p = -0.5 * z**2 - jnp.log(math.sqrt(2 * math.pi) * self.spread * math.pi * r)
        inside = (east > 0) & (jnp.abs(theta) <= 1).all(axis=-1)
        share = self._share(x if x.ndim == 2 else x[None])
        return jnp.where(inside & (share > 0), log_p - jnp.log(2 * share), -jnp.inf)

    def _points(self, key: Keys, n: int) -> Array:
        key_a, key_r = jax.random.split(key)
        a = jax.random.uniform(key_a, (n,), minval=-math.pi / 2, maxval=math.pi / 2)
        r = self.radius + self.spread * jax.random.normal(key_r, (n,))
        return jnp.stack([self.centre + r * jnp.cos(a), r * jnp.sin(a)], axis=-1)

    @partial(jax.jit, static_argnums=0)
    def _share(self, x: Array) -> Array:
        """The probability, (n,), that `p` is one that some theta in the square makes into `x`.

        For each r the angles that are ruled out are intervals: those with `p_1 < x_1`, beyond `end`
        on both sides, and those with `|u_1| + u_2` or `|u_1| - u_2` above sqrt(2), outside the
        square, around -pi/4 and pi/4. The mean over r is the trapezoidal rule's.
        """
        nodes = np.linspace(-6, 6, 241)
        weights = np.exp(-0.5 * nodes**2)
        r = self.radius + self.spread * nodes
        east, north = x[:, :1] - self.centre, x[:, 1:]
        end = jnp.minimum(_arccos(east / r), math.pi / 2)
        limit, side = math.sqrt(2) + east, math.sqrt(2) * r
        low, high = _arccos((limit - north) / side), _arccos((limit + north) / side)
        quarter = math.pi / 4

        def length(start: Array, stop: Array) -> Array:
            """Of the part of an interval that is not ruled out by `end`."""
            return jnp.clip(jnp.minimum(stop, end) - jnp.maximum(start, -end), 0)

        ruled_out = length(-quarter - low, -quarter + low) + length(quarter - high, quarter + high)
        twice = length(
            jnp.maximum(-quarter - low, quarter - high), jnp.minimum(-quarter + low, quarter + high)
        )
        of_r = (2 * end - ruled_out + twice) / math.pi
        return of_r @ jnp.asarray(weights / weights.sum(), of_r.dtype)


def _turned(v: Array, *, back: bool = False) -> Array:
    """`u` of `theta`, an eighth of a turn; `back` gives `theta` of `u`."""
    first, second = v[..., 0], v[..., 1]
    pair = (first - second, first + second) if back else (first + second, second - first)
    return jnp.stack(pair, axis=-1) / math.sqrt(2)


def _arccos(cosine: Array) -> Array:
    return jnp.arccos(jnp.clip(cosine, -1, 1))


def _normal(key: Keys, shape: tuple[int, ...], variance: float) -> Array:
    return math.sqrt(variance) * jax.random.normal(key, shape)


def _rows(value: Rows, name: str, dim: int, *, single: bool = False) -> Array:
    """`value` as an array (n, dim), or (dim,) too where that is allowed."""
    array = jnp.asarray(value)
    if array.shape[-1:] != (dim,) or array.ndim not in ((1, 2) if single else (2,)):
        either = f"(n, {dim})" + (f" or ({dim},)" if single else "")
        raise ValueError(f"`{name}` must have the shape {either}, got {array.shape}.")
    return array.astype(working_dtype(array.dtype))


def _observed(x: Arraylike, dim: int) -> np.ndarray:
    found = on_host(x, "x")
    if found.shape != (dim,):
        raise ValueError(f"`x` must be the data of one simulation, ({dim},), got {found.shape}.")
    return found
