"""Checkpoints of a run's whole state, and the weights that others read."""

import json
import os
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from safetensors import SafetensorError, safe_open
from safetensors.flax import save

from edmjax.nn.functional import Arrays
from edmjax.training.state import TrainState

WEIGHTS = "weights.safetensors"


class Checkpoints:
    """The checkpoints in a directory: `save(state)`, and `restore(state)` of the newest one.

    A checkpoint appears whole or not at all, and holds the run's configuration beside its state.
    `restore` gives None where there is none, and refuses, with a `ValueError` that names each
    difference, one that was made under another configuration. Nothing is written before the first
    `save`, and loading runs no stored code. A context manager: leaving it waits for the last write.
    """

    def __init__(self, directory: str | os.PathLike, config: dict[str, Any], *, keep: int = 2):
        self.directory, self.config, self.keep = Path(directory).absolute(), config, keep
        self._manager: ocp.CheckpointManager | None = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._manager is not None:
            self._manager.close()

    def restore(self, state: TrainState) -> TrainState | None:
        """The newest state, shaped like `state`; None where nothing was saved."""
        step = self._open().latest_step() if self.directory.is_dir() else None
        if step is None:
            return None
        stored = self._open().restore(step, args=ocp.args.Composite(config=ocp.args.JsonRestore()))
        different = differences(stored["config"], self.config)
        if different:
            raise ValueError(
                f"{self.directory.parent} holds another run's checkpoint: {'; '.join(different)}. "
                "Choose another directory, or delete this one to start anew."
            )
        target = jax.tree.map(ocp.tree.to_shape_dtype_struct, state)
        args = ocp.args.Composite(state=ocp.args.StandardRestore(target))
        return self._open().restore(step, args=args)["state"]

    def save(self, state: TrainState) -> None:
        """Keeps this state and the `keep - 1` before it."""
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(state), config=ocp.args.JsonSave(self.config)
        )
        self._open().save(int(state.step), args=args)

    def _open(self) -> ocp.CheckpointManager:
        if self._manager is None:
            options = ocp.CheckpointManagerOptions(
                max_to_keep=self.keep, cleanup_tmp_directories=True, create=True
            )
            self._manager = ocp.CheckpointManager(self.directory, options=options)
        return self._manager


def differences(stored: Any, asked: Any, name: str = "") -> list[str]:
    """One phrase for each entry in which two nested dictionaries differ."""
    if isinstance(stored, dict) and isinstance(asked, dict):
        return [
            phrase
            for key in sorted(stored.keys() | asked.keys())
            for phrase in differences(stored.get(key), asked.get(key), f"{name}.{key}".strip("."))
        ]
    return [] if stored == asked else [f"{name} is {stored!r} there and {asked!r} here"]


def save_weights(path: str | os.PathLike, arrays: Arrays, config: dict[str, Any]) -> None:
    """Writes arrays under their dotted names, with the configuration as JSON in the metadata."""
    temporary = Path(f"{path}.tmp")
    temporary.write_bytes(save(arrays, metadata={"config": json.dumps(config)}))
    os.replace(temporary, path)


def load_weights(path: str | os.PathLike) -> tuple[Arrays, dict[str, Any]]:
    """The arrays and the configuration that `save_weights` wrote; `path` may be their directory."""
    path = Path(path)
    path = path / WEIGHTS if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no {path}: train a network first, or name a directory that holds {WEIGHTS}."
        )
    try:
        with safe_open(path, framework="flax") as file:
            config = json.loads((file.metadata() or {})["config"])
            return {name: file.get_tensor(name) for name in file.keys()}, config  # noqa: SIM118
    except (SafetensorError, KeyError, json.JSONDecodeError) as err:
        raise ValueError(f"{path} is damaged or holds no edmjax weights: {err}.") from err
