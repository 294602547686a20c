"""Directories as denoisers: what is read, from where, and in which order."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from edmjax._common.arguments import describe
from edmjax._common.typing import Shape
from edmjax.nn.convolutions import Impl
from edmjax.nn.functional import Arrays, Functional
from edmjax.pretrained import building, names, preconditioned
from edmjax.pretrained.denoiser import Pretrained
from edmjax.pretrained.files import directory, header, read_array, read_json, weight_files
from edmjax.pretrained.networks import CLASSES
from edmjax.pretrained.own import is_own, load_own
from edmjax.pretrained.schedulers import read_scheduler

_NETWORKS = ("unet", "transformer")
_READ = (*_NETWORKS, "precond")
_AUTOENCODERS = ("vae", "vqvae", "movq")


class Found(NamedTuple):
    """A network in a directory: its folder, and what stands beside it."""

    folder: Path
    scheduler: Path | None
    latent: bool


def load(
    source: str | Path,
    *,
    subfolder: str | None = None,
    scheduler: str | Path | None = None,
    variant: str | None = None,
    dtype: "jax.typing.DTypeLike | None" = None,
    impl: Impl = "auto",
) -> Pretrained:
    """The denoiser of a trained network: of the package, of a run, of diffusers, of NVlabs.

        denoise = ej.pretrained.load("digits")           # comes with the package
        denoise = ej.pretrained.load("runs/mnist")       # a directory of `edmjax train`
        denoise = ej.pretrained.load("ddpm-cifar10-32")  # a directory of diffusers
        grid = denoise.levels(50)
        x = ej.sample(denoise, ej.make_plan(ej.samplers.ddim(), grid), noise)

    **A run** is the directory that `edmjax train` or `ej.training.fit` wrote, or the weights in it.
    `cond` are the classes, and one more than the last is "no class". `ej.training.load_trained` has
    what else is known of a run, such as the units of its data.

    **A directory of diffusers** is a pipeline's, with `model_index.json` and the folders that it
    names, or has `config.json` and the weights beside `scheduler_config.json`. The classes are
    UNet2DModel, UNet2DConditionModel, DiTTransformer2DModel, and Transformer2DModel with
    `ada_norm_zero`; or EDMPrecond, VPPrecond, VEPrecond and iDDPMPrecond of EDM and Precond of
    EDM2, which `scripts/convert_edm.py` writes and which need no scheduler. Points are channels
    last. `cond` is a dict with diffusers' own keys: `encoder_hidden_states`, `text_embeds`,
    `time_ids`, `class_labels`; axis 0 counts samples, or has length 1. For networks of EDM
    `class_labels` may be left out.

    Names and shapes are compared one to one with what the configuration calls for before any array
    is read. An option that changes what a network computes, and is not supported, is refused by its
    name and value. Weights stay in the file's dtype, and activations have it too; sums over pixels
    and softmaxes are in float32 or wider.

    Args:
        source: the directory, or a network's name; a name wins. Nothing is downloaded.
        subfolder: the folder of the network, where it is not "unet" or "transformer".
        scheduler: another configuration of a scheduler: its file, or the directory that it is in.
        variant: the part of the weights' names behind "diffusion_pytorch_model.", such as "fp16";
            "" for none. It must be given where more than one is there.
        dtype: the dtype of weights and activations, in place of the file's.
        impl: the form of the convolutions; see `ej.nn.conv`. `subfolder`, `scheduler`, `variant`
            and `impl` are for directories of diffusers alone.

    Raises:
        TypeError: a path is not a path.
        ValueError: a directory, a file, an array or an option is missing, left over or not
            supported. Nothing is half loaded.
    """
    if isinstance(source, str | Path) and is_own(source):
        others: dict[str, Any] = dict(subfolder=subfolder, scheduler=scheduler, variant=variant)
        return load_own(source, dtype, others | {"impl": None if impl == "auto" else impl})
    found = _find(directory(source), subfolder)
    config_file = found.folder / "config.json"
    name = str(read_json(config_file).get("_class_name"))
    if name in CLASSES and CLASSES[name].part == "precond":
        if scheduler is not None:
            raise ValueError(f"A network with {name} takes no scheduler: leave `scheduler` out.")
        options, apply, params = network(config_file, variant, dtype, impl, _READ)
        bound = apply.bind(params)
        return preconditioned.pretrained(name, options, bound, params, repr(str(config_file)))
    path = found.scheduler if scheduler is None else _scheduler_file(scheduler)
    if path is None:
        raise ValueError(
            f"{str(found.folder)!r} is not a pipeline, and has no scheduler_config.json: pass "
            "its path as `scheduler=`, as a network does not say at which levels it was trained."
        )
    options, apply, params = network(config_file, variant, dtype, impl, _READ)
    made, process = read_scheduler(read_json(path), repr(str(path)))
    learned = _learned_range(options, str(config_file))
    denoise = made.denoiser(apply.bind(params), process, learned)
    table = np.asarray(process.table)
    return Pretrained(
        denoise=denoise,
        process=process,
        scheduler=made,
        ends=(float(table[0]), float(table[-1])),
        sigma_data=1.0 if found.latent else 0.5,
        shape=_shape(options),
    )


def network(
    config_file: Path, variant: str | None, dtype: Any, impl: Impl, kinds: tuple[str, ...]
) -> tuple[Any, Functional, Arrays]:
    """`(options, apply, params)` of the network whose configuration this is."""
    where = repr(str(config_file))
    if dtype is not None and not jnp.issubdtype(jnp.dtype(dtype), jnp.floating):
        raise ValueError(f"`dtype` must be a floating one, such as float32, got {dtype!r}.")
    options, make = building.build(read_json(config_file), where, kinds, impl=impl)
    apply, wanted = building.shapes_of(make, where)
    paths = weight_files(config_file.parent, variant)
    entries = {name: entry for path in paths for name, entry in header(path).items()}
    which = repr(str(paths[0] if len(paths) == 1 else config_file.parent))
    shapes = {name: entry.shape for name, entry in entries.items()}
    named = names.matched(wanted, shapes, which)
    return (
        options,
        apply,
        {
            name: building.on_device(name, read_array(entries[file]), dtype)
            for name, file in named.items()
        },
    )


def _find(root: Path, subfolder: str | None) -> Found:
    """Where the network of a pipeline, or of a flat directory, lies."""
    index = root / "model_index.json"
    about: Mapping[str, Any] = read_json(index) if index.is_file() else {}
    latent = any(_is_there(about.get(name)) for name in _AUTOENCODERS)
    if subfolder is not None:
        folder = root / subfolder
        if not isinstance(subfolder, str) or not (folder / "config.json").is_file():
            raise ValueError(f"There is no {str(folder / 'config.json')!r}.")
    elif about:
        there = [name for name in _NETWORKS if _is_there(about.get(name))]
        if len(there) != 1:
            raise ValueError(
                f"{str(index)!r} names {' and '.join(there) or 'neither unet nor transformer'}: "
                "pass the folder of the network as `subfolder=`."
            )
        folder = root / there[0]
    else:
        folder = root
        if not (root / "config.json").is_file():
            raise ValueError(
                f"{str(root)!r} has neither model_index.json nor config.json: a network is a "
                "directory with one of the two. Pickles of EDM and EDM2 must be converted first, "
                "as the page on pretrained networks shows; score_sde's own files are not read."
            )
    candidates = [root / "scheduler" / "scheduler_config.json", folder / "scheduler_config.json"]
    if folder != root:
        candidates.append(root / "scheduler_config.json")
    beside = [path for path in candidates if path.is_file()]
    return Found(folder, beside[0] if beside else None, latent)


def _is_there(entry: Any) -> bool:
    """Whether an entry of a model_index.json names a part, and not [null, null]."""
    return isinstance(entry, list) and len(entry) == 2 and entry[1] is not None


def _scheduler_file(path: str | Path) -> Path:
    if not isinstance(path, str | Path):
        raise TypeError(f"`scheduler` must be a path, got {describe(path)}.")
    path = Path(path).expanduser()
    for file in (
        path,
        path / "scheduler_config.json",
        path / "scheduler" / "scheduler_config.json",
    ):
        if file.is_file():
            return file
    raise ValueError(f"There is no scheduler_config.json at {str(path)!r}.")


def _learned_range(options: Any, where: str) -> bool:
    inputs, outputs = options.in_channels, options.out_channels or options.in_channels
    if outputs not in (inputs, 2 * inputs):
        raise ValueError(
            f"{where!r}: `in_channels` is {inputs} and `out_channels` {outputs}, and a denoiser "
            "must return as many channels as it is given, or twice as many with a learned variance."
        )
    return outputs == 2 * inputs


def _shape(options: Any) -> Shape | None:
    size = options.sample_size
    if size is None:
        return None
    height, width = size if isinstance(size, tuple) else (size, size)
    return height, width, options.in_channels
