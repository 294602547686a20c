"""Pictures by Pillow: all headers are read at once, a picture is decoded when it is asked for."""

import io
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from edmjax._common.extras import missing
from edmjax.training.data.rows import Rows, fits
from edmjax.training.errors import DataError

# Of Pillow: these have one channel, all others are read as red, green and blue.
GREY = ("1", "L", "LA", "I;16", "I")
DEEP = ("I;16", "I", "I;16B")  # grey of more than 8 bits


class Files:
    """Encoded pictures by their numbers."""

    def __len__(self) -> int:
        raise NotImplementedError

    def name(self, index: int) -> str:
        """What a message calls the picture."""
        raise NotImplementedError

    def open(self, index: int) -> Path | io.BytesIO:
        """What Pillow reads the picture from."""
        raise NotImplementedError


class Pictures(Rows):
    """The pictures of `files`, with one channel or three, as `(height, width, channels)`.

    Where all are grey they have one channel, and more than 8 bits are kept (uint16); else all have
    three, and transparency is dropped. A picture that a camera has turned is turned back. With
    `size` the shorter side is resized to it, and the middle of the longer one is kept.

    Raises:
        DataError: made, where a header is damaged, or sizes differ and `size` is None; and when a
            picture is read that is damaged behind its header. The message begins with its name.
    """

    def __init__(self, files: Files, name: str, size: int | None = None):
        heads = [_head(files, index) for index in range(len(files))]
        if size is None:
            _check_sizes(name, Counter(head[0] for head in heads))
        modes = {mode for _, mode in heads}
        deep = [mode in DEEP for _, mode in heads]
        if any(deep) and not all(deep):
            raise DataError(
                f"{files.name(deep.index(True))}: it has grey values of more than 8 bits, as "
                f"{sum(deep)} of {len(deep)} images of {name} have: store all with as many bits."
            )
        self.mode: str = "RGB"
        if modes <= set(GREY) | set(DEEP):
            self.mode = "I;16" if any(deep) else "L"
        self.files: Files = files
        self.size: int | None = size
        width, height = (size, size) if size is not None else heads[0][0]
        shape = (len(files), height, width, 3 if self.mode == "RGB" else 1)
        super().__init__(shape, np.uint16 if self.mode == "I;16" else np.uint8)

    def read(self, index: int) -> np.ndarray:
        """The picture at this index."""
        values = _decode(self.files, index, self.mode, self.size)
        values = values.astype(self.dtype).reshape(*values.shape[:2], -1)
        if values.shape != self.shape[1:]:
            raise DataError(
                f"{self.files.name(index)}: it is {values.shape} once decoded, and not "
                f"{self.shape[1:]}, as its header says."
            )
        return values


def pictures(
    files: Files, name: str, size: int | None, in_memory: str | None
) -> Pictures | np.ndarray:
    """`Pictures`, or the array of all of them where it `fits` into memory."""
    rows = Pictures(files, name, size)
    nbytes = int(np.prod(rows.shape)) * rows.dtype.itemsize
    return np.asarray(rows) if fits(nbytes, in_memory) else rows


def _pillow() -> Any:
    try:
        from PIL import Image, ImageOps
    except ModuleNotFoundError as err:
        raise missing(err, "A directory of images", "train") from err
    return Image, ImageOps


def _head(files: Files, index: int) -> tuple[tuple[int, int], str]:
    """The size and the mode of an image, from its header."""
    pillow = _pillow()[0]
    try:
        with pillow.open(files.open(index)) as image:
            width, height = image.size
            # Of a PNG without an entry in its header, `getexif` would decode all of the picture.
            entries = image.getexif() if image.format != "PNG" or "exif" in image.info else {}
            turned = entries.get(0x0112, 1) >= 5  # by a quarter, EXIF's Orientation
            return (width, height) if not turned else (height, width), image.mode
    except Exception as err:  # a decoder may raise anything on a damaged file
        raise DataError(f"{files.name(index)}: it is no image that can be read: {err}") from err


def _check_sizes(name: str, sizes: Counter[tuple[int, int]]) -> None:
    if len(sizes) == 1:
        return
    most = ", ".join(f"{count} of {w}x{h}" for (w, h), count in sizes.most_common(4))
    rest = len(sizes) - 4
    side = min(sizes.most_common(1)[0][0])
    raise DataError(
        f"{name}: its {sizes.total()} images have {len(sizes)} sizes: {most}"
        f"{f', and {rest} more' if rest > 0 else ''}. To resize and crop all, pass --data_size "
        f"{side}."
    )


def _decode(files: Files, index: int, mode: str, size: int | None) -> np.ndarray:
    image_module, ops = _pillow()
    try:
        with image_module.open(files.open(index)) as opened:
            image = ops.exif_transpose(opened)
            deep = mode == "I;16"
            image = image.convert("I" if deep else mode)
            if size is not None:
                # `fit` keeps the middle, and averages over the pixels that become one.
                image = ops.fit(image, (size, size), image_module.Resampling.LANCZOS)
            values = np.asarray(image)
    except Exception as err:  # a decoder may raise anything on a damaged file
        raise DataError(f"{files.name(index)}: it cannot be decoded: {err}") from err
    return np.clip(values, 0, 65535) if deep else values
