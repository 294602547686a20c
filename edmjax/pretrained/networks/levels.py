"""Where the blocks of NVlabs' U-Nets stand: their names, and the widths that they join.

All three networks have one layout. A level of `side` x `side` pixels has `num` blocks on the way
down and `num + 1` on the way up, each of which also reads an output of the way down; a block
between levels changes the size; two more stand at the coarsest level.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Place(NamedTuple):
    """A block: its name in a file, what it is, and the channels that it reads and returns."""

    kind: str  # conv, down, block, in0, in1, up
    level: int
    side: int
    inputs: int
    outputs: int
    index: int = 0  # of a block in its level

    @property
    def name(self) -> str:
        number = self.index if self.kind == "block" else ""
        return f"{self.side}x{self.side}_{self.kind}{number}"


def way_down(
    side: int, inputs: int, first: int, widths: Sequence[int], num: int
) -> Iterator[Place]:
    """The places from images with `inputs` channels to the coarsest level.

    `first` are the channels behind the first convolution, `widths` those of the levels.

    Raises:
        ValueError: an image cannot be halved as often as there are levels.
    """
    if side % 2 ** (len(widths) - 1):
        raise ValueError(
            f"`img_resolution` is {side}, and {len(widths)} levels need a multiple of "
            f"{2 ** (len(widths) - 1)}."
        )
    before = first
    for level, width in enumerate(widths):
        at = side >> level
        if level:
            yield Place("down", level, at, before, before)
        else:
            yield Place("conv", level, at, inputs, first)
        for i in range(num):
            yield Place("block", level, at, before, width, i)
            before = width


def way_up(down: Sequence[Place], widths: Sequence[int], num: int) -> Iterator[Place]:
    """The places from the coarsest level back, where `down` are those of the way down."""
    skips, before, side = [p.outputs for p in down], down[-1].outputs, down[0].side
    for level in range(len(widths) - 1, -1, -1):
        at = side >> level
        if level == len(widths) - 1:
            yield Place("in0", level, at, before, before)
            yield Place("in1", level, at, before, before)
        else:
            yield Place("up", level, at, before, before)
        for i in range(num + 1):
            yield Place("block", level, at, before + skips.pop(), widths[level], i)
            before = widths[level]
