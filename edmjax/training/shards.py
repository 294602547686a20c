"""Samples drawn shard by shard, so that an interrupted command goes on where it stopped.

A shard is one chunk of samples. It is written as soon as it is drawn, and a shard that is there is
not drawn again: sample `i` depends on the seed and on `i` alone.
"""

import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from edmjax.planning.table import Plan
from edmjax.training.checkpoints import differences, weights_file
from edmjax.training.devices import agree, is_first
from edmjax.training.files import StrPath, make_directory, sha256, write_file

FOLDER, ABOUT = "shards", "shards.json"
LARGEST = 2**30  # bytes of samples that are joined into one file


class Shards:
    """The shards of `num_samples` samples below `out`, `chunk_size` in each but the last.

    `about` is what all samples of the directory have in common. Made, it has claimed `out/shards`,
    and `todo` lists the shards that are missing.

    Raises:
        ValueError: the directory holds shards of samples that were drawn otherwise; the message
            names the differences, and nothing is touched.
        OSError: the directory cannot be written.
    """

    def __init__(self, out: StrPath, about: Mapping[str, Any], num_samples: int, chunk_size: int):
        self.folder: Path = Path(out) / FOLDER
        self.num_samples: int = num_samples
        self.chunk_size: int = min(chunk_size, num_samples)
        now = json.loads(json.dumps({**about, "chunk_size": self.chunk_size}))
        if is_first():
            self._claim(now)
        self.todo: list[tuple[int, int]] = [
            (first, rows) for first, rows in self._all() if self._read(first, rows) is None
        ]
        agree(len(self.todo), f"which samples are in {self.folder}")

    def _claim(self, now: dict[str, Any]) -> None:
        record = self.folder / ABOUT
        make_directory(self.folder, ABOUT)
        before = None
        if record.is_file():
            try:
                before = json.loads(record.read_text(encoding="utf-8"))
            except (ValueError, RecursionError):
                before = {}
        elif any(self.folder.glob("*.npz")):
            before = {}
        different = [] if before is None else differences(before, now)
        if different:
            raise ValueError(
                f"{self.folder} holds samples of another command, which was interrupted: "
                f"{'; '.join(different[:4])}. Run that one again, delete {self.folder}, or choose "
                "another directory."
            )
        write_file(record, json.dumps(now, indent=1).encode())

    def write(self, first: int, samples: np.ndarray) -> None:
        """Writes the samples from number `first` on."""
        content = io.BytesIO()
        np.savez(content, x=samples)
        write_file(self._path(first), content.getvalue())

    @property
    def number(self) -> int:
        """How many shards there are in all."""
        return len(self._all())

    def done(self) -> int:
        """How many samples are on the disk."""
        return sum(rows for first, rows in self._all() if self._path(first).exists())

    @property
    def joinable(self) -> bool:
        """Whether all samples together have at most `LARGEST` bytes."""
        first = self._read(0, min(self.chunk_size, self.num_samples))
        return first is not None and first.nbytes / len(first) * self.num_samples <= LARGEST

    def parts(self) -> Iterator[tuple[int, np.ndarray]]:
        """The samples of each shard with the number of the first; every shard must be there."""
        for first, rows in self._all():
            yield first, self._read(first, rows)  # pyright: ignore

    def join(self) -> np.ndarray:
        """All samples in their order; every shard must be there."""
        return np.concatenate([samples for _, samples in self.parts()])

    def delete(self) -> None:
        """Deletes all shards."""
        shutil.rmtree(self.folder)

    def _all(self) -> list[tuple[int, int]]:
        """The first sample and the number of samples of each shard."""
        n, size = self.num_samples, self.chunk_size
        return [(first, min(size, n - first)) for first in range(0, n, size)]

    def _path(self, first: int) -> Path:
        return self.folder / f"{first:09d}.npz"

    def _read(self, first: int, rows: int) -> np.ndarray | None:
        """The samples of a shard; None where it is missing, damaged or of another length."""
        try:
            with np.load(self._path(first), allow_pickle=False) as arrays:
                samples = arrays["x"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        return samples if len(samples) == rows else None


def draw_shards(
    draw: Callable[[int, int], np.ndarray],
    shards: Shards,
    asked: Callable[[], int],
    after: Callable[[int], object] = lambda rows: None,
) -> int:
    """Draws and writes the shards that are missing; returns the signal that asked to stop, or 0.

    `draw(first, rows)` makes the samples; `after` is called with the number of samples of each
    shard, those that were there included.
    """
    after(shards.num_samples - sum(rows for _, rows in shards.todo))
    for first, rows in shards.todo:
        samples = draw(first, rows)
        if is_first():
            shards.write(first, samples)
        after(rows)
        if signal := asked():
            return signal
    return 0


def identity(
    checkpoint: StrPath, guide: StrPath | None, plan: Plan, **others: Any
) -> dict[str, Any]:
    """What decides a sample, beside its number: weights, a guide's weights, plan, and `others`."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(plan):
        digest.update(np.asarray(leaf).tobytes())
    return {
        "weights_sha256": sha256(weights_file(checkpoint)),
        "guide_sha256": sha256(weights_file(guide)) if guide else None,
        "plan": digest.hexdigest(),
        **others,
    }
