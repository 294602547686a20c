"""Checkpoints of a run's whole state, and the weights that others read.

A checkpoint is a directory named by its step: arrays in orbax's OCDBT format (compressed numbers),
and JSON. Weights are safetensors. Neither holds code, and nothing is unpickled.
"""

import functools
import hashlib
import io
import json
import os
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from safetensors import SafetensorError, safe_open
from safetensors.flax import save

from edmjax._common.typing import PyTree
from edmjax.nn.functional import Arrays
from edmjax.training.bundled import bundled
from edmjax.training.compact import compact, expanded
from edmjax.training.config import fixed
from edmjax.training.devices import agree, is_first
from edmjax.training.errors import TrainingWarning
from edmjax.training.files import CHECKSUMS, StrPath, damage, write_checksums, write_file
from edmjax.training.state import TrainState

# The file of a run for others to read: the averaged parameters and the configuration.
WEIGHTS = "weights.safetensors"


class Checkpoints:
    """The checkpoints in a directory: `save(state)`, and `restore(state)` of the newest whole one.

    A checkpoint appears whole or not at all. Beside the state it holds the run's configuration and
    checksums of its files. With several processes all of them call every method, and see one
    directory. Nothing is written before the first `save`. It is a context manager.
    """

    def __init__(self, directory: StrPath, config: dict[str, Any], *, keep: int = 2):
        self.directory: Path = Path(directory).absolute()
        self.config: dict[str, Any] = config
        self.restored: dict[str, Any] | None = None  # the configuration of what `restore` returned
        self.data: Any = None  # and the state of its data, as `save` was given it
        self.keep: int = keep

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        if "_manager" in vars(self):
            self._manager.close()

    def restore(self, state: TrainState) -> TrainState | None:
        """The newest whole state, shaped and placed like `state`; None where nothing was saved.

        It may have been saved on another number of devices. A damaged checkpoint is skipped, with a
        warning that names the file, and set aside as `damaged-STEP`. The number of steps and the
        learning rates may be others (`config.MAY_CHANGE`): `restored` is the configuration that
        the state was saved with.

        Raises:
            ValueError: the newest whole checkpoint has another configuration or architecture (each
                difference is named, and nothing is touched), or all are damaged.
        """
        steps = sorted(self._manager.all_steps()) if self.directory.is_dir() else []
        agree(len(steps), f"the number of checkpoints in {self.directory}")
        damaged: dict[int, str] = {}
        for step in reversed(steps):
            found, restored = self._read(step, state)
            agree(int(found is None), f"whether {self.directory / str(step)} is whole")
            if restored is not None:
                if damaged:
                    self._set_aside(damaged, step)
                return restored
            damaged[step] = str(found)
        if damaged:
            raise ValueError(
                f"No checkpoint in {self.directory} is whole: {'; '.join(damaged.values())}. "
                "Copy the files anew, or delete the directory to start from step 0."
            )
        return None

    def save(self, state: TrainState, data: Any = None) -> None:
        """Keeps this state and the `keep - 1` states before it; returns when it is on the disk.

        `data` is the state of the data, JSON, where they have one.
        `OSError` where it cannot be written; then the checkpoints before it are kept.
        """
        step, before = int(state.step), self._manager.latest_step()
        if step == before:
            return
        more = {} if data is None else {"data": ocp.args.JsonSave(data)}
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(_saved(state)),
            config=ocp.args.JsonSave(self.config),
            shapes=ocp.args.JsonSave(shapes(state)),
            **more,
        )
        try:
            self._manager.save(step, args=args, force=True)
            if is_first():
                write_checksums(self.directory / str(step))
        except Exception as err:  # orbax and tensorstore raise many kinds
            kept = "there is none before it" if before is None else f"step {before} is kept"
            raise OSError(
                f"The checkpoint of step {step} could not be written to {self.directory} ({kept}): "
                f"{err} Make room or choose another directory."
            ) from err

    def _read(self, step: int, state: TrainState) -> tuple[str | None, TrainState | None]:
        """What is wrong with a checkpoint, and its state where nothing is."""
        directory = self.directory / str(step)
        found = damage(directory)
        if found is not None:
            return found, None
        target = jax.tree.map(ocp.tree.to_shape_dtype_struct, _saved(state))
        names = ["config", "shapes", *(["data"] if (directory / "data").is_dir() else [])]
        described = {name: ocp.args.JsonRestore() for name in names}
        try:
            stored = self._manager.restore(step, args=ocp.args.Composite(**described))
            # Another configuration has other shapes too: they tell more only where it is the same.
            different = differences(fixed(stored["config"]), fixed(self.config))
            different = different or differences(stored["shapes"], shapes(state))
            args = ocp.args.Composite(state=ocp.args.StandardRestore(target))
            restored = None if different else self._manager.restore(step, args=args)["state"]
            restored = restored and TrainState(*restored)
        except Exception as err:
            if (directory / CHECKSUMS).exists():  # the files are whole, so the disk did not fail
                raise
            return f"{directory} cannot be read ({err})", None
        if different:
            raise ValueError(
                f"{self.directory.parent} holds another run's checkpoint: "
                f"{first_of(different, 8)}. "
                "Choose another directory, or delete this one to start anew."
            )
        self.restored, self.data = stored["config"], stored["data"] if "data" in names else None
        return None, restored

    def _set_aside(self, damaged: dict[int, str], step: int) -> None:
        """Renames damaged checkpoints, because their steps will be saved again."""
        for bad, what in damaged.items():
            aside = self.directory / f"damaged-{bad}"
            while aside.exists():
                aside = aside.with_name(f"{aside.name}-again")
            if is_first():
                (self.directory / str(bad)).rename(aside)
                warnings.warn(
                    f"A checkpoint is damaged: {what}. It is kept as {aside}, and training resumes "
                    f"from step {step}.",
                    TrainingWarning,
                    stacklevel=3,
                )
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("damaged checkpoints were renamed")
        self._manager.reload()

    @functools.cached_property
    def _manager(self) -> ocp.CheckpointManager:
        options = ocp.CheckpointManagerOptions(
            max_to_keep=self.keep,
            cleanup_tmp_directories=True,
            create=True,
            # A step donates the state to the next one, so it must not change while it is written.
            # And an error should be raised at the step at which it occurs.
            enable_async_checkpointing=False,
        )
        try:
            return ocp.CheckpointManager(self.directory, options=options)
        except OSError as err:
            raise OSError(
                f"{self.directory} cannot hold checkpoints: {err}. Choose another directory."
            ) from err


class _Saved(NamedTuple):
    """A state without a best average, as checkpoints of earlier versions hold it."""

    step: Any
    key: Any
    params: Any
    ema: Any
    buffers: Any
    uncertainty: Any
    opt_state: Any


def _saved(state: TrainState) -> TrainState | _Saved:
    return state if state.best else _Saved(*state[:-1])


def first_of(phrases: list[str], most: int) -> str:
    """The first of many phrases, as one, and how many there are more."""
    more = f" (and {len(phrases) - most} more)" if len(phrases) > most else ""
    return f"{'; '.join(phrases[:most])}{more}"


def shapes(state: PyTree) -> dict[str, str]:
    """The arrays of a state: dotted name to dtype and shape, `"float32[3, 3, 1, 4]"`."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): f"{leaf.dtype}{list(leaf.shape)}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    }


def differences(stored: object, asked: object, name: str = "") -> list[str]:
    """One phrase for each entry in which two nested dictionaries differ."""
    if isinstance(stored, dict) and isinstance(asked, dict):
        return [
            phrase
            for key in sorted(stored.keys() | asked.keys())
            for phrase in differences(stored.get(key), asked.get(key), f"{name}.{key}".strip("."))
        ]
    return [] if stored == asked else [f"{name} is {stored!r} there and {asked!r} here"]


def save_weights(
    path: StrPath, arrays: Arrays, config: dict[str, Any], *, eight_bits: bool = False
) -> None:
    """Writes arrays under their dotted names, with the configuration as JSON in the metadata.

    Beside it there is a SHA-256 of the rest of the file. With `eight_bits` matrices and kernels are
    rounded to 8 bits and a scale for each output, which makes the file a quarter as large;
    `load_weights` returns them as float32. `ValueError`, and nothing written, where an array is not
    floating or not finite; `OSError` where the file cannot be written.
    """
    if wrong := _unsound(arrays):
        raise ValueError(f"These weights cannot be written to {path}: {wrong}.")
    if eight_bits:
        arrays = compact(arrays)
    metadata = {"config": json.dumps(config)}
    digest = _digest(io.BytesIO(save(arrays, metadata=metadata)))
    write_file(path, _ordered(save(arrays, metadata={**metadata, "sha256": digest})))


def weights_file(path: StrPath) -> Path:
    """The file of weights that `path` is or names, or that lies in the directory `path`.

    `ValueError` where the name of a network of the package is that of a run too.
    """
    if isinstance(path, str) and path in bundled():
        if Path(path).is_file() or Path(path, WEIGHTS).is_file():
            raise ValueError(
                f"{path} is a network that comes with the package, and here it is a run too: write "
                f"./{path} for the run, or call it from another directory."
            )
        return bundled()[path]
    path = Path(path)
    return path / WEIGHTS if path.is_dir() else path


def load_weights(path: StrPath) -> tuple[Arrays, dict[str, Any]]:
    """The arrays and the configuration that `save_weights` wrote.

    `path` is the file, its directory, or the name of a network that comes with the package,
    "digits" or "mnist". Files of earlier versions hold no checksum, and are read without.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, by its structure or its checksum, or holds arrays that are
            not floating or not finite.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"`path` must be a run's directory or a file of weights, got {path!r:.80}.")
    path = weights_file(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no {path}: train a network first, or name a directory that holds {WEIGHTS}, "
            f"or a network of the package, {' or '.join(bundled())}."
        )
    try:
        with safe_open(path, framework="flax") as file:
            metadata = file.metadata() or {}
            config = json.loads(metadata["config"])
            # The name of the checksum's entry is not in the checksum.
            if other := metadata.keys() - {"config", "sha256", "format"}:
                raise ValueError(f"its metadata has an entry {min(other)!r:.80}")
            with path.open("rb") as content:
                if metadata.get("sha256") not in (None, _digest(content)):
                    raise ValueError("its content is not what was written, by its checksum")
            arrays = expanded({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        if not isinstance(config, dict):
            raise ValueError(f"its configuration is {config!r:.80}")
        if wrong := _unsound(arrays):
            raise ValueError(wrong)
    except (SafetensorError, KeyError, ValueError, TypeError, RecursionError) as err:
        what = f"{err}".rstrip(".") or type(err).__name__
        raise ValueError(f"{path} is damaged or holds no edmjax weights: {what}.") from err
    return arrays, config


def _unsound(arrays: Arrays) -> str | None:
    """What is wrong with arrays that should be floating and finite; None where nothing is."""
    for name, array in arrays.items():
        if not jnp.issubdtype(array.dtype, jnp.floating):
            return f"{name!r:.80} is of dtype {array.dtype}, and weights are floating"
        if not np.isfinite(np.asarray(array)).all():
            return f"{name!r:.80} is not finite"
    return None


def _ordered(content: bytes) -> bytes:
    """A file of safetensors with its metadata in order, which the library writes in any order."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def _digest(file: io.BufferedIOBase) -> str:
    """The SHA-256 of a file of safetensors, without the entry that holds it.

    Of the header, as `json.dumps` writes it with its keys sorted, and then of the bytes behind it.
    """
    size = int.from_bytes(file.read(8), "little")
    header = json.loads(file.read(size))
    header["__metadata__"].pop("sha256", None)
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    while block := file.read(2**20):
        digest.update(block)
    return digest.hexdigest()
