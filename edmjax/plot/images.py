"""Images side by side, and the denoised images on the way to them."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from edmjax._common.arguments import whole
from edmjax._common.tiles import check_images, tiles
from edmjax._common.typing import Arraylike, Denoiser, Int, Keys, PyTree
from edmjax.planning.table import PlanLike, check_plan
from edmjax.plot._figure import array, axes_of, points
from edmjax.running.one_plan import trajectory


def samples(images: Arraylike, *, columns: Int | None = None, ax: Axes | None = None) -> Axes:
    """Draws images side by side, row by row.

    Args:
        images: (samples, height, width, 1) or (samples, height, width, 3), values from -1 to 1;
            values outside are drawn as -1 or 1.
        columns: how many in a row; by default as many as make a square.
        ax: where to draw; by default a new figure.

    Raises:
        TypeError: if `images` are not real numbers, or traced.
        ValueError: if `images` has another shape or NaN, or `columns` is below 1.
    """
    pictures = points(images, "`images`")
    check_images(pictures.shape, "images")
    columns = None if columns is None else whole(columns, "columns")
    picture = tiles(pictures, columns)
    ax = axes_of(ax, 6.0, 6.0 * picture.shape[0] / picture.shape[1])
    _show(picture, ax)
    ax.set_axis_off()
    return ax


def preview(
    denoise: Denoiser,
    plan: PlanLike,
    x: PyTree,
    key: Keys | None = None,
    *,
    cond: PyTree = None,
    columns: Int = 8,
    ax: Axes | None = None,
) -> Axes:
    """Runs a plan on images and draws the denoised image along the way: a row a sample.

    The columns are evaluations, evenly spaced from the first to the last, and above each is its
    noise level. All evaluations are kept in memory, so pass a few samples.

    Args:
        denoise, plan, x, key, cond: as for `ej.sample`; `x` has shape (samples, height, width, 1)
            or (samples, height, width, 3), with values from -1 to 1 where there is no noise.
        columns: how many evaluations to show, at least 1; all, where there are fewer.
        ax: where to draw; by default a new figure.

    Raises:
        TypeError: if `plan` is not a plan, or `x` not an array of real numbers.
        ValueError: if `x` has another shape or NaN, or `columns` is below 1; and as `ej.sample`.
    """
    check_plan(plan)
    n, *image_shape = check_images(points(x, "`x`").shape, "x")
    columns = whole(columns, "columns")
    _, denoised = trajectory(denoise, plan, x, key, cond=cond, save=_denoised)
    shown = np.unique(np.linspace(0, plan.nfe - 1, columns).round().astype(int))
    images = np.moveaxis(array(denoised, "`x`")[shown], 0, 1).reshape(-1, *image_shape)
    picture = tiles(images, len(shown))
    ax = axes_of(ax, 1.0 + len(shown), 1.0 + n)
    _show(picture, ax)
    # In pixels of the picture, whose tiles are one line apart.
    width = image_shape[1] + 1
    middle = np.arange(len(shown)) * width + (width - 2) / 2
    ax.set_xticks(middle, [f"{float(plan.sigmas[k]):.3g}" for k in shown])
    ax.xaxis.tick_top()
    ax.xaxis.set_label_position("top")
    ax.set_xlabel("sigma")
    ax.tick_params(length=0)
    return ax


def _denoised(x: Any, denoised: Any, sigma: Any) -> Any:
    return denoised


def _show(picture: np.ndarray, ax: Axes) -> None:
    grey = picture.shape[-1] == 1
    shown = picture[..., 0] if grey else (picture + 1) / 2
    limits = {"cmap": "gray", "vmin": -1, "vmax": 1} if grey else {}
    ax.imshow(shown, interpolation="nearest", **limits)
    ax.set_yticks([])
