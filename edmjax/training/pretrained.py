"""A trained network from the file that a run leaves for others, alone or guided."""

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float, Int, Shaped

from edmjax import guidance
from edmjax._common.arguments import ordered, positive
from edmjax._common.typing import Denoiser, Number, PyTree, Sigma, X
from edmjax.nn.functional import Arrays
from edmjax.processes import Process
from edmjax.training.build import build_net
from edmjax.training.checkpoints import load_weights
from edmjax.training.config import LossConfig, NetConfig
from edmjax.training.data.conditions import Conditions, Given
from edmjax.training.data.units import Units
from edmjax.training.defaults import NoiseLevels, trained_levels
from edmjax.training.files import StrPath
from edmjax.training.networks import Trainable, adapted
from edmjax.training.objectives import SIGMA_DATA, build_denoiser, build_process


class Trained(NamedTuple):
    """A denoiser `(x, sigma, cond=None) -> E[x0 | x]` and what it was trained for.

    `cond` are labels `0 ... num_classes - 1`, shape `(batch,)`; `num_classes`, or None, stands for
    no class. An unconditional network has `num_classes` 0 and takes no `cond`. Where there are
    `conditions`, `cond` is what `condition` makes of them.
    """

    denoise: Denoiser
    image_shape: tuple[int, ...]
    num_classes: int
    label_dropout: float  # how often the class was hidden; at 0 the network never went without
    clip: bool = True  # whether samples are cut to [-1, 1]
    units: Units | None = None  # of the data; None where samples stay as the network gives them
    conditions: Conditions | None = None  # what the network is given beside a class
    cond_dropout: float = 0.0  # how often these were hidden
    process: Process | None = None  # of the loss; None for edm's, and for the user's own
    levels: NoiseLevels | None = None  # what `levels_of` says of its file

    def condition(self, cond: Given, labels: Int[np.ndarray, " n"] | None = None) -> PyTree:
        """What the denoiser is given for conditions in the units of the data.

        Axis 0 counts samples; one entry is for all of them. With `labels`, the classes, it has one
        entry for each of these.

        Raises:
            ValueError: the network takes no conditions, or others.
        """
        if self.conditions is None:
            raise ValueError("This network takes no conditions: leave them out.")
        arrays = self.conditions.read(cond)
        if labels is not None:
            n = len(labels)
            arrays = {k: np.broadcast_to(v, (n, *v.shape[1:])) for k, v in arrays.items()}
        return self.conditions.given(arrays, labels)

    def to_data(self, samples: Float[np.ndarray, "n ..."]) -> Shaped[np.ndarray, "n ..."]:
        """Samples of the network in the units, shape and dtype of the data."""
        return samples if self.units is None else self.units.to_data(samples)


def load_denoiser(path: StrPath) -> tuple[Denoiser, tuple[int, ...]]:
    """The pair `(denoise, image_shape)` of `load_trained`, with its errors."""
    return load_trained(path)[:2]


def load_trained(
    path: StrPath, net: object = None, *, dtype: "jax.typing.DTypeLike | None" = None
) -> Trained:
    """The network of a run's directory or its `weights.safetensors`, with what is known of it.

    `path` may also be the name of a network that comes with the package. `net` is the network of a
    run of `fit` that was given one, or one like it, whose arrays are replaced; any other network is
    built as the file describes it. `dtype` is that of the arrays, and bfloat16 that of the
    activations too; without it both are as in training.

    Raises:
        FileNotFoundError: there is no such file.
        TypeError: `net` is no network.
        ValueError: the file is damaged, was written by another version, or does not hold the arrays
            of the network that its configuration describes; `dtype` is not a floating one, or was
            given with `net`.
    """
    read = _read(path)
    if dtype is not None:
        read = _in_dtype(read, net, dtype)
    arrays, loss, shape, num_classes = read.arrays, read.loss, read.image_shape, read.num_classes
    if net is None:
        apply, params = _described(path, read)
    else:
        apply, params = adapted(net)
    expected = {name: array.shape for name, array in (params | apply.buffers).items()}
    found = {name: array.shape for name, array in arrays.items()}
    if expected != found:
        odd = sorted(dict(expected.items() ^ found.items()))
        raise ValueError(f"{path} does not hold the network that it describes: see {odd[:3]}.")
    buffers = {name: arrays[name] for name in apply.buffers}
    trained = replace(apply, buffers=buffers)
    denoise = build_denoiser(loss, trained.bind({n: arrays[n] for n in params}))
    return Trained(
        denoise,
        shape,
        num_classes,
        loss.label_dropout,
        read.clip,
        read.units,
        read.conditions,
        loss.cond_dropout or 0.0,
        build_process(loss),
        _levels(read),
    )


def _in_dtype(read: "_Read", net: object, dtype: Any) -> "_Read":
    """What was read with its arrays and its network in another dtype."""
    if net is not None or read.net is None or ":" in (read.net.name or ""):
        raise ValueError("`dtype` is for networks of edmjax: build your own in the dtype you want.")
    if not jnp.issubdtype(jnp.dtype(dtype), jnp.floating):
        raise ValueError(f"`dtype` must be a floating one, such as bfloat16, got {dtype!r}.")
    arrays = {name: array.astype(dtype) for name, array in read.arrays.items()}
    # Activations of float64 and float16 are in the dtype of the points.
    inside = "bfloat16" if jnp.dtype(dtype) == jnp.bfloat16 else None
    return read._replace(arrays=arrays, net=replace(read.net, dtype=inside))


def _described(path: StrPath, read: "_Read") -> tuple[Trainable, Arrays]:
    """The network that a file describes; of ours only the shapes, as the arrays are in the file."""
    if read.net is None:
        raise ValueError(
            f"{path} was written by `fit` for a network of your own, which it does not describe: "
            "pass the network, load_trained(path, net)."
        )
    made, options = read.net, {"cond_shapes": read.conditions and read.conditions.shapes}
    build = partial(build_net, made, read.image_shape, read.num_classes, **options)
    try:
        if ":" in (made.name or ""):
            return adapted(build(rngs=nnx.Rngs(0)))
        return adapted(nnx.eval_shape(lambda: build(rngs=nnx.Rngs(0))))
    except (TypeError, ValueError) as err:
        raise ValueError(f"{path} describes a network that cannot be built: {err}") from err


def levels_of(path: StrPath) -> NoiseLevels:
    """The noise levels that a run's network is for.

    These are 0.002 to 80, or those among them that the loss draws from (`trained_range`), and after
    Song's loss all of these. The widths are those of the images that it was trained on; files
    of earlier versions do not have them, and for these `sigma_data` is the loss's.

    Raises:
        FileNotFoundError: there is no network at `path`.
        ValueError: its file is damaged, or was written by another version.
    """
    return _levels(_read(path))


def _levels(read: "_Read") -> NoiseLevels:
    levels = read.levels or trained_levels(read.loss, None)
    return NoiseLevels(*levels, *(read.widths or (read.loss.sigma_data or SIGMA_DATA, None)))


class _Read(NamedTuple):
    """What a network's file holds."""

    arrays: Arrays
    net: NetConfig | None
    loss: LossConfig
    image_shape: tuple[int, ...]
    num_classes: int
    clip: bool
    widths: tuple[float, float] | None
    levels: tuple[float, float] | None
    units: Units | None
    conditions: Conditions | None


def _read(path: StrPath) -> _Read:
    arrays, config = load_weights(path)
    try:
        loss = LossConfig(**config["loss"])
        net = None if config["net"] is None else NetConfig(**config["net"])
        # Files of earlier versions say nothing of clipping: all were of whole numbers.
        rest = tuple(config["image_shape"]), config.get("num_classes", 0), config.get("clip", True)
        widths = levels = None
        if "spread" in config:
            widths = positive(config["std"], "std"), positive(config["spread"], "spread")
        if "levels" in config:
            levels = ordered(*config["levels"])
        units = Units.read(config["units"]) if "units" in config else None
        conditions = None
        if "cond" in config:
            conditions = Conditions.stored(config["cond"], bool(loss.cond_dropout))
        return _Read(arrays, net, loss, *rest, widths, levels, units, conditions)
    except (KeyError, TypeError, ValueError) as err:
        says = f"{path} was written by another version: its configuration has {err}."
        raise ValueError(says) from err


def guided(trained: Trained, scale: Number, guide: Trained | None = None) -> Trained:
    """`trained` with classifier-free guidance, or away from `guide` with autoguidance.

    `scale` 1 is `trained` itself. Classifier-free guidance is the network against itself without a
    class; for autoguidance `guide` is a worse network, for example one trained for a shorter time.

    Raises:
        ValueError: without `guide`, the network knows no classes, or always knew the class; or
            `guide` is for other images or other classes.
    """
    if guide is None:
        return trained._replace(
            denoise=guidance.classifier_free(trained.denoise, scale, uncond=_none_of(trained))
        )
    if guide.image_shape != trained.image_shape:
        raise ValueError(
            f"The guide is for images of shape {guide.image_shape} and the network for "
            f"{trained.image_shape}: both must draw the same images."
        )
    worse: Any = guide.denoise
    ours, theirs = (n.conditions and n.conditions.shapes for n in (trained, guide))
    if ours != theirs and (theirs or trained.num_classes):
        raise ValueError(
            f"The guide takes {theirs or 'no conditions'} and the network "
            f"{ours or 'no conditions'}: both must take the same, or the guide nothing at all."
        )
    if (trained.num_classes or ours) and not (guide.num_classes or theirs):
        worse = jax.tree_util.Partial(_without_cond, worse)
    elif trained.num_classes != guide.num_classes:
        raise ValueError(
            f"The guide knows {guide.num_classes} classes and the network {trained.num_classes}: "
            "the guide may know none, or must know the same."
        )
    return trained._replace(denoise=guidance.autoguidance(trained.denoise, worse, scale))


def _none_of(trained: Trained) -> PyTree:
    """The condition that stands for none; a sentence where the network knows of no such one."""
    if not trained.num_classes and trained.conditions is None:
        raise ValueError(
            "Classifier-free guidance needs a network that knows classes or other conditions, and "
            "this one knows none: train one with net.classes, or guide by another network."
        )
    if trained.num_classes and not trained.label_dropout:
        raise ValueError(
            "Classifier-free guidance needs a network that learned to do without the class, "
            "and this one had loss.label_dropout 0: train with 0.1, or guide by another network."
        )
    if trained.conditions is None:
        return np.int32(trained.num_classes)  # "no class" is the label after the last
    if not trained.cond_dropout:
        raise ValueError(
            "Classifier-free guidance needs a network that learned to do without its condition, "
            "and this one had no loss.cond_dropout: train with 0.1, or guide by another network."
        )
    return trained.conditions.hidden(trained.num_classes)


def _without_cond(denoise: Any, x: X, sigma: Sigma, cond: PyTree = None) -> X:
    return denoise(x, sigma)
