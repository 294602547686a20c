"""What a training run is made of: entries with their ranges.

A configuration with an entry out of its range cannot be made: a ValueError names the entry, or a
TypeError where it has another type.
"""

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from edmjax import scalar
from edmjax._common.arguments import LARGEST_SEED, one_of, real, whole

_CHECKS: dict[type, Callable[..., Any]] = {bool: scalar.flag, int: whole, float: real}
_POSITIVE, _BELOW_1 = {"above": 0}, {"least": 0, "below": 1}
_SEED = {"least": 0, "most": LARGEST_SEED}
# Entries that only some losses have.
_PREDICT, _FLOW = ("vp", "cosine", "ddpm"), ("flow",)
_ENTRIES_OF = {"predict": _PREDICT, "time": _FLOW, "coupling": _FLOW}


@dataclass(frozen=True)
class NetConfig:
    """The network; an entry that is null takes the network's own default.

    Args:
        name: mlp (vectors), unet (any small image), patch_unet (the same on patches of pixels,
            which is cheaper: for images of 28 pixels and more), score_net (the score-SDE
            tutorial's), edm2_unet (EDM2's, whose weights keep their norm), dit (a transformer, for
            images, sequences and volumes) or package.module:Class, the user's own; null for mlp,
            unet or dit by the shape of a sample.
        channels: width of every level, finest first (unet, patch_unet, score_net, edm2_unet).
        num_blocks: residual blocks a level, one number (unet, edm2_unet) or one for each level
            (patch_unet); blocks in all (mlp, dit).
        patch: the side of a patch in pixels (patch_unet, dit).
        width: of every block (mlp, dit).
        num_heads: of the attention (unet, edm2_unet, dit).
        attention: levels with attention, 0 the finest (edm2_unet); null for the coarsest.
        embed_dim: width of the noise level's embedding.
        fourier_scale: standard deviation of the embedding's frequencies.
        classes: whether the network is given the class of a sample, one of as many as the dataset
            has.
        dtype: of the activations, float32 or, for accelerators, bfloat16. Parameters, statistics,
            losses and the optimiser stay float32.
        options: keyword arguments of the user's own network.
    """

    name: Literal["mlp", "unet", "patch_unet", "score_net", "edm2_unet", "dit"] | str | None = None
    channels: list[int] | None = None
    num_blocks: int | list[int] | None = None
    patch: int | None = None
    width: int | None = None
    num_heads: int | None = None
    attention: list[int] | None = None
    embed_dim: int | None = None
    fourier_scale: float | None = None
    classes: bool | None = None
    dtype: Literal["float32", "bfloat16"] | None = None
    options: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        counts = {name: {"least": 0} for name in ("num_blocks", "attention")}
        _check(self, "net", fourier_scale=_POSITIVE, **counts)


@dataclass(frozen=True)
class LossConfig:
    """The loss, and with it how the network's output is read.

    Args:
        name: edm (Karras et al. 2022), dsm (Song's score matching for dx = sigma^t dw, which at
            sigma = 25 knows noise up to 9.8), vp (Song et al. 2021, beta from 0.1 to 20), cosine
            (Nichol and Dhariwal 2021), ddpm (Ho et al. 2020, 1,000 timesteps, as diffusers has
            them) or flow (flow matching, Lipman et al. 2023).
        sigma_data: standard deviation of what the network sees (edm); null for 0.5 with digits and
            mnist, and else for that of the data, which is measured.
        p_mean: mean of the logarithm of the noise level (edm); null for -1.2 + log(sigma_data /
            0.5).
        p_std: standard deviation of the logarithm of the noise level (edm).
        sigma: base of the process (dsm).
        eps: smallest time (dsm, vp).
        stratified: whether the noise levels of a batch are drawn together, one in each of as many
            equally likely intervals, so that batches differ less.
        label_dropout: probability that an image's class is hidden, so that the network learns to do
            without it, as classifier-free guidance needs (net.classes).
        cond_dropout: probability that a sample's condition is hidden, for the same; null for 0.
        uncertainty: whether each noise level is weighted by a learned estimate of its loss (Karras
            et al. 2024). Gradients then shrink by about the loss, and optim.clip_norm seldom acts.
        predict: what the network returns, eps, v or x0 (vp, cosine, ddpm); null for v with cosine,
            and for eps with vp and ddpm.
        weighting: of the noise levels, none (that of the loss itself), min_snr (Hang et al. 2023)
            or p2 (Choi et al. 2022); null for none.
        time: how times are drawn, uniform or logit_normal (Esser et al. 2024), which has more in
            the middle (flow); null for uniform.
        coupling: none, or minibatch, which pairs the noises of a batch with its samples so that
            paths are short (flow); null for none. Sample with a method for the ODE, such as heun.
    """

    name: Literal["edm", "dsm", "vp", "cosine", "ddpm", "flow"] = "edm"
    sigma_data: float | None = None
    p_mean: float | None = None
    p_std: float = 1.2
    sigma: float = 25.0
    eps: float = 1e-5
    stratified: bool = False
    label_dropout: float = 0.1
    uncertainty: bool = False
    predict: Literal["eps", "v", "x0"] | None = None
    weighting: Literal["none", "min_snr", "p2"] | None = None
    time: Literal["uniform", "logit_normal"] | None = None
    coupling: Literal["none", "minibatch"] | None = None
    cond_dropout: float | None = None

    def __post_init__(self) -> None:
        ranges = {"sigma": {"above": 1}, "eps": {"above": 0, "below": 1}}
        share = {"least": 0, "most": 1}
        shares = {"label_dropout": share, "cond_dropout": share}
        _check(self, "loss", sigma_data=_POSITIVE, p_std=_POSITIVE, **ranges, **shares)
        for entry, names in _ENTRIES_OF.items():
            if getattr(self, entry) not in (None, "none") and self.name not in names:
                raise ValueError(
                    f"`loss.{entry}` is an entry of {', '.join(names)}, and loss.name is "
                    f"{self.name!r}: leave it null."
                )
        if self.uncertainty and self.weighting not in (None, "none"):
            raise ValueError(
                "loss.uncertainty learns a weight for each noise level, so that loss.weighting "
                f"{self.weighting!r} would change nothing: leave one of the two out."
            )


@dataclass(frozen=True)
class OptimConfig:
    """The optimiser, and its learning rate: a linear warm-up, then a decay or none.

    Args:
        name: adamw, or muon (orthogonalised momentum for matrices and kernels, AdamW for the
            rest), which reaches a lower loss in few steps.
        steps: training steps in all.
        batch_size: images a step.
        learning_rate: at the end of the warm-up.
        adam_learning_rate: of the parameters that muon leaves to AdamW; null for learning_rate
            (muon).
        warmup: share of the steps during which the learning rate grows from zero.
        decay: cosine or linear (to zero at the last step), inverse_sqrt (learning_rate times
            sqrt(decay_from / t) at steps t after decay_from, Karras et al. 2024, equation 67), or
            none (constant after the warm-up).
        decay_from: steps after which the rate decays (inverse_sqrt); null for a tenth of steps.
        newton_schulz_steps: iterations of muon's orthogonalisation (muon). With 3 singular values
            are less equal than with 5; on small networks that trains as well for less arithmetic.
        b2: Adam's decay of the squared gradients.
        weight_decay: AdamW's.
        clip_norm: gradients longer than this are shortened to it; null for none.
        ema_decay: of the moving average of the parameters, which samples are drawn with; 0 for the
            parameters themselves.
        ema_sigma_rel: widths of power-function averages, as parts of the run, in place of
            ema_decay, for example [0.05, 0.1]. Samples are drawn with the first; snapshots of all
            make any other width afterwards (benchmarks/reconstruct_ema.py).
        accumulate: parts of a batch that are computed one after the other, in less memory; null for
            1, the whole batch at once.
    """

    name: Literal["adamw", "muon"] = "adamw"
    steps: int = 10000
    batch_size: int = 128
    learning_rate: float = 1e-3
    adam_learning_rate: float | None = None
    warmup: float = 0.05
    decay: Literal["cosine", "linear", "inverse_sqrt", "none"] = "cosine"
    decay_from: int | None = None
    newton_schulz_steps: int = 5
    b2: float = 0.99
    weight_decay: float = 0.0
    clip_norm: float | None = 10.0
    ema_decay: float = 0.999
    ema_sigma_rel: list[float] | None = None
    accumulate: int | None = None

    def __post_init__(self) -> None:
        # 0.2887 is 12^(-1/2), the width of the plain mean.
        ranges = {"weight_decay": {"least": 0}, "ema_sigma_rel": {"above": 0, "most": 0.2887}}
        positive = dict.fromkeys(("learning_rate", "adam_learning_rate", "clip_norm"), _POSITIVE)
        shares = dict.fromkeys(("warmup", "b2", "ema_decay"), _BELOW_1)
        _check(self, "optim", **ranges, **positive, **shares)
        if self.decay_from is not None and self.decay != "inverse_sqrt":
            raise ValueError(
                "`optim.decay_from` is an entry of inverse_sqrt, and optim.decay is "
                f"{self.decay!r}: leave it null."
            )
        if self.accumulate is not None and self.batch_size % self.accumulate:
            raise ValueError(
                f"`optim.accumulate` {self.accumulate} does not divide optim.batch_size "
                f"{self.batch_size}: parts of a batch have equal sizes."
            )


@dataclass(frozen=True)
class SampleConfig:
    """How samples are drawn.

    Args:
        num_samples: how many.
        sampler: a sampler of the library with its options, for example
            heun, or "churn(heun, s_churn=40)"; null for heun, or see num_steps.
        schedule: a schedule of the library with its options, for example
            karras, or "karras(sigma_max=20)"; null for karras between the levels that the network
            was trained for.
        num_steps: noise levels visited, the last zero not counted; null for 18. Where all three
            are null, and the data are neither digits nor mnist, samples are drawn by the plan that
            is recommended for as many evaluations, 35.
        chunk_size: samples computed at once (limits memory, changes no sample).
        seed: sample i depends on the seed and on i alone.
        clip: whether samples are cut to [-1, 1]; null for images of whole numbers alone. It is
            stored with the weights, and edmjax sample does the same.
    """

    num_samples: int = 512
    sampler: str | None = None
    schedule: str | None = None
    num_steps: int | None = None
    chunk_size: int = 512
    seed: int = 0
    clip: bool | None = None

    def __post_init__(self) -> None:
        _check(self, "sample", seed=_SEED)


@dataclass(frozen=True)
class Config:
    """A whole run: train a network on a dataset, then draw samples with it.

    Args:
        data: what is learned: digits (comes with scikit-learn), mnist, fashion_mnist or cifar10
            (downloaded once), a file .npy or .npz (arrays x, and y), a directory of images (a
            sub-folder is a class), hf:NAME_OR_PATH (of the library datasets), or
            package.module:function (the user's own).
        data_dir: directory with the dataset's files; null for the download cache (mnist,
            fashion_mnist, cifar10).
        data_size: height and width to which images of a directory are resized and cropped; null
            where all have one size.
        data_channels: where a sample has its channels, last, first or none; null for last, and for
            none in samples of two axes, which are grey images.
        data_scale: what the network sees: range (least and greatest become -1 and 1), standard
            (mean 0, standard deviation 1), none (the data as they are) or auto; null for auto,
            which is 0 to 255 for bytes, range for other whole numbers and standard for floats, and
            with init the scale of the weights, where these data are alike; measure is auto without
            that.
        data_columns: of hf: the columns of the samples, classes and conditions, with commas
            between; null where their types tell.
        data_in_memory: yes reads all data onto the device before the first step; no reads each
            batch from the files when its step comes (Grain, of the extra data); auto, and null,
            yes where they fit.
        out: directory for everything that is written; running again resumes from its checkpoint.
        seed: of the initial parameters, the batches and the noise.
        net: the network.
        loss: the loss.
        optim: the optimiser.
        sample: the samples at the end.
        checkpoint_every: steps between checkpoints.
        scan_steps: most steps in one compiled call, after which the progress bar moves; taken
            down to a divisor of optim.steps.
        init: the weights to start from, a run's directory or its weights.safetensors, also of
            other data: what fits is loaded, and what does not is named; null for random ones.
        held_out: the share of the samples that are not trained on, and whose loss is measured every
            watch_every steps and written to held_out.csv; null for none.
        keep: which weights are kept, the last, or those of the best held-out loss so far; null for
            the last.
        watch_every: steps between looks at a run, which measure the held-out loss, draw loss.png
            and samples; null for checkpoint_every.
        watch_samples: samples drawn at each look into watch/STEP.png; null for none.
        tensorboard: whether the losses are also written as events for TensorBoard.
        callbacks: the user's own functions, package.module:function, each called after every call
            of scan_steps steps with one argument, an edmjax.training.Progress.
    """

    data: str = "digits"
    data_dir: str | None = None
    data_size: int | None = None
    data_channels: Literal["last", "first", "none"] | None = None
    data_scale: Literal["auto", "range", "standard", "none", "measure"] | None = None
    data_columns: str | None = None
    data_in_memory: Literal["auto", "yes", "no"] | None = None
    out: str = "runs/new"
    seed: int = 0
    net: NetConfig = field(default_factory=NetConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)
    checkpoint_every: int = 500
    scan_steps: int = 10
    init: str | None = None
    held_out: float | None = None
    keep: Literal["last", "best"] | None = None
    watch_every: int | None = None
    watch_samples: int | None = None
    tensorboard: bool | None = None
    callbacks: list[str] | None = None

    def __post_init__(self) -> None:
        _check(self, seed=_SEED, held_out={"above": 0, "below": 1})
        if self.keep == "best" and self.held_out is None:
            raise ValueError(
                "`keep` best needs a part that is held out: add held_out 0.1, or leave it out."
            )


# A run may be resumed with other values of these: where files lie, how they are read, what happens
# at the end, and how many steps a call takes. None of them changes what the run computes.
_FREE = (
    *("data_dir", "data_in_memory", "out", "sample", "checkpoint_every", "scan_steps"),
    *("watch_every", "watch_samples", "tensorboard", "callbacks"),
)
# Entries of `optim` that may change while a run is under way, or has ended and is to be longer:
# the state has the same arrays whatever they are.
RATES = ("learning_rate", "adam_learning_rate", "warmup", "decay", "decay_from")
MAY_CHANGE = ("steps", *RATES)


# Entries that were added since: while they are null the run is that of before, and so is its
# identity, so that runs and weights of before go on.
ADDED = (
    *("data_size", "data_channels", "data_scale", "data_columns"),
    *("loss.predict", "loss.weighting", "loss.time", "loss.coupling"),
    *("net.width", "net.num_heads", "net.attention", "net.options"),
    *("loss.cond_dropout", "optim.accumulate", "optim.decay_from", "held_out", "keep"),
)


def identity(config: Config) -> dict[str, Any]:
    """The entries that decide what a run computes, as nested dictionaries."""
    found = {k: v for k, v in dataclasses.asdict(config).items() if k not in _FREE}
    for name in ADDED:
        *group, entry = name.split(".")
        entries = found[group[0]] if group else found
        if entries[entry] is None:
            del entries[entry]
    return found


def fixed(identity: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of an `identity` that stay as they are for as long as a run lasts."""
    found = {k: v for k, v in identity.items() if k not in _FREE}
    optim = found.get("optim")
    if isinstance(optim, dict):
        found["optim"] = {k: v for k, v in optim.items() if k not in MAY_CHANGE}
    return found


def _check(config: Any, group: str = "", **limits: Mapping[str, float | int]) -> None:
    """Checks each field of a configuration, named `group.field`, and stores the value it found.

    What a field may hold is its annotation, and `limits` has its range; a whole number without one
    is at least 1. Values are stored in the form in which YAML and JSON give them back: a Python
    number for NumPy's, a list for a tuple.
    """
    for entry, hint in typing.get_type_hints(type(config)).items():
        name = f"{group}.{entry}" if group else entry
        value = _checked(getattr(config, entry), name, hint, limits.get(entry, {}))
        object.__setattr__(config, entry, value)  # the configurations are frozen


def _checked(value: Any, name: str, hint: Any, limits: Mapping[str, float | int]) -> Any:
    """`value`, which must be of one of the kinds in the annotation `hint`."""
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    kinds = typing.get_args(hint) if union else (hint,)
    if value is None and type(None) in kinds:
        return None
    # A list comes last in an annotation, and what else may stand in its place first.
    several = [kind for kind in kinds if typing.get_origin(kind) is list]
    if several and (isinstance(value, list | tuple) or several[0] is kinds[0]):
        if not isinstance(value, list | tuple):
            raise TypeError(f"`{name}` must be a list, got {value!r:.80}.")
        if not value:
            raise ValueError(f"`{name}` is empty: name one number or more or null.")
        (each,) = typing.get_args(several[0])
        return [_checked(one, f"{name}[{i}]", each, limits) for i, one in enumerate(value)]
    kind = kinds[0]
    if typing.get_origin(kind) is dict:
        kind = dict
    # A name with a colon is of an object of the user's.
    own = str in kinds and isinstance(value, str) and ":" in value
    if typing.get_origin(kind) is Literal and not own:
        return one_of(value, name, typing.get_args(kind))
    if kind in _CHECKS:
        return _CHECKS[kind](value, name, **limits)
    if not own and not isinstance(value, kind):
        words = {str: "text", dict: "a mapping of names to values"}
        what = words.get(kind, f"`{kind.__name__}(...)`")
        raise TypeError(f"`{name}` must be {what}, got {value!r:.80}.")
    return value
