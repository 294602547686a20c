"""What all pictures share: their Axes, their colours, and numbers out of arrays."""

import io
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edmjax._common.arrays import has_tracers, reals

# The colours of Okabe and Ito, which people with any colour vision can tell apart.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


class _Own(Figure):
    """A figure that a notebook shows, although pyplot does not know it."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def axes_of(ax: Axes | None, width: float = 6.4, height: float = 4.0) -> Axes:
    """`ax`, or the Axes of a new figure, its sizes in inches."""
    if ax is None:
        return _Own(figsize=(width, height), layout="constrained").subplots()
    if not isinstance(ax, Axes):
        raise TypeError(
            f"`ax` must be an Axes of matplotlib, such as `Figure().subplots()`, got {ax!r:.80}."
        )
    return ax


def finish(ax: Axes, legend: bool = False) -> Axes:
    """`ax` with the grid, spines and legend that curves have."""
    ax.grid(True, color="#e4e4e4", linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    if legend:
        ax.legend(frameon=False)
    return ax


def array(values: Any, name: str) -> np.ndarray:
    """`values` as float64 numbers; raises where they are traced or not real numbers."""
    if has_tracers(values):
        raise TypeError(f"{name} is traced, and has no numbers to draw: draw outside of `jit`.")
    numbers = reals(values)
    if numbers is None:
        raise TypeError(f"{name} must be an array of real numbers, got {values!r:.80}.")
    return np.asarray(numbers, np.float64)


def points(values: Any, name: str) -> np.ndarray:
    """`array(values, name)`, without NaN."""
    numbers = array(values, name)
    if np.isnan(numbers).any():
        index = tuple(int(i) for i in np.argwhere(np.isnan(numbers))[0])
        raise ValueError(f"{name} has NaN at index {index}: leave that sample out.")
    return numbers
