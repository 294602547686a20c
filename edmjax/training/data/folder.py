"""Data from a directory of images; a sub-folder is a class."""

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edmjax.training.data.dataset import Dataset
from edmjax.training.data.pictures import Files, pictures
from edmjax.training.errors import DataError, TrainingWarning

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
OTHERS = (".bmp", ".gif", ".tif", ".tiff", ".jfif", ".jp2", ".avif", ".heic")  # images, not read


def load_folder(
    path: Path, *, size: int | None = None, in_memory: str | None = None, **options: Any
) -> Dataset:
    """The images of a directory, in the order of their names, as `pictures` reads them.

    Raises:
        DataError: there are no images, some lie in sub-folders and some do not, sizes differ and
            `size` is None, or a file is damaged: the message begins with its name.
    """
    found = sorted(_below(path, set()))
    files = [file for file in found if file.suffix.lower() in SUFFIXES]
    suffixes = [file.suffix.lower() for file in found]
    left = Counter(suffix for suffix in suffixes if suffix in OTHERS)
    said = f"files {', '.join(SUFFIXES)} are read"
    if not files:
        raise DataError(f"{path}: it has no images: {said}.")
    if left:
        counts = ", ".join(f"{count} {suffix}" for suffix, count in left.items())
        warnings.warn(f"{path}: {counts} are left out: {said}.", TrainingWarning, stacklevel=3)
    labels = _classes(path, files)
    x = pictures(_Paths(files), str(path), size, in_memory)
    return Dataset.of(x, labels=labels, name=str(path), **options)


def _below(path: Path, above: set[Path]) -> Iterator[Path]:
    """All files below a directory, behind links too; none whose name begins with a dot."""
    real = path.resolve()
    if real in above:  # a link that leads back
        return
    for entry in path.iterdir():
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _below(entry, above | {real})
        else:
            yield entry


class _Paths(Files):
    """Images in files of their own."""

    def __init__(self, files: Sequence[Path]):
        self.files: Sequence[Path] = files

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        return str(self.files[index])

    def open(self, index: int) -> Path:
        return self.files[index]


def _classes(path: Path, files: list[Path]) -> np.ndarray | None:
    """The class of each file, the number of its sub-folder in the order of their names.

    Names that are all whole numbers are in the order of these: 2 is before 10.
    """
    folders = [file.relative_to(path).parts[0] if file.parent != path else "" for file in files]
    names = sorted(set(folders))
    if all(name.isdecimal() for name in names):
        names.sort(key=int)
    if names == [""]:
        return None
    if names[0] == "":
        raise DataError(
            f"{path}: {folders.count('')} images lie in it and {len(files) - folders.count('')} in "
            "sub-folders, which are classes: move all into sub-folders, or none."
        )
    return np.array([names.index(folder) for folder in folders], np.int32)
