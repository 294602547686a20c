"""Runs whose networks were never trained: the files of weights alone, made in no time."""

from flax import nnx

from edmjax import training
from edmjax.nn.functional import functional


def weights(
    directory, *, data="digits", loss="edm", shape=(8, 8, 1), num_classes=0, net=None, **more
):
    """Writes the file of a network that was never trained; returns the directory as text.

    `num_classes` above 0 makes a network with classes; `more` are further entries of the
    configuration that is stored with it.
    """
    directory.mkdir()
    net_config = net or training.NetConfig(channels=[4], embed_dim=8, classes=num_classes > 0)
    made = training.build_net(net_config, shape, num_classes, rngs=nnx.Rngs(0))
    apply, params = functional(made)
    config = {
        "data": data,
        "net": net_config.__dict__,
        "loss": training.LossConfig(name=loss).__dict__,
        "image_shape": list(shape),
        "num_classes": num_classes,
        **more,
    }
    training.save_weights(directory / training.WEIGHTS, params | apply.buffers, config)
    return str(directory)
