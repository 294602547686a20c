"""Samples as pictures: a file each, and the way on which noise becomes them."""

import io
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import random
from jaxtyping import Float, Int, Shaped

import edmjax as ej
from edmjax._common.arguments import as_seed, one_of, whole
from edmjax._common.extras import missing
from edmjax._common.tiles import tiles
from edmjax._common.typing import PyTree
from edmjax.running.sizes import start_std
from edmjax.training.data.units import Units
from edmjax.training.files import StrPath, make_directory, write_file
from edmjax.training.pretrained import Trained
from edmjax.training.samples import _start

FOLDER = "images"  # of the pictures of `write_images`
DENOISING = {"strip": "denoising.png", "gif": "denoising.gif"}
SHOWN = {"strip": 8, "gif": 16}  # samples of which the way is shown
_COLUMNS, _FRAMES = 10, 30  # of a strip, of a GIF
_FRAME, _LAST = 80, 2000  # milliseconds
_SIDE, _GRID = 56, 100  # the side of a sample in these pictures, at least; samples of a grid


def check_pictures(trained: Trained, out: StrPath | None = None) -> None:
    """Raises where the samples of a network are no pictures, or `out` holds others already.

    `ValueError` where they are no images with one channel or three, or there are files in
    `out/images`; `ImportError` where Pillow is not installed.
    """
    shape = trained.image_shape
    if len(shape) != 3 or shape[-1] not in (1, 3):
        raise ValueError(
            "Pictures are of images with one channel or three, and the samples of this network "
            f"have the shape {shape}: leave --format png and --denoising out."
        )
    _pillow()
    folder = None if out is None else Path(out) / FOLDER
    if folder is not None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(
            f"{folder} is there already: delete it, or choose another directory with --out."
        )


def pixels(
    samples: Shaped[np.ndarray, "n ..."],
    units: Units | None,
    ends: tuple[float, float] | None = None,
) -> Shaped[np.ndarray, "n h w c"]:
    """Samples in the units of the data as pictures: uint8, or uint16 of grey images of uint16.

    Whole numbers of 8 bits, and grey ones of 16, are as they are. Of other whole numbers the least
    of the data is 0 and the greatest 255, of floats `ends`, or the least and the greatest of these
    samples. Without `units`, samples have values from -1 to 1.
    """
    x = np.asarray(samples)
    if units is not None and units.channels != "last":
        x = x[..., None] if units.channels == "none" else np.moveaxis(x, 1, -1)
    if x.dtype == np.uint8 or (x.dtype == np.uint16 and x.shape[-1] == 1):
        return x
    x = x.astype(np.float64)
    low, high = (-1.0, 1.0) if ends is None else ends
    if units is not None and ends is None:
        low, high = (units.low, units.high) if units.whole else (x.min(), x.max())
    share = (x - float(low or 0)) / ((float(high or 0) - float(low or 0)) or 1.0)
    return np.rint(255 * np.clip(share, 0, 1)).astype(np.uint8)


def write_images(
    parts: Callable[[], Iterable[tuple[int, Shaped[np.ndarray, "n ..."]]]],
    out: StrPath,
    labels: Int[np.ndarray, " n"] | None,
    trained: Trained,
) -> list[Path]:
    """Writes `out/images`, a PNG a sample, and `out/samples.png` of the first 100; returns both.

    A sample's name is its number; with labels the classes are sub-folders with their numbers, so
    that `--data` reads samples and classes back. The folder appears when all of it is written.
    `parts()` gives all samples in the data's units, a few at a time, each time with the number of
    the first; it is called twice where they are floats, whose least and greatest are black and
    white. `OSError` where a file cannot be written.
    """
    units, ends = trained.units, None
    if units is not None and not units.whole:
        extremes = [(float(x.min()), float(x.max())) for _, x in parts()]
        ends = min(low for low, _ in extremes), max(high for _, high in extremes)
    unfinished = Path(out) / f"{FOLDER}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    digits = len(str(max(trained.num_classes - 1, 0)))
    classes = [""] if labels is None else [f"{label:0{digits}d}" for label in labels]
    for name in set(classes):
        make_directory(unfinished / name)
    grid: list[np.ndarray] = []
    for first, samples in parts():
        made = pixels(samples, units, ends)
        grid += [*made[: max(0, _GRID - first)]]
        for number, picture in enumerate(made, first):
            folder = unfinished / classes[number % len(classes)]
            # Without the care for the disk of `write_file`, which would take most of the time.
            _image(picture).save(folder / f"{number:09d}.png")
    white = np.iinfo(grid[0].dtype).max
    shown = _enlarged(np.stack(grid[:_GRID])) * (2 / white) - 1
    written = [unfinished.replace(Path(out) / FOLDER), Path(out) / "samples.png"]
    write_file(written[1], _content([tiles(shown, gap=4)], "PNG"))
    return written


def write_denoising(
    trained: Trained,
    plan: ej.Plan,
    out: StrPath,
    kinds: Sequence[str],
    *,
    seed: int,
    cond: PyTree = None,
    num_samples: int = 16,
) -> list[Path]:
    """Writes pictures of how noise becomes the first samples of a seed; returns their paths.

    "strip" is `denoising.png`, a row a sample, from the noise on the left to the sample on the
    right; "gif" is `denoising.gif`, the samples side by side. The points are shown divided by
    `sqrt(1 + sigma^2 / s^2)`, with `s` the standard deviation of the samples, so that noise and
    samples are equally strong. `cond` are labels or conditions, one a sample. `OSError` where a
    file cannot be written.
    """
    written = []
    for kind in dict.fromkeys(kinds):
        name = DENOISING[one_of(kind, "denoising", DENOISING)]
        n = min(SHOWN[kind], num_samples)
        some = jax.tree.map(lambda v, n=n: v[:n], cond)  # of length 1 where all share it
        frames = _frames(trained, plan, n, seed, some, _COLUMNS if kind == "strip" else _FRAMES)
        frames = _enlarged(frames)
        if kind == "strip":
            rows = frames.swapaxes(0, 1).reshape(-1, *frames.shape[2:])
            content = _content([tiles(rows, len(frames), gap=4)], "PNG")
        else:
            content = _content([tiles(images, gap=4) for images in frames], "GIF")
        written.append(Path(out) / name)
        write_file(written[-1], content)
    return written


def _frames(
    trained: Trained, plan: ej.Plan, n: int, seed: int, cond: PyTree, count: int
) -> Float[np.ndarray, "frames n h w c"]:
    """The points on the way to samples 0 to n - 1, from -1 to 1; the last are the samples."""
    key_start, key_steps = random.split(random.key(as_seed(seed)))
    std = np.float32(start_std(plan))
    x = _start(ej.sample_keys(key_start, whole(n, "num_samples")), std, trained.image_shape)
    keys = ej.sample_keys(key_steps, n)
    x0, (on_the_way, sigmas) = ej.trajectory(trained.denoise, plan, x, keys, cond=cond, save=_seen)
    x0, on_the_way = np.asarray(x0), np.asarray(on_the_way)
    chosen = np.unique(np.linspace(0, len(on_the_way) - 1, count - 1).round().astype(int))
    width = float(np.std(x0)) or 1.0
    scale = 1 / np.sqrt(1 + (np.asarray(sigmas, np.float64)[chosen] / width) ** 2)
    frames = [on_the_way[i] * by for i, by in zip(chosen, scale, strict=True)]
    stack = np.stack([*frames, x0]).astype(np.float64)
    if trained.units is not None and trained.units.rule != "range":
        low, high = float(x0.min()), float(x0.max())
        stack = (stack - low) / ((high - low) or 1.0) * 2 - 1
    return stack


def _enlarged(images: np.ndarray) -> np.ndarray:
    zoom = max(1, _SIDE // images.shape[-3])
    return images.repeat(zoom, axis=-3).repeat(zoom, axis=-2)


def _seen(x: Any, denoised: Any, sigma: Any) -> Any:
    return x, sigma


def _content(pictures: Sequence[Float[np.ndarray, "h w c"]], kind: str) -> bytes:
    """The bytes of a file of pictures with values from -1 to 1; several are an animation."""
    first, *rest = (_image(np.rint(127.5 * (p + 1)).astype(np.uint8)) for p in pictures)
    content, more = io.BytesIO(), {}
    if rest:
        times = [_FRAME] * len(rest) + [_LAST]
        more = {"save_all": True, "append_images": rest, "duration": times, "loop": 0}
    first.save(content, kind, **more)
    return content.getvalue()


def _image(picture: Shaped[np.ndarray, "h w c"]) -> Any:
    """Pillow's image of an array of bytes, or of grey of 16 bits."""
    return _pillow().fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)


def _pillow() -> Any:
    try:
        from PIL import Image
    except ModuleNotFoundError as err:
        raise missing(err, "A picture", "train") from err
    return Image
