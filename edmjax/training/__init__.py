"""Training a network and drawing samples with it, safe against kills and on any number of devices.

config         what a run is made of: entries with their ranges
choices        samplers and schedules from text such as `churn(heun, s_churn=40)`
build          the network, optimiser and averages that a configuration names
objectives     the loss that it names, and the denoiser and the levels that go with it
data           where samples come from, and what a network sees of them
networks       networks of any package as one function and a flat dictionary
state, loop    the state, the compiled steps that advance it, and the loop of a run
fit            a run as a function, for research code
configured     a run as a configuration describes it
held_out       the loss of what is not trained on, and the weights for which it is least
watch          what a run shows of itself: curves, samples, events for TensorBoard
longer         where a run starts, and what may change when it is resumed
ema            averages of the parameters, and others made of them afterwards
checkpoints    the state on the disk, and the weights that others read
outputs, files what else a run writes, and how files are written whole
pretrained     a trained network from its file
samples        samples drawn with it, and the files that show them
pictures       a picture for each, and how noise becomes them
export         the sampler with its weights as one file
devices, mesh  which devices and processes take part, and what lies where
feed           the examples that steps read, from the device, files or batches of the user's
errors         how a run that stops tells its user why
"""

from edmjax._common.extras import missing

try:
    from edmjax.training.build import (
        build_averages,
        build_net,
        build_optimizer,
        build_uncertainty,
    )
    from edmjax.training.checkpoints import WEIGHTS, Checkpoints, load_weights, save_weights
    from edmjax.training.choices import parse_sampler, parse_schedule, sampler_names, schedule_names
    from edmjax.training.config import Config, LossConfig, NetConfig, OptimConfig, SampleConfig
    from edmjax.training.configured import train
    from edmjax.training.data import (
        Dataset,
        Examples,
        Units,
        batch_indices,
        drop_labels,
        load_dataset,
        load_mnist,
    )
    from edmjax.training.defaults import NoiseLevels
    from edmjax.training.devices import (
        DEVICE_OPTIONS,
        add_device_options,
        initialize,
        is_first,
        make_mesh,
        open_mesh,
        split_over_cores,
    )
    from edmjax.training.ema import reconstruct_ema, save_snapshots
    from edmjax.training.errors import DataError, Stopped, TrainingWarning, plain_errors
    from edmjax.training.export import export_sampler
    from edmjax.training.fit import Fit, fit
    from edmjax.training.loop import Progress
    from edmjax.training.mesh import shard_batch, shard_state
    from edmjax.training.objectives import build_denoiser, build_loss, trained_range
    from edmjax.training.pretrained import (
        Trained,
        guided,
        levels_of,
        load_denoiser,
        load_trained,
    )
    from edmjax.training.samples import draw, generate, sample_labels, write_samples
    from edmjax.training.state import TrainState, init_state, make_batch_loss, make_train_steps
except ModuleNotFoundError as _err:
    raise missing(_err, "edmjax.training", "train") from _err

__all__ = [
    "DEVICE_OPTIONS",
    "WEIGHTS",
    "Checkpoints",
    "Config",
    "DataError",
    "Dataset",
    "Examples",
    "Fit",
    "LossConfig",
    "NetConfig",
    "NoiseLevels",
    "OptimConfig",
    "Progress",
    "SampleConfig",
    "Stopped",
    "TrainState",
    "Trained",
    "TrainingWarning",
    "Units",
    "add_device_options",
    "batch_indices",
    "build_averages",
    "build_denoiser",
    "build_loss",
    "build_net",
    "build_optimizer",
    "build_uncertainty",
    "draw",
    "drop_labels",
    "export_sampler",
    "fit",
    "generate",
    "guided",
    "init_state",
    "initialize",
    "is_first",
    "levels_of",
    "load_dataset",
    "load_denoiser",
    "load_mnist",
    "load_trained",
    "load_weights",
    "make_batch_loss",
    "make_mesh",
    "make_train_steps",
    "open_mesh",
    "parse_sampler",
    "parse_schedule",
    "plain_errors",
    "reconstruct_ema",
    "sample_labels",
    "sampler_names",
    "save_snapshots",
    "save_weights",
    "schedule_names",
    "shard_batch",
    "shard_state",
    "split_over_cores",
    "train",
    "trained_range",
    "write_samples",
]


def __dir__() -> list[str]:
    return __all__
