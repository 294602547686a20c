"""Noise of one Brownian path: the same for every grid and every caller, diffrax included.

The clock is the time `t >= 0` of a process, read as a float32 number, `t = 2^e (1 + f)`. Its bits
name the nodes of a fixed tree: an octave [2^e, 2^(e+1)) is halved 23 times, and node `n` of octave
`e` has a standard normal `Z_n = normal(fold_in(fold_in(key_i, 2^23 (e + 127) + n), leaf))`. In
terms of these, Lévy's construction of the path is

    W(t) = W(2^e) + 2^(e/2) (f Z_0 + sum_l 2^(-l/2) tent(2^l f mod 1) Z_(2^l + floor(2^l f))),
    W(2^(e+1)) = W(2^e) + 2^(e/2) Z_0,    tent(u) = min(u, 1 - u),

It stops at the times that float32 has. At those its law is exactly that of Brownian motion. An
increment is summed node by node. The weight of a node is the difference of the weights that the two
ends give it, so a short increment is not the difference of two large numbers.
"""

import dataclasses
import functools
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from edmjax._common.arrays import working_dtype
from edmjax._common.exported import serializable
from edmjax._common.manual import vary_like
from edmjax._common.trees import Layout, check_batch_axis, floating_tree
from edmjax._common.typing import Array, Keys, PyTree, Scalar, X
from edmjax.noise.keys import check_key, check_keys, cut_draw, draw, keys_of
from edmjax.planning.table import PlanLike
from edmjax.processes.process import Process, check_process
from edmjax.scalar import flag, host, is_traced

if TYPE_CHECKING:
    import diffrax

_LEVELS = 23  # the bits of a float32 number behind its leading one


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Brownian:
    """See `brownian`. A pytree: the key and the numbers of the process are its leaves."""

    key: Keys
    process: Process

    def increment(self, x: X, t_from: Scalar, t_to: Scalar, *, batched: bool = True) -> X:
        """Returns `W(t_to) - W(t_from)` for each sample, like `x`, of variance `|t_to - t_from|`.

        Times are scalars of the process's clock, at least 0, and may be traced; they are rounded to
        float32. `x` may hold arrays or `jax.ShapeDtypeStruct`s. Where a traced time turns out to be
        negative or infinite, the increment is NaN.

        Raises:
            TypeError: if `x` holds no floating arrays.
            ValueError: if a time is negative, NaN, or not finite in float32, or the key does not
                fit `x`.
        """
        self._fits(x, batched)
        t_from, t_to = host(t_from, "t_from"), host(t_to, "t_to")
        times = _clock(np.stack([t_from, t_to]) if not is_traced(t_from, t_to) else (t_from, t_to))
        # Keys that belong to samples, so that sample `i` meets the same path in any batch.
        keys = keys_of(self.key, x, batched)
        return _increment(keys, times, like=Layout(x))

    def diffrax_path(
        self, x: PyTree, *, batched: bool = True
    ) -> "diffrax.AbstractBrownianPath[Any]":
        """Returns the path as diffrax takes it: the `brownian` of `ej.terms.sde_terms`.

        Over `[a, b]` it is `increment(x, |a|, |b|)`: `sde_terms` runs in `-t`. It knows its
        increments and not their Lévy area, so it is for `diffrax.Euler`, `Heun`, `ItoMilstein` and
        the like; SEA, SRA1 and ShARK ask for the area. The noise of sample `i` depends only on
        `(key, i)`, as in `ej.sample`. `x` is a point in the process's scale.

        Raises:
            ImportError: without diffrax. TypeError, ValueError: as `increment`.
        """
        # Not at the top: the core must load without diffrax.
        from edmjax.terms.path import Path

        self._fits(x, batched)
        return Path.of(self, x, batched)

    def _fits(self, x: Any, batched: Any) -> None:
        floating_tree(x, "x", shapes=True)
        check_batch_axis(x, "x", flag(batched, "batched"))
        check_keys(self.key, x, batched)

    def over(self, plan: PlanLike, x: PyTree, batched: bool) -> "Increments":
        """What the loop draws from: the path at the times between which the plan's draws lie."""
        check_keys(self.key, x, batched)
        drawn, unnamed = plan.draws >= 0, plan.intervals[..., 0] == plan.intervals[..., 1]
        if not is_traced(drawn, unnamed) and (drawn & unnamed).any():
            ordinal = plan.draws[drawn & unnamed].min()
            raise ValueError(
                f"Draw {ordinal} of this plan is no increment of a path: its sampler names no "
                "interval for it. (`churn`, `restart` and `dpmpp_sde(noise='independent')` name "
                "none.) Use a sampler that steps along the reverse SDE, such as `euler_maruyama`, "
                "`ddpm` or `dpmpp_2m_sde`, or pass a key."
            )
        # On the host in float64 where the plan is concrete: levels near each other differ there,
        # and their times are rounded once, to the clock.
        module = jnp if is_traced(plan.intervals) else np
        there = (drawn & ~unnamed)[..., None]
        levels = module.where(there, plan.intervals, plan.grid[-2])
        times = _clock(self.process.time(levels))
        # A draw without an interval becomes NaN rather than noise of the wrong interval. Only a
        # traced plan can have one here.
        nothing = jnp.where(drawn[..., None], jnp.nan, 0.0)
        return Increments(self.key, jnp.where(there, times, nothing))


serializable(Brownian, read=tuple)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Increments:
    """A path bound to a plan: `times` has shape (nfe + 1, draws per row, 2)."""

    key: Keys
    times: Array


def brownian(key: Keys, process: Process | None = None) -> Brownian:
    """Returns a Brownian path for each sample, to be passed to `ej.sample` in place of a key.

        path = ej.brownian(jax.random.key(0))
        x20 = ej.sample(denoise, plan_20, x, path)
        x40 = ej.sample(denoise, plan_40, x, path)  # the same path, in twice as many steps

    Samplers name the interval of levels that a draw covers. The draw is then the increment of the
    path over that interval, divided by its standard deviation. So plans on any two grids, and
    diffrax (`path.diffrax_path`), meet the same noise. Samplers that solve the same stochastic
    differential equation converge strongly to the same sample: the difference falls with the step.

    The path runs in the time of `process`, in which `dW` drives its SDE. For `processes.edm` that
    is sigma. Two samplers share a path only if they share the process. The path of sample `i`
    depends only on `(key, i)`. A draw costs about fifty random numbers in place of one, which is
    little beside a network.

    Args:
        key: one typed key, or one per sample, as for `sample`.
        process: the process whose time is the clock; `processes.edm()` by default.

    Raises:
        TypeError: if `key` is not a typed key, or `process` not a process.
        ValueError: if the key's generator depends on the batch. In `sample`: if the plan has a draw
            that is no increment, such as a draw of `churn`, or a corrector is given.
    """
    check_key(key)
    if process is None:
        from edmjax.processes import edm

        process = edm()
    check_process(process)
    return Brownian(key, process)


if TYPE_CHECKING:
    # What noise is drawn from: one key, one key a sample, or a path.
    KeyLike: TypeAlias = Keys | Brownian
else:
    KeyLike = Any


@functools.partial(jax.jit, static_argnames="like")
def _increment(keys: Any, times: Any, *, like: Layout) -> Any:
    x = like.tree()
    draws = unit_increment(keys, times, x, jnp.sqrt(jnp.abs(times[1] - times[0])))
    return jax.tree.map(lambda draw, leaf: cut_draw(draw, leaf.shape), draws, x)


def unit_increment(keys: Keys, times: Array, x: PyTree, length: Scalar = 1.0) -> PyTree:
    """The increment over `times`, shape (2,), of variance `length^2`; noise before it is cut."""
    forward = times[1] >= times[0]
    low, high = jnp.minimum(*times), jnp.maximum(*times)
    gap = high - low
    # The inner `where` keeps the gradient of an empty interval finite.
    scale = jnp.where(forward, length, -length) / jnp.sqrt(jnp.where(gap > 0, gap, 1.0))
    scale = jnp.where(gap > 0, scale, gap)  # 0 over an empty interval, NaN if a time is NaN
    (octave_a, index_a), (octave_b, index_b) = _place(low), _place(high)
    shared = octave_a == octave_b
    # Fifty terms are summed: in half precision the sum would lose two digits.
    held = jax.tree.map(lambda v: jax.ShapeDtypeStruct(v.shape, working_dtype(v.dtype)), x)

    def add(total: Any, weight: Any, octave: Any, node: Any) -> Any:
        normal = draw(keys, (octave << _LEVELS) + node, held)
        weight = scale * weight * _root_of(octave)
        return jax.tree.map(lambda t, z: t + weight.astype(z.dtype) * z, total, normal)

    def whole_octave(octave: Any, total: Any) -> Any:
        return add(total, jnp.float32(1.0), octave, 0)

    def level(l: Any, total: Any) -> Any:
        bits = _LEVELS - l
        size = jnp.exp2(-0.5 * l.astype(jnp.float32) - bits.astype(jnp.float32))

        def tent(index: Any) -> Any:
            rest = index & ((1 << bits) - 1)
            return jnp.minimum(rest, (1 << bits) - rest)

        node_a, node_b = index_a >> bits, index_b >> bits
        same = shared & (node_a == node_b)
        # Whole numbers: where both ends have the node, their difference is exact.
        weight = tent(index_b) - jnp.where(same, tent(index_a), 0)
        total = add(total, size * weight, octave_b, (1 << l) + node_b)
        weight = jnp.where(same, 0, -tent(index_a))
        return add(total, size * weight, octave_a, (1 << l) + node_a)

    unit = 2.0**-_LEVELS
    total = jax.tree.map(
        lambda v: jnp.zeros(v.shape, v.dtype), jax.eval_shape(lambda: draw(keys, 0, held))
    )
    total = vary_like(total, (keys, times))
    total = lax.fori_loop(octave_a, octave_b, whole_octave, total)
    total = add(total, unit * (index_b - jnp.where(shared, index_a, 0)), octave_b, 0)
    total = add(total, unit * jnp.where(shared, 0, -index_a), octave_a, 0)
    total = lax.fori_loop(0, _LEVELS, level, total)
    return jax.tree.map(lambda t, v: t.astype(v.dtype), total, x)


def draw_path(path: Increments, keys: Keys, draws: np.ndarray, num_draws: int, x: PyTree) -> PyTree:
    """All draws of a concrete plan, leaf shape (num_draws, *leaf.shape)."""
    at = np.array([np.argwhere(draws == j)[0] for j in range(num_draws)], int).reshape(-1, 2)
    return _draw_all(keys, path.times[at[:, 0], at[:, 1]], like=Layout(x))


@functools.partial(jax.jit, static_argnames="like")
def _draw_all(keys: Any, times: Any, *, like: Layout) -> Any:
    x = like.tree()
    # One draw after another: all at once would hold the normals and sums of every draw together.
    whole = lax.map(lambda pair: unit_increment(keys, pair, x), times)
    cut = lambda v, leaf: jax.vmap(lambda v: cut_draw(v, leaf.shape))(v)  # noqa: E731
    return jax.tree.map(cut, whole, x)


def _clock(times: Any) -> Any:
    """Times as float32, checked to be finite and not negative; a traced one that is not is NaN."""
    if not isinstance(times, tuple) and not is_traced(times):
        numbers = np.asarray(times, np.float64)
        there = (numbers >= 0) & (numbers <= np.finfo(np.float32).max)
        if not there.all():
            raise ValueError(
                "The clock of a Brownian path is a time from 0 on, and finite in float32; got "
                f"{numbers[~there][0]}: pass the process whose times these are."
            )
        return jnp.asarray(numbers, jnp.float32)
    times = jnp.asarray(times, jnp.float32)
    # The bits of a negative or infinite time would name nodes that no time of the path has.
    return jnp.where((times >= 0) & jnp.isfinite(times), times, jnp.nan)


def _place(t: Any) -> tuple[Any, Any]:
    """The octave of a time and its index in the octave, from its bits; octave 0 is the lowest."""
    bits = lax.bitcast_convert_type(lax.stop_gradient(t), jnp.int32)
    octave, index = bits >> _LEVELS, bits & ((1 << _LEVELS) - 1)
    return octave, jnp.where(octave == 0, 0, index)  # numbers below 2^-126 are 0


def _root_of(octave: Any) -> Any:
    """The square root of the length of an octave."""
    return jnp.exp2(0.5 * (jnp.maximum(octave, 1) - 127).astype(jnp.float32))
