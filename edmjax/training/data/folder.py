"""Data from a directory of images; a sub-folder is a class."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from edmjax._common.extras import missing
from edmjax.training.data.dataset import Dataset
from edmjax.training.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
# Of Pillow: these have one channel, all others are read as red, green and blue.
GREY = ("1", "L", "LA", "I;16", "I")
DEEP = ("I;16", "I", "I;16B")  # grey of more than 8 bits


def load_folder(path: Path, *, size: int | None = None, **options: Any) -> Dataset:
    """The images of a directory, in the order of their names, as uint8 with one channel or three.

    Images that are all grey have one channel, and more than 8 bits are kept (uint16); else all have
    three, and transparency is dropped. A picture that a camera has turned is turned back. With
    `size` the shorter side is resized to it, and the middle of the longer one is kept. The headers
    of all files are read before any image is decoded.

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
    heads = [_head(file) for file in files]
    if size is None:
        _check_sizes(path, Counter(head[0] for head in heads))
    modes = {mode for _, mode in heads}
    mode = "RGB"
    if modes <= set(GREY) | set(DEEP):
        mode = "I;16" if modes & set(DEEP) else "L"
    x = np.stack([_decode(file, mode, size) for file in files])
    return Dataset.of(x, labels=labels, name=str(path), **options)


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


def _pillow() -> Any:
    try:
        from PIL import Image, ImageOps
    except ModuleNotFoundError as err:
        raise missing(err, "A directory of images", "train") from err
    return Image, ImageOps


def _head(file: Path) -> tuple[tuple[int, int], str]:
    """The size and the mode of an image, from its header."""
    try:
        with _pillow()[0].open(file) as image:
            width, height = image.size
            turned = image.getexif().get(0x0112, 1) >= 5  # by a quarter, EXIF's Orientation
            return (width, height) if not turned else (height, width), image.mode
    except Exception as err:  # a decoder may raise anything on a damaged file
        raise DataError(f"{file}: it is no image that can be read: {err}") from err


def _check_sizes(path: Path, sizes: Counter) -> None:
    if len(sizes) == 1:
        return
    most = ", ".join(f"{count} of {w}x{h}" for (w, h), count in sizes.most_common(4))
    rest = len(sizes) - 4
    side = min(sizes.most_common(1)[0][0])
    raise DataError(
        f"{path}: its {sizes.total()} images have {len(sizes)} sizes: {most}"
        f"{f', and {rest} more' if rest > 0 else ''}. To resize and crop all, pass --data_size "
        f"{side}."
    )


def _decode(file: Path, mode: str, size: int | None) -> np.ndarray:
    """The image as `(height, width, channels)`."""
    image_module, ops = _pillow()
    try:
        with image_module.open(file) as opened:
            image = ops.exif_transpose(opened)
            deep = mode == "I;16"
            image = image.convert("I" if deep else mode)
            if size is not None:
                # `fit` keeps the middle, and averages over the pixels that become one.
                image = ops.fit(image, (size, size), image_module.Resampling.LANCZOS)
            values = np.asarray(image)
    except Exception as err:  # a decoder may raise anything on a damaged file
        raise DataError(f"{file}: it cannot be decoded: {err}") from err
    if deep:
        values = np.clip(values, 0, 65535).astype(np.uint16)
    return values if values.ndim == 3 else values[..., None]
