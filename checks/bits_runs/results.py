"""What runs return, as bytes in a file and a table of what they are.

`arrays.bin` holds the bytes of all arrays one after the other. `table.jsonl` has a line for each
run: its name, its seconds of CPU time, and either the text of an error or, for each array, its path
in the tree that the run returned, its dtype, its shape and where its bytes lie.
"""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def flatten(tree: Any) -> list[tuple[str, str, tuple[int, ...], bytes]]:
    """(path, dtype, shape, bytes) of each leaf: arrays, numbers, typed keys and texts."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    if not leaves:
        raise ValueError("This run returned nothing to compare.")
    return [(jax.tree_util.keystr(path), *_leaf(leaf)) for path, leaf in leaves]


def _leaf(leaf: Any) -> tuple[str, tuple[int, ...], bytes]:
    if isinstance(leaf, str):
        content = leaf.encode()
        return "text", (len(content),), content
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    array = np.asarray(leaf)
    if array.dtype == object:
        raise TypeError(f"This run returned {leaf!r:.80}, which is no array.")
    return str(array.dtype), array.shape, np.ascontiguousarray(array).tobytes()


class Writer:
    """Stores runs in a directory as they come, so that a file tells how far they are."""

    def __init__(self, directory: Path):
        self._directory, self._at = directory, 0

    def __enter__(self) -> "Writer":
        self._arrays = open(self._directory / "arrays.bin", "wb")
        self._table = open(self._directory / "table.jsonl", "w", encoding="utf-8")
        return self

    def __exit__(self, *_: Any) -> None:
        self._arrays.close()
        self._table.close()

    def add(self, name: str, found: Any, seconds: float) -> None:
        entry: dict[str, Any] = {"name": name, "seconds": round(seconds, 3)}
        if isinstance(found, str):
            entry["error"] = found
        else:
            entry["arrays"] = []
            for path, dtype, shape, content in found:
                entry["arrays"].append([path, dtype, list(shape), self._at, len(content)])
                self._arrays.write(content)
                self._at += len(content)
        self._table.write(json.dumps(entry) + "\n")
        self._table.flush()


class Reader:
    """The runs that a `Writer` stored."""

    def __init__(self, directory: Path):
        lines = (directory / "table.jsonl").read_text(encoding="utf-8").splitlines()
        self.table = {entry["name"]: entry for entry in map(json.loads, lines)}
        self._bytes = (directory / "arrays.bin").read_bytes()

    def arrays(self, name: str) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
        """Path -> (dtype, shape, bytes) of a run without an error."""
        return {
            path: (dtype, tuple(shape), self._bytes[start : start + length])
            for path, dtype, shape, start, length in self.table[name]["arrays"]
        }
