"""How far a network of edmjax is from its golden."""

import jax
import jax.numpy as jnp
import numpy as np

from edmjax.pretrained import building, names
from support.pretrained import golden, redrawn


def redrawn_network(config, dtype):
    """A network with its arrays redrawn: its function, and its arrays."""
    _, make = building.build(config, "config.json")
    apply, shapes = building.shapes_of(make, "config.json")
    arrays = {}
    for name, leaf in shapes.items():
        drawn = redrawn(names.in_file(name), names.shape_in_file(name, leaf.shape))
        arrays[name] = jnp.asarray(names.from_file(name, drawn), dtype)
    return apply, arrays


def output(given, config, dtype):
    """What a network makes of NCHW images, by the names of a golden."""
    apply, arrays = redrawn_network(config, dtype)
    images = {k: jnp.asarray(np.moveaxis(given.pop(k), 1, -1), dtype) for k in "xz" if k in given}
    if config["_class_name"] == "AutoencoderKL":
        return _coded(apply, arrays, images)
    y = jax.jit(apply.__call__)(arrays, images["x"], given.pop("t"), given or None)
    return {"out": np.moveaxis(np.asarray(y), -1, 1)}


def _coded(apply, arrays, images):
    def run(arrays, images):
        module = apply.merge(arrays)
        moments = jnp.concatenate(module.moments(images["x"]), axis=-1)
        return {"moments_out": moments, "out": module.decode(images["z"])}

    made = jax.jit(run)(arrays, images)
    return {name: np.moveaxis(np.asarray(value), -1, 1) for name, value in made.items()}


def error(case, dtype):
    """The largest error, over the largest entry of the output."""
    given = dict(golden(case))
    wanted = {key: given.pop(key) for key in [*given] if "out" in key}
    made = output(given, given.pop("config"), dtype)
    width = "32" if dtype is np.float32 else ""
    errors = [relative(made[key], wanted[key.replace("out", f"out{width}")]) for key in made]
    return max(errors)


def relative(got, wanted):
    return np.abs(got - wanted).max() / np.abs(wanted).max()
