"""Where a run starts, and what may change when it is resumed."""

import contextlib
import dataclasses
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edmjax.nn.functional import Arrays
from edmjax.training.build import schedule
from edmjax.training.checkpoints import differences, first_of, load_weights, shapes
from edmjax.training.config import MAY_CHANGE, RATES, Config, OptimConfig
from edmjax.training.data import Dataset
from edmjax.training.data.conditions import Conditions
from edmjax.training.data.units import Units
from edmjax.training.devices import is_first
from edmjax.training.errors import TrainingWarning
from edmjax.training.files import StrPath
from edmjax.training.networks import Trainable


def continued(config: Config, stored: dict[str, Any], step: int) -> Config:
    """The configuration with which a run is resumed that has taken `step` steps, with a warning.

    `stored` is what its checkpoint was saved with. It differs in `MAY_CHANGE` at most. `ValueError`
    where rates differ and no step is left that would use them.
    """
    now = dataclasses.asdict(config.optim)
    known = {k: v for k, v in stored.get("optim", {}).items() if k in MAY_CHANGE}
    if "learning_rate" in known:  # what it does not have of `ADDED` was null
        known = {name: known.get(name) for name in RATES} | known
    before: dict[str, Any] = {**now, **known}
    different = differences({"optim": before}, {"optim": now})
    if not different:
        return config
    says = f"{config.out} holds a run that has taken {step} of {before['steps']} steps"
    if step < config.optim.steps:
        jump = _jump(before, config.optim, step) if "learning_rate" in stored["optim"] else ""
        _warn(f"{says}. It goes on with other values: {'; '.join(different)}.{jump}")
        return config
    if any(now[name] != before[name] for name in RATES):
        raise ValueError(
            f"{says}, so other rates would change nothing: {'; '.join(different)}. To train on, "
            f"make optim.steps larger than {step}; otherwise choose another directory."
        )
    if step > config.optim.steps:
        _warn(f"{says}, and optim.steps is {config.optim.steps}: nothing is trained.")
    # What was trained is what is written down.
    return dataclasses.replace(config, optim=OptimConfig(**before))


def _jump(before: Mapping[str, Any], now: OptimConfig, step: int) -> str:
    """What other values do to the learning rate where a run goes on; empty where it is the same."""
    old, new = (
        float(np.asarray(schedule(config, config.learning_rate)(step)))
        for config in (OptimConfig(**before), now)
    )
    if math.isclose(old, new, rel_tol=1e-3, abs_tol=1e-12):
        return ""
    return (
        f" The learning rate of step {step + 1} is {new:.3g}, where it would have been {old:.3g}: "
        "the steps that were taken had the former schedule, and those to come have the new one."
    )


def steps_of_a_call(step: int, total: int, most: int) -> int:
    """How many steps a compiled call takes, at most `most`: a divisor of the steps that are left.

    A shorter last call would compile for half a minute. Where it can be, it is what a run of
    `total` steps has from the start.
    """
    divisors = [k for k in range(1, most + 1) if (total - step) % k == 0]
    usual = max(k for k in range(1, most + 1) if total % k == 0)
    return usual if usual in divisors else max(divisors)


def check_data(out: StrPath, dataset: Dataset, config: Config) -> None:
    """`ValueError` where a run of this name in `out` was on data of another scale.

    Its weights say so. They may be missing, as where it was killed before its first checkpoint.
    """
    own, stored = dataset.sample_units, None
    with contextlib.suppress(ValueError, OSError, KeyError, TypeError):
        _, about = load_weights(out)
        if about["data"] == config.data:  # otherwise the checkpoint's own message says it
            stored = Units.read(about["units"])
    if stored is None or not isinstance(own, Units) or stored.describe() == own.describe():
        return
    # The last digits of a mean depend on the machine.
    near = stored.net_shape == own.net_shape and stored.dtype == own.dtype
    for at in ("shift", "width") if near else ():
        apart = np.abs(np.asarray(getattr(stored, at)) - np.asarray(getattr(own, at)))
        near = near and bool((apart <= 1e-6 * np.asarray(stored.width)).all())
    if not near:
        raise ValueError(
            f"{out} holds a run on other data than {dataset.name} has now: they were {stored}, "
            f"with the mean {_some(stored.shift)} and the width {_some(stored.width)}, and are "
            f"{own}, with {_some(own.shift)} and {_some(own.width)}. Choose another directory."
        )


def _some(values: Any) -> str:
    found = [f"{value:.6g}" for value in np.ravel(values)]
    return ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")


class Start(NamedTuple):
    """What a run starts from: arrays by their names, and what is known of them."""

    name: str
    arrays: Arrays
    about: Mapping[str, Any]


def found_start(init: StrPath, out: StrPath | None) -> Start:
    """What `init` holds, or, where `out` has a checkpoint, what the run itself has written since.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged.
    """
    if out is not None and any(Path(out, "checkpoint").glob("[0-9]*")):
        with contextlib.suppress(ValueError, OSError):
            return Start(str(out), *load_weights(out))
    return Start(str(init), *load_weights(init))


def started(start: Start, dataset: Dataset, config: Config) -> tuple[Dataset, Config]:
    """The data in the units of the run before, and its `sigma_data`, where samples are alike.

    Data of another shape or dtype, and a `data_scale` of "measure", keep their own. A warning says
    what is kept, and how the data lie in it. `ValueError` where a number that was constant in the
    data of the run before, and so is not learned, varies in these.
    """
    about = start.about
    if config.data_scale == "measure" or not isinstance(dataset.units, Units):
        return dataset, config
    own, stored = dataset.units, about.get("units")
    if stored is None:  # digits and mnist, and others that a network sees from -1 to 1
        if list(dataset.image_shape) != about.get("image_shape") or not own.as_stored:
            return dataset, config
        units = own
    else:
        units = Units.read(stored)
        if (own.shape, own.dtype, own.channels) != (units.shape, units.dtype, units.channels):
            _warn(
                f"`init`: {start.name} is of {units.dtype} data of shape {units.shape}, and these "
                f"are {own.dtype} of shape {own.shape}: their scale is measured."
            )
            return dataset, config
    if ((np.asarray(units.width) == 0) & (np.asarray(own.width) != 0)).any():
        raise ValueError(
            f"`init`: numbers that were constant in the data of {start.name} vary in "
            f"{dataset.name}, and would be lost in its scale: add data_scale measure."
        )
    if own.whole and units.whole and not own.as_stored:
        low, high = min(own.low or 0, units.low or 0), max(own.high or 0, units.high or 0)
        units = dataclasses.replace(units, low=low, high=high)
    kept = _with_conditions_of(about, dataclasses.replace(dataset, units=units))
    conditions = [data.conditions and data.conditions.describe() for data in (dataset, kept)]
    if units.describe() == own.describe() and conditions[0] == conditions[1]:
        kept = dataset
    loss, told = config.loss, about["loss"].get("sigma_data")
    also = ""
    if loss.sigma_data is None and told is not None:
        loss = dataclasses.replace(loss, sigma_data=told)
        also = f", and its loss.sigma_data {told}"
    if kept is not dataset or also:
        _tell_scale(start, kept, also, kept is not dataset)
    return kept, dataclasses.replace(config, loss=loss)


def _tell_scale(start: Start, dataset: Dataset, also: str, changed: bool) -> None:
    """Warns of what is kept of a run before, unless these data would have had the same."""
    seen = np.asarray(dataset.some(np.arange(min(len(dataset), 1000))))
    std, before = float(np.sqrt(np.var(seen, axis=0).mean())), start.about.get("std")
    if not changed and before is not None and math.isclose(std, before, rel_tol=0.05):
        return
    _warn(
        f"`init`: the scale of {start.name} is kept{also}. In it these data have the mean "
        f"{float(np.mean(seen)):.3g} and the standard deviation {std:.3g} about it; those that it "
        f"was trained on had {'an unknown one' if before is None else before}. To measure a new "
        "scale: data_scale measure."
    )


def _with_conditions_of(about: Mapping[str, Any], dataset: Dataset) -> Dataset:
    """`dataset` with its conditions in the units of the run before, where they are alike."""
    if "cond" not in about or dataset.conditions is None:
        return dataset
    try:
        return dataset.in_units_of(Conditions.stored(about["cond"], dataset.conditions.hides))
    except ValueError:  # of other kinds or shapes
        return dataset


def fitting(start: Start, apply: Trainable, params: Arrays) -> tuple[Trainable, Arrays]:
    """`apply` and `params` with those arrays of `start` that have their names and shapes.

    A warning names what is not loaded; `ValueError` where nothing fits.
    """
    wanted, given = shapes(params | apply.buffers), shapes(start.arrays)
    fits = {name for name, shape in wanted.items() if given.get(name) == shape}
    different = differences(given, wanted)
    if not fits & params.keys():
        raise ValueError(
            f"`init`: no array of {start.name} fits this network: {first_of(different, 3)}. Give "
            "the network the entries `net` of the run that wrote the file."
        )
    if different:
        rest = ", and the rest start anew" if len(fits) < len(wanted) else ""
        _warn(
            f"`init`: {len(fits)} of {len(wanted)} arrays are loaded from {start.name}{rest}: "
            f"{first_of(different, 3)}."
        )
    values = {name: start.arrays[name] for name in fits}
    buffers = {name: values.get(name, value) for name, value in apply.buffers.items()}
    chosen = {name: values.get(name, value) for name, value in params.items()}
    return dataclasses.replace(apply, buffers=buffers), chosen


def load_start(
    config: Config, start: Start, apply: Trainable, params: Arrays
) -> tuple[Trainable, Arrays]:
    """`fitting` for the network of a configuration, with a warning where its entries differ."""
    ours = dataclasses.asdict(config)
    other = [
        phrase
        for part in ("net", "loss")
        for phrase in differences(start.about.get(part), ours[part], part)
    ]
    if other:
        _warn(f"The weights of {start.name} were trained otherwise: {'; '.join(other)}.")
    return fitting(start, apply, params)


def _warn(text: str) -> None:
    if is_first():
        warnings.warn(text, TrainingWarning, stacklevel=4)
