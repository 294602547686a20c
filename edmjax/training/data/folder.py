"""Data from a directory of images; a sub-folder is a class."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edmjax.training.data.dataset import Dataset
from edmjax.training.data.pictures import Files, pictures
from edmjax.training.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def load_folder(
    path: Path, *, size: int | None = None, in_memory: str | None = None, **options: Any
) -> Dataset:
    """The images of a directory, in the order of their names, as `pictures` reads them.

    Raises:
        DataError: there are no images, some lie in sub-folders and some do not, sizes differ and
            `size` is None, or a file is damaged: the message begins with its name.
    """
    files = sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    )
    if not files:
        raise DataError(f"{path}: it has no images: files {', '.join(SUFFIXES)} are read.")
    labels = _classes(path, files)
    x = pictures(_Paths(files), str(path), size, in_memory)
    return Dataset.of(x, labels=labels, name=str(path), **options)


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
    """The class of each file, the number of its sub-folder in the order of their names."""
    folders = [file.relative_to(path).parts[0] if file.parent != path else "" for file in files]
    names = sorted(set(folders))
    if names == [""]:
        return None
    if names[0] == "":
        raise DataError(
            f"{path}: {folders.count('')} images lie in it and {len(files) - folders.count('')} in "
            "sub-folders, which are classes: move all into sub-folders, or none."
        )
    return np.array([names.index(folder) for folder in folders], np.int32)
