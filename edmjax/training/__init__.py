"""Training a network and drawing samples with it: data, state, loop, checkpoints, pictures."""

from edmjax.training.build import (
    build_averages,
    build_denoiser,
    build_loss,
    build_net,
    build_uncertainty,
)
from edmjax.training.checkpoints import WEIGHTS, Checkpoints, load_weights, save_weights
from edmjax.training.choices import parse_sampler, parse_schedule, sampler_names, schedule_names
from edmjax.training.config import Config, LossConfig, NetConfig, OptimConfig, SampleConfig
from edmjax.training.cores import split_over_cores
from edmjax.training.data import Dataset, Examples, batch_indices, drop_labels, load_dataset
from edmjax.training.device_options import DEVICE_OPTIONS, add_device_options, open_mesh
from edmjax.training.distributed import initialize, is_first
from edmjax.training.errors import TrainingWarning, plain_errors
from edmjax.training.loop import train
from edmjax.training.mesh import make_mesh, shard_batch, shard_state
from edmjax.training.mnist import load_mnist
from edmjax.training.optimizers import build_optimizer
from edmjax.training.pretrained import Trained, guided, load_denoiser, load_trained
from edmjax.training.samples import draw, generate, sample_labels, write_samples
from edmjax.training.signals import Stopped
from edmjax.training.snapshots import reconstruct_ema, save_snapshots
from edmjax.training.state import TrainState, init_state, make_batch_loss, make_train_steps

__all__ = [
    "DEVICE_OPTIONS",
    "WEIGHTS",
    "Checkpoints",
    "Config",
    "Dataset",
    "Examples",
    "LossConfig",
    "NetConfig",
    "OptimConfig",
    "SampleConfig",
    "Stopped",
    "TrainState",
    "Trained",
    "TrainingWarning",
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
    "generate",
    "guided",
    "init_state",
    "initialize",
    "is_first",
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
    "write_samples",
]


def __dir__() -> list[str]:
    return __all__
