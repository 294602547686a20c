"""A trained network from the file that a run leaves for others."""

import os
from typing import Any

from flax import nnx

from edmjax.nn.functional import Functional, functional
from edmjax.training.checkpoints import load_weights
from edmjax.training.config import LossConfig, NetConfig, build_denoiser, build_net


def load_denoiser(path: str | os.PathLike) -> tuple[Any, tuple[int, ...]]:
    """The pair `(denoise, image_shape)` of a run's directory or its `weights.safetensors`.

    `FileNotFoundError` where there is none, `ValueError` where the file is damaged or its arrays
    are not those of the network that its configuration describes.
    """
    arrays, config = load_weights(path)
    try:
        net_config, loss_config = NetConfig(**config["net"]), LossConfig(**config["loss"])
        image_shape = tuple(config["image_shape"])
    except (KeyError, TypeError) as err:
        raise ValueError(
            f"{path} was written by another version: its configuration has {err}."
        ) from err
    # Only the shapes: the arrays come from the file.
    num_classes = config.get("num_classes", 0)
    net = nnx.eval_shape(lambda: build_net(net_config, image_shape, num_classes, rngs=nnx.Rngs(0)))
    apply, params = functional(net)
    expected = {name: array.shape for name, array in (params | apply.buffers).items()}
    found = {name: array.shape for name, array in arrays.items()}
    if expected != found:
        odd = sorted(dict(expected.items() ^ found.items()))
        raise ValueError(f"{path} does not hold the network that it describes: see {odd[:3]}.")
    buffers = {name: arrays[name] for name in apply.buffers}
    trained = Functional(apply.graphdef, buffers)
    return build_denoiser(loss_config, trained.bind({n: arrays[n] for n in params})), image_shape
