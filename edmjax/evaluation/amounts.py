"""How much is measured of a network."""

from collections.abc import Sequence
from typing import NamedTuple


class Amounts(NamedTuple):
    """How much is measured.

    Attributes:
        num_samples: samples a set.
        seeds: sets of samples.
        samplers: how samples are drawn, each a text for `parse_methods`.
        loss_images: test images for the loss.
        level_images: images for the loss by noise level.
        bits_images: test images for the bits per dimension.
        num_levels: noise levels of the loss by level.
    """

    num_samples: int = 5000
    seeds: int = 3
    samplers: Sequence[str] = (
        "heun@karras:6,10,20,35",
        "dpmpp_2m@karras:6,10,20,35",
        "gradient_estimation@cosine:6,10,20,35",
        "unipc(order=3)@cosine:6,10,20,35",
        "recommended:6,10,20,35",
    )
    loss_images: int = 10_000
    level_images: int = 500
    bits_images: int = 500
    num_levels: int = 12


FULL = Amounts()
# What the option --quick asks for.
QUICK = Amounts(500, 1, ("heun@karras:35", "unipc(order=3)@cosine:10"), 1000, 50, 50)
# Of a network of any data, whose schedules span its own levels; first what edmjax sample draws by.
GENERAL = FULL._replace(samplers=("recommended:10,35", "heun@karras:35"))
