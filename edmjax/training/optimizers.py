"""The optimiser of a run, from its configuration."""

import math
from typing import Any

import optax
from optax import contrib

from edmjax.training.config import OptimConfig

# Kernels with fewer inputs or outputs than this, such as the last layer's, gain nothing from being
# made orthogonal.
SMALLEST = 16


def build_optimizer(config: OptimConfig) -> optax.GradientTransformation:
    """The optimiser that a configuration names, clipping and learning rates included."""
    if config.steps < 1 or not 0 <= config.warmup < 1:
        raise ValueError(
            "optim.steps must be at least 1 and optim.warmup at least 0 and less than 1; got "
            f"{config.steps} and {config.warmup}."
        )
    if config.newton_schulz_steps < 1:
        raise ValueError(
            f"optim.newton_schulz_steps must be at least 1; got {config.newton_schulz_steps}."
        )
    rate = _schedule(config, config.learning_rate)
    if config.name == "adamw":
        if config.adam_learning_rate is not None:
            raise ValueError(
                "optim.adam_learning_rate is an option of muon; with adamw set optim.learning_rate."
            )
        optimizer = optax.adamw(rate, b2=config.b2, weight_decay=config.weight_decay)
    else:
        other = config.adam_learning_rate
        optimizer = contrib.muon(
            rate,
            ns_steps=config.newton_schulz_steps,
            weight_decay=config.weight_decay,
            adam_b2=config.b2,
            adam_weight_decay=config.weight_decay,
            adam_learning_rate=rate if other is None else _schedule(config, other),
            muon_weight_dimension_numbers=_matrices,
            consistent_rms=0.2,  # the size of Adam's updates, so that rates are of Adam's size
        )
    if config.clip_norm is None:
        return optimizer
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), optimizer)


def _schedule(config: OptimConfig, peak: float) -> optax.Schedule:
    warmup_steps = int(config.warmup * config.steps)
    if config.decay == "cosine":
        return optax.warmup_cosine_decay_schedule(0.0, peak, warmup_steps, config.steps)
    # Joined: optax's own warmup_constant_schedule stays at 0 where there is no warm-up.
    warmup = optax.linear_schedule(0.0, peak, warmup_steps)
    last = 0.0 if config.decay == "linear" else peak
    rest = optax.linear_schedule(peak, last, config.steps - warmup_steps)
    return optax.join_schedules([warmup, rest], [warmup_steps])


def _matrices(params: Any) -> Any:
    """`MuonDimensionNumbers` of each matrix, the last axis being the output; None of the rest."""

    def numbers(array: Any) -> contrib.MuonDimensionNumbers | None:
        *inputs, outputs = getattr(array, "shape", ()) or (0,)  # optax masks what it leaves out
        if not inputs or min(math.prod(inputs), outputs) < SMALLEST:
            return None
        return contrib.MuonDimensionNumbers(tuple(range(len(inputs))), (len(inputs),))

    return {name: numbers(array) for name, array in params.items()}
