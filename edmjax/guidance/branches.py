"""The two branches of guidance, and their linear combination.

Two branches of one network are one call of twice the batch, whose rows are of the positive and of
the negative branch by turns.
"""

import dataclasses
import functools
import numbers
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial, register_dataclass

from edmjax._common.arguments import on_host
from edmjax._common.arrays import as_sigma, has_no_value, weighted
from edmjax._common.functions import denoiser_as_pytree
from edmjax._common.held import Held, Wraps, is_far
from edmjax._common.typing import Arraylike, Denoiser, PyTree, Scalar, Sigma
from edmjax.guidance.outputs import Outputs, call, returned, sampled, wide


def linear(
    positive: PyTree, negative: PyTree, scale: jax.Array, x: PyTree, level: jax.Array
) -> PyTree:
    """`D_neg + scale (D_pos - D_neg)`, on trees of at least float32."""
    # In this form a scale of 1 is the positive branch to the bit.
    gap = jax.tree.map(jnp.subtract, positive, negative)
    return weighted((1.0, positive), (scale - 1, gap))


@dataclasses.dataclass(frozen=True, eq=False)
class Guided(Wraps):
    """A denoiser of two branches, `D = D_neg + scale (D_pos - D_neg)` unless a rule changes that.

    `classifier_free` and `autoguidance` return one; the rules take one, and change two fields.

    Attributes:
        denoise: the denoiser of the positive branch.
        scale: the scale where it is not changed: a scalar or one number a sample.
        alone: whether the scale is known to be 1, so that only the positive branch is needed.
        windows: pairs of levels; outside of any of them the scale is 1.
        rule: what stands in place of `linear`, a `Partial` of its arrays; None for `linear`.
    """

    denoise: Denoiser
    scale: Arraylike
    alone: bool = dataclasses.field(metadata={"static": True})
    windows: tuple[tuple[Scalar, Scalar], ...] = dataclasses.field(default=(), kw_only=True)
    rule: Partial | None = dataclasses.field(default=None, kw_only=True)

    def positive(self, x: PyTree, level: jax.Array, cond: PyTree, dtypes: PyTree) -> Outputs:
        """The outputs of the positive branch."""
        return call(self.denoise, x, level, cond, dtypes)

    def branches(
        self, x: PyTree, level: jax.Array, cond: PyTree, dtypes: PyTree
    ) -> tuple[Outputs, Outputs]:
        """The outputs of the positive and of the negative branch."""
        raise NotImplementedError  # abstract: every subclass has its own

    def scale_at(self, level: jax.Array) -> Arraylike:
        """The scale at a level: a scalar or one number a sample."""
        scale = self.scale
        for window in self.windows:
            # In the precision of the level, so that a bound equal to a level of the grid is rounded
            # as that level is.
            low, high = (jnp.asarray(v, level.dtype) for v in window)
            scale = jnp.asarray(scale)
            scale = jnp.where((low < level) & (level <= high), scale, jnp.ones_like(scale))
        return scale

    def combine(
        self, positive: PyTree, negative: PyTree, scale: jax.Array, x: PyTree, level: jax.Array
    ) -> PyTree:
        """The rule, on trees of at least float32."""
        return (self.rule or linear)(positive, negative, scale, x, level)

    def combined(self, positive: PyTree, negative: PyTree, x: PyTree, level: jax.Array) -> PyTree:
        """`combine` with the scale of `level`, on trees of any precision."""
        scale = jnp.asarray(self.scale_at(level))
        n = jax.tree.leaves(x)[0].shape[0]
        if scale.shape not in ((), (n,)):
            raise ValueError(
                f"`scale` has shape {scale.shape} and `x` holds {n} samples: expected a scalar, or "
                f"one number a sample. {_BY_LEVEL}"
            )
        return self.combine(wide(positive), wide(negative), scale, x, level)

    def held(self, x: PyTree, sigma: Sigma, cond: PyTree, dtypes: PyTree) -> PyTree:
        """The guided output, or a dict of it and of what else the denoiser returned.

        The package's docstring says what becomes of "raw" and others.
        """
        x = sampled(x)
        level = as_sigma(sigma, x)
        if self.alone:
            return returned(self.positive(x, level, cond, dtypes), x)
        positive, negative = self.branches(x, level, cond, dtypes)
        out = dict(positive)
        for name in {"x0", "raw"} & set(positive):
            # A branch without raw has the same raw as x0.
            out[name] = self.combined(positive[name], negative.get(name, negative["x0"]), x, level)
        return returned(out, x)


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class ClassifierFree(Guided):
    """The denoiser that `classifier_free` returns."""

    uncond: PyTree
    one_call: bool = dataclasses.field(metadata={"static": True})

    def branches(
        self, x: PyTree, level: jax.Array, cond: PyTree, dtypes: PyTree
    ) -> tuple[Outputs, Outputs]:
        if cond is None:
            raise ValueError(
                "Classifier-free guidance needs something to guide to: pass `cond` to `sample`, or "
                "as the third argument."
            )
        n = jax.tree.leaves(x)[0].shape[0]
        cond, uncond = _paired(cond, self.uncond, n, alike=self.one_call)
        if not self.one_call:
            return self.positive(x, level, cond, dtypes), self.positive(x, level, uncond, dtypes)
        # One call, so that the program holds the network once.
        both = _alternate(x, x)
        levels = level if level.ndim == 0 else _alternate(level, level)
        out = call(self.denoise, both, levels, _alternate(cond, uncond), dtypes)
        return _every_other(out, 0), _every_other(out, 1)


def classifier_free(
    denoise: Denoiser, scale: Arraylike, *, uncond: PyTree = None, one_call: bool = True
) -> ClassifierFree:
    """Classifier-free guidance: `D(x, s, uncond) + scale (D(x, s, cond) - D(x, s, uncond))`.

    `scale` 1 is the conditional network, 0 the unconditional one. In `ej.sample(..., cond=cond)`
    the conditions come with the samples; `uncond` belongs to the denoiser.

    A scale that is the number 1 costs one evaluation of the batch, and needs no `uncond`. Any other
    costs one evaluation of twice the batch, with one copy of the network in the program; with
    `one_call=False` it costs two evaluations of the batch, in half the memory and with two copies.
    A traced scale or an array always costs both: its value is not known when the program is made.

    Args:
        denoise: `denoise(x, sigma, cond)`.
        scale: one number, or an array with one number a sample; may be traced. For a scale that
            changes with the level, call this within a function of the level (docs/guidance.md).
        uncond: the condition of the unconditional branch, in the structure of `cond`: a null label,
            an empty prompt, zeros. A leaf is either for one sample, without the axis of samples,
            or has that axis, of length 1 or one for each sample. With `one_call=False` the other
            axes may differ from those of `cond`, such as a prompt of another length.
        one_call: whether both branches are one call of twice the batch. In that call a condition
            that all samples share is repeated for each.

    Raises:
        TypeError: `denoise` is not callable, or `scale` is not real.
        ValueError: `uncond` is missing, or does not fit `cond`; `cond` is missing, or `x` has no
            axis of samples; `scale` is not finite, or neither a scalar nor one number a sample.

    Source: Ho and Salimans (2022), equation 6, with `scale = 1 + w`.
    """
    scale, alone = _scale(scale)
    if uncond is None and not alone:
        raise ValueError(
            "Classifier-free guidance with a scale other than 1 needs the unconditional branch: "
            "pass `uncond`, the condition that stands for none. If another network is the "
            "unconditional one, use `autoguidance`."
        )
    # Strongly typed: for weakly typed Python numbers other values would compile again.
    uncond = jax.tree.map(lambda v: v if isinstance(v, jax.Array) else np.asarray(v), uncond)
    denoise = denoiser_as_pytree(denoise, "denoise")
    return ClassifierFree(denoise, scale, alone, uncond, one_call)


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class AutoGuided(Guided):
    """The denoiser that `autoguidance` returns."""

    guide: Denoiser

    @property
    def far(self) -> bool:
        """Whether both networks are right at any level."""
        return is_far(self.denoise) and is_far(self.guide)

    def branches(
        self, x: PyTree, level: jax.Array, cond: PyTree, dtypes: PyTree
    ) -> tuple[Outputs, Outputs]:
        positive = self.positive(x, level, cond, dtypes)
        return positive, call(self.guide, x, level, cond, dtypes)


def autoguidance(denoise: Denoiser, guide: Denoiser, scale: Arraylike) -> AutoGuided:
    """Autoguidance: away from a second network, `G(x, s) + scale (D(x, s) - G(x, s))`.

    The guide G is a worse version of the denoiser D: smaller, or trained for a shorter time. Any
    other second denoiser will do; an unconditional one, `lambda x, sigma, cond: other(x, sigma)`,
    makes this classifier-free guidance by two networks. Both get `cond` where it is given.

    One evaluation of each network, and one copy of each in the program; `scale` 1, given as a
    number, evaluates D alone. A traced scale or an array always costs both.

    Raises:
        TypeError: `denoise` or `guide` is not callable, or `scale` is not real.
        ValueError: as `classifier_free` for `scale` and `x`.

    Source: Karras et al. (2024, Guiding a diffusion model with a bad version of itself).
    """
    scale, alone = _scale(scale)
    return AutoGuided(
        denoiser_as_pytree(denoise, "denoise"), scale, alone, denoiser_as_pytree(guide, "guide")
    )


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class CfgPp(Held):
    """The denoiser that `cfg_pp` returns."""

    guided: ClassifierFree

    @property
    def sigma_range(self) -> tuple[float, float] | None:
        """The `sigma_range` of the denoiser inside."""
        return self.guided.sigma_range

    @property
    def far(self) -> bool:
        """Whether the denoiser inside is right at any level."""
        return self.guided.far

    def held(self, x: PyTree, sigma: Sigma, cond: PyTree, dtypes: PyTree) -> PyTree:
        """A dict of the guided "x0", the unconditional "raw", and other outputs."""
        x = sampled(x)
        level = as_sigma(sigma, x)
        positive, negative = self.guided.branches(x, level, cond, dtypes)
        # `raw` is what the sampler takes its direction from: the unconditional output, whatever
        # the scale, and before a threshold inside.
        x0 = self.guided.combined(positive["x0"], negative["x0"], x, level)
        raw = negative.get("raw", negative["x0"])
        return returned({**positive, "x0": x0, "raw": raw}, x)


def cfg_pp(denoise: Denoiser, scale: Arraylike, *, uncond: PyTree, one_call: bool = True) -> CfgPp:
    """CFG++: the guided output as "x0", and the unconditional one as "raw".

    For `ej.samplers.euler_cfg_pp()`, which adds the unconditional noise back to the guided x0. The
    scale is the paper's lambda, usually between 0 and 1; 0 is unconditional sampling. At 1 the
    direction is still the unconditional one, so every scale costs both evaluations. Other samplers
    do not ask for "raw", and with them this is `classifier_free`.

    Arguments and errors are as in `classifier_free`.

    Source: Chung et al. (2024, CFG++), Algorithm 2.
    """
    if uncond is None:
        raise ValueError(
            "CFG++ needs the unconditional branch at every scale: pass `uncond`, the condition "
            "that stands for none."
        )
    guided = classifier_free(denoise, scale, uncond=uncond, one_call=one_call)
    return CfgPp(dataclasses.replace(guided, alone=False))


_BY_LEVEL = (
    "For a scale that changes from step to step, guide within a function of the level: `lambda x, "
    "sigma, cond: ej.guidance.classifier_free(denoise, jnp.interp(sigma, levels, scales), "
    "uncond=uncond)(x, sigma, cond)`, with `levels` upwards."
)


def _scale(scale: Arraylike) -> tuple[Arraylike, bool]:
    """The scale as a leaf, and whether it is the number 1."""
    if callable(scale):
        raise TypeError(f"`scale` must be one number, or one number a sample. {_BY_LEVEL}")
    if has_no_value(scale):
        return scale, False
    value = on_host(scale, "scale")
    if value.ndim > 1:
        raise ValueError(
            f"`scale` must be one number, or one number a sample, got shape {value.shape}. "
            f"{_BY_LEVEL}"
        )
    return value, isinstance(scale, numbers.Real) and float(value) == 1.0


def _paired(cond: PyTree, uncond: PyTree, n: int, *, alike: bool) -> tuple[PyTree, PyTree]:
    """`cond` as arrays, and `uncond` in its structure and dtypes; if `alike`, in its shapes too."""
    cond = jax.tree.map(jnp.asarray, cond)
    for leaf in jax.tree.leaves(cond):
        if leaf.shape[:1] not in ((1,), (n,)):
            raise ValueError(
                f"Axis 0 of every leaf of `cond` counts the {n} samples of `x`, or has length 1 "
                f"where all share it, got shape {leaf.shape}: run one sample as a batch of one, "
                "without `batched=False`."
            )
    if jax.tree.structure(uncond) != jax.tree.structure(cond):
        raise ValueError(
            f"`uncond` must have the structure of `cond`, {jax.tree.structure(cond)}, got "
            f"{jax.tree.structure(uncond)}."
        )
    uncond = jax.tree.map(functools.partial(_fitted, n=n, alike=alike), cond, uncond)
    if alike:  # both branches are rows of one batch
        cond = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (n, *leaf.shape[1:])), cond)
    return cond, uncond


def _fitted(cond: jax.Array, uncond: Any, n: int, alike: bool) -> jax.Array:
    """A leaf of `uncond` with an axis of samples, in the dtype of the leaf of `cond`."""
    own, shape = cond.shape[1:], uncond.shape
    # One axis less than `cond` has is no axis of samples.
    has_axis = len(shape) == cond.ndim
    if (has_axis and shape[0] not in (1, n)) or not (has_axis or len(shape) == len(own)):
        raise ValueError(
            f"A leaf of `cond` has shape {cond.shape}: in `uncond` it must have those axes, the "
            f"first of length 1 or {n}, or all but the first, got shape {shape}."
        )
    each = shape[1:] if has_axis else shape
    if alike and each != own:
        raise ValueError(
            f"A leaf of `cond` has shape {cond.shape}, and the one of `uncond` has shape {shape}: "
            f"a call of both branches needs {own} for each sample. Pass `one_call=False`, which "
            "evaluates one branch after the other, or pad them to one length."
        )
    if jnp.issubdtype(uncond.dtype, jnp.inexact) > jnp.issubdtype(cond.dtype, jnp.inexact):
        raise TypeError(
            f"A leaf of `cond` is {cond.dtype}, which cannot hold the {uncond.dtype} of "
            "`uncond`: convert one of them."
        )
    uncond = jnp.asarray(uncond, cond.dtype)
    if has_axis and not alike:
        return uncond
    return jnp.broadcast_to(uncond, (n, *each))


def _alternate(a: PyTree, b: PyTree) -> PyTree:
    """Twice the rows, of `a` and `b` by turns.

    On a mesh that splits the batch no row moves to another device; with one half after the other
    rows would.
    """

    def leaf(a, b):
        return jnp.stack([a, b], axis=1).reshape(2 * a.shape[0], *a.shape[1:])

    return jax.tree.map(leaf, a, b)


def _every_other(tree: PyTree, first: int) -> PyTree:
    """Every other row of each leaf, from row `first`, 0 or 1: undoes `_alternate`."""
    return jax.tree.map(
        lambda v: jnp.reshape(v, (v.shape[0] // 2, 2, *v.shape[1:]))[:, first], tree
    )
