"""Where a run starts, and what may change when it is resumed."""

import dataclasses
import warnings
from typing import Any

from edmjax.nn.functional import Arrays, Functional
from edmjax.training.checkpoints import differences, first_of, load_weights, shapes
from edmjax.training.config import MAY_CHANGE, RATES, Config, OptimConfig
from edmjax.training.devices import is_first
from edmjax.training.errors import TrainingWarning


def continued(config: Config, stored: dict[str, Any], step: int) -> Config:
    """The configuration with which a run is resumed that has taken `step` steps, with a warning.

    `stored` is what its checkpoint was saved with. It differs in `MAY_CHANGE` at most. `ValueError`
    where rates differ and no step is left that would use them.
    """
    now = dataclasses.asdict(config.optim)
    before = now | {k: v for k, v in stored.get("optim", {}).items() if k in MAY_CHANGE}
    different = differences({"optim": before}, {"optim": now})
    if not different:
        return config
    says = f"{config.out} holds a run that has taken {step} of {before['steps']} steps"
    if step < config.optim.steps:
        _warn(f"{says}. It goes on with other values: {'; '.join(different)}.")
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


def steps_of_a_call(step: int, total: int, most: int) -> int:
    """How many steps a compiled call takes, at most `most`: a divisor of the steps that are left.

    A shorter last call would compile for half a minute. Where it can be, it is what a run of
    `total` steps has from the start.
    """
    divisors = [k for k in range(1, most + 1) if (total - step) % k == 0]
    usual = max(k for k in range(1, most + 1) if total % k == 0)
    return usual if usual in divisors else max(divisors)


def load_start(config: Config, apply: Functional, params: Arrays) -> tuple[Functional, Arrays]:
    """The network and parameters of `config.init`, in place of `apply` and `params`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or its arrays are not those of the network.
    """
    path = str(config.init)
    arrays, about = load_weights(path)
    wanted = shapes(params | apply.buffers)
    different = differences(shapes(arrays), wanted)
    if different:
        raise ValueError(
            f"`init`: the arrays of {path} are not those of this network: "
            f"{first_of(different, 3)}. Give the network the entries `net` of the run that wrote "
            "the file, and data of as many channels and classes."
        )
    ours = dataclasses.asdict(config)
    other = [
        phrase
        for part in ("net", "loss")
        for phrase in differences(about.get(part), ours[part], part)
    ]
    if other:
        _warn(f"The weights of {path} were trained otherwise: {'; '.join(other)}.")
    buffers = {name: arrays[name] for name in apply.buffers}
    return Functional(apply.graphdef, buffers), {name: arrays[name] for name in params}


def _warn(text: str) -> None:
    if is_first():
        warnings.warn(text, TrainingWarning, stacklevel=4)
