"""The two branches of guidance, and their linear combination."""

import dataclasses
import numbers
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import register_dataclass

from edmjax._common.arguments import on_host
from edmjax._common.arrays import as_sigma, has_no_value
from edmjax._common.functions import Wraps
from edmjax._common.typing import Sigma, X
from edmjax.guidance._halves import alternate, every_other, paired
from edmjax.guidance._outputs import as_pytree, call, named, plus, returned, sampled, wide


class Guided(Wraps):
    """A denoiser of two branches, `D = D_neg + scale (D_pos - D_neg)` unless a rule changes that.

    What `classifier_free` and `autoguidance` return, and what the rules take.
    """

    # Whether the scale is known to be 1, where the positive branch is all that is needed.
    alone: bool

    def positive(self, x: Any, level: Any, cond: Any) -> dict[str, Any]:
        """The outputs of the positive branch."""
        raise NotImplementedError  # abstract: every subclass has its own

    def branches(self, x: Any, level: Any, cond: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The outputs of the positive and of the negative branch."""
        raise NotImplementedError  # abstract: every subclass has its own

    def scale_at(self, level: Any) -> Any:
        """The scale at a level: a scalar or one number a sample."""
        raise NotImplementedError  # abstract: every subclass has its own

    def combine(self, positive: Any, negative: Any, scale: Any, x: Any, level: Any) -> Any:
        """The rule, on trees that are float32 at least."""
        # In this form a scale of 1 is the positive branch to the bit.
        return plus(positive, scale - 1, jax.tree.map(jnp.subtract, positive, negative))

    def guide(self, positive: Any, negative: Any, x: Any, level: Any) -> Any:
        """The rule at `level`, on trees of any precision."""
        scale = jnp.asarray(self.scale_at(level))
        n = jax.tree.leaves(x)[0].shape[0]
        if scale.shape not in ((), (n,)):
            raise ValueError(
                f"`scale` has shape {scale.shape} and `x` holds {n} samples: expected a scalar, or "
                "one number a sample."
            )
        return self.combine(wide(positive), wide(negative), scale, x, level)

    def __call__(self, x: X, sigma: Sigma, cond: Any = None) -> Any:
        """The guided outputs. See the package's docstring for what becomes of `raw` and others."""
        x = sampled(x)
        level = as_sigma(sigma, x)
        if self.alone:
            return returned(self.positive(x, level, cond), x)
        positive, negative = self.branches(x, level, cond)
        out = dict(positive)
        for name in {"x0", "raw"} & set(positive):
            # A branch without raw has the same raw as x0.
            out[name] = self.guide(positive[name], negative.get(name, negative["x0"]), x, level)
        return returned(out, x)


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class ClassifierFree(Guided):
    """See `classifier_free`."""

    denoise: Any
    scale: Any
    uncond: Any
    one_call: bool = dataclasses.field(metadata={"static": True})
    alone: bool = dataclasses.field(metadata={"static": True})

    def positive(self, x, level, cond):
        return call(self.denoise, x, level, cond)

    def scale_at(self, level):
        return self.scale

    def branches(self, x, level, cond):
        if cond is None:
            raise ValueError(
                "Classifier-free guidance needs something to guide to: pass `cond` to `sample`, or "
                "as the third argument."
            )
        cond, uncond = paired(cond, self.uncond, jax.tree.leaves(x)[0].shape[0])
        if not self.one_call:
            return call(self.denoise, x, level, cond), call(self.denoise, x, level, uncond)
        both = alternate(x, x)
        levels = level if level.ndim == 0 else alternate(level, level)
        out = named(self.denoise(both, levels, alternate(cond, uncond)), both)
        return every_other(out, 0), every_other(out, 1)


def classifier_free(
    denoise: Any, scale: Any, *, uncond: Any = None, one_call: bool = True
) -> ClassifierFree:
    """Classifier-free guidance: `D(x, s, uncond) + scale (D(x, s, cond) - D(x, s, uncond))`.

    `scale` 1 is the conditional network, 0 the unconditional one. In `ej.sample(..., cond=cond)`
    the conditions come with the samples; `uncond` belongs to the denoiser.

    A scale that is the number 1 costs one evaluation of the batch, and needs no `uncond`. Any other
    costs one evaluation of twice the batch, with one copy of the network in the program, or with
    `one_call=False` two of the batch, in half the memory and with two copies. A traced scale or an
    array always costs both: its value is not known when the program is made.

    Args:
        denoise: `denoise(x, sigma, cond)`.
        scale: one number, or an array with one number a sample; may be traced.
        uncond: the condition of the unconditional branch, in the structure of `cond`: a null label,
            an empty prompt, zeros. Each leaf is that of one sample, without the axis of samples,
            or has that axis (a negative prompt a sample).
        one_call: whether both branches are one call of twice the batch.

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
            "pass `uncond`, the condition that stands for none. Where another network is the "
            "unconditional one, use `autoguidance`."
        )
    return ClassifierFree(as_pytree(denoise, "denoise"), scale, _arrays(uncond), one_call, alone)


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class AutoGuided(Guided):
    """See `autoguidance`."""

    denoise: Any
    bad: Any
    scale: Any
    alone: bool = dataclasses.field(metadata={"static": True})

    def positive(self, x, level, cond):
        return call(self.denoise, x, level, cond)

    def scale_at(self, level):
        return self.scale

    def branches(self, x, level, cond):
        return self.positive(x, level, cond), call(self.bad, x, level, cond)


def autoguidance(denoise: Any, guide: Any, scale: Any) -> AutoGuided:
    """Autoguidance: away from a second network, `G(x, s) + scale (D(x, s) - G(x, s))`.

    The guide G is a worse version of the network: smaller, or trained for a shorter time. Any other
    second denoiser will do; an unconditional one, `lambda x, sigma, cond: net(x, sigma)`, makes
    this classifier-free guidance by two networks. Both get `cond` where it is given.

    One evaluation of each network, and one copy of each in the program; `scale` 1, given as a
    number, evaluates D alone. A traced scale or an array always costs both.

    Raises:
        TypeError: `denoise` or `guide` is not callable, or `scale` is not real.
        ValueError: as `classifier_free` for `scale` and `x`.

    Source: Karras et al. (2024, Guiding a diffusion model with a bad version of itself).
    """
    scale, alone = _scale(scale)
    return AutoGuided(as_pytree(denoise, "denoise"), as_pytree(guide, "guide"), scale, alone)


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class CfgPp:
    """See `cfg_pp`."""

    guided: ClassifierFree

    @property
    def sigma_range(self) -> Any:
        """What the denoiser inside declares."""
        return self.guided.sigma_range

    def __call__(self, x: X, sigma: Sigma, cond: Any = None) -> Any:
        """A dict of the guided "x0", the unconditional "raw", and other outputs."""
        x = sampled(x)
        level = as_sigma(sigma, x)
        positive, negative = self.guided.branches(x, level, cond)
        x0 = self.guided.guide(positive["x0"], negative["x0"], x, level)
        raw = negative.get("raw", negative["x0"])
        return returned({**positive, "x0": x0, "raw": raw}, x)


def cfg_pp(denoise: Any, scale: Any, *, uncond: Any, one_call: bool = True) -> CfgPp:
    """CFG++: the guided output as "x0", and the unconditional one as "raw".

    For `ej.samplers.euler_cfg_pp()`, which adds the unconditional noise back to the
    guided x0. The scale is the paper's lambda, in general between 0 and 1; 0 is unconditional
    sampling. At 1 the direction is still the unconditional one, so every scale costs both
    evaluations. In other samplers, which do not ask for "raw", this is `classifier_free`.

    Arguments and errors are those of `classifier_free`.

    Source: Chung et al. (2024, CFG++), Algorithm 2.
    """
    scale, _ = _scale(scale)
    if uncond is None:
        raise ValueError(
            "CFG++ needs the unconditional branch at every scale: pass `uncond`, the condition "
            "that stands for none."
        )
    return CfgPp(
        ClassifierFree(as_pytree(denoise, "denoise"), scale, _arrays(uncond), one_call, False)
    )


def _scale(scale: Any) -> tuple[Any, bool]:
    """The scale as a leaf, and whether it is the number 1."""
    if has_no_value(scale):
        return scale, False
    value = on_host("scale", scale)
    if value.ndim > 1:
        raise ValueError(
            f"`scale` must be one number, or one number a sample, got shape {value.shape}."
        )
    return value, isinstance(scale, numbers.Real) and float(value) == 1.0


def _arrays(tree: Any) -> Any:
    # Not weakly typed, as Python numbers would be: other numbers must not be compiled for again.
    return jax.tree.map(lambda v: v if isinstance(v, jax.Array) else np.asarray(v), tree)
