"""Training a network and drawing samples with it: data, state, loop, checkpoints, pictures."""

from edmjax.training.build import (
    build_averages as build_averages,
    build_denoiser as build_denoiser,
    build_loss as build_loss,
    build_net as build_net,
    build_uncertainty as build_uncertainty,
)
from edmjax.training.checkpoints import (
    WEIGHTS as WEIGHTS,
    Checkpoints as Checkpoints,
    load_weights as load_weights,
    save_weights as save_weights,
)
from edmjax.training.choices import (
    parse_sampler as parse_sampler,
    parse_schedule as parse_schedule,
    sampler_names as sampler_names,
    schedule_names as schedule_names,
)
from edmjax.training.config import (
    Config as Config,
    LossConfig as LossConfig,
    NetConfig as NetConfig,
    OptimConfig as OptimConfig,
    SampleConfig as SampleConfig,
)
from edmjax.training.cores import split_over_cores as split_over_cores
from edmjax.training.data import (
    Dataset as Dataset,
    Examples as Examples,
    batch_indices as batch_indices,
    drop_labels as drop_labels,
    load_dataset as load_dataset,
)
from edmjax.training.device_options import (
    DEVICE_OPTIONS as DEVICE_OPTIONS,
    add_device_options as add_device_options,
    open_mesh as open_mesh,
)
from edmjax.training.distributed import initialize as initialize, is_first as is_first
from edmjax.training.errors import TrainingWarning as TrainingWarning, plain_errors as plain_errors
from edmjax.training.generate import (
    draw as draw,
    generate as generate,
    sample_labels as sample_labels,
    write_samples as write_samples,
)
from edmjax.training.loop import train as train
from edmjax.training.mesh import (
    make_mesh as make_mesh,
    shard_batch as shard_batch,
    shard_state as shard_state,
)
from edmjax.training.mnist import load_mnist as load_mnist
from edmjax.training.optimizers import build_optimizer as build_optimizer
from edmjax.training.pretrained import (
    Trained as Trained,
    guided as guided,
    load_denoiser as load_denoiser,
    load_trained as load_trained,
)
from edmjax.training.signals import Stopped as Stopped
from edmjax.training.snapshots import (
    reconstruct_ema as reconstruct_ema,
    save_snapshots as save_snapshots,
)
from edmjax.training.state import (
    TrainState as TrainState,
    init_state as init_state,
    make_batch_loss as make_batch_loss,
    make_train_steps as make_train_steps,
)
