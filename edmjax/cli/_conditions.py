"""Conditions from a file, for networks that were trained with them."""

import argparse
from typing import Any

import jax
import numpy as np

from edmjax import training
from edmjax._common.trees import conditions, conditions_at
from edmjax.training.data.arrays import load_conditions
from edmjax.training.errors import DataError


def add_condition(parser: argparse.ArgumentParser, several: str) -> None:
    """Adds `--cond FILE`."""
    parser.add_argument(
        "--cond",
        metavar="FILE",
        help=f"conditions, an .npy or .npz as of the data: one row for all, or {several}",
    )


def conditions_of(
    args: argparse.Namespace,
    trained: training.Trained,
    labels: np.ndarray | None,
    number: int,
    *,
    in_turn: bool = False,
) -> Any:
    """What the denoiser is given of `--cond` for `number` samples; None for one without conditions.

    One row is for all samples; with `in_turn` any number of rows is, one after the other.
    ValueError where the network takes conditions and there is no file, or the other way round, or
    where the file holds others.
    """
    if args.cond is None:
        if trained.conditions is None:
            return None
        kinds = " and ".join(trained.conditions.shapes)
        raise ValueError(
            f"The network in {args.checkpoint} was trained with a condition, {kinds}: add --cond "
            "FILE, an .npy or .npz in the units of the data, with one row or more."
        )
    try:
        found = load_conditions(args.cond)
        if in_turn:
            found = jax.tree.map(lambda v: v[np.arange(number) % len(v)], found)
        found = trained.condition(found, labels)
    except DataError:
        raise
    except (TypeError, ValueError) as err:
        raise ValueError(f"--cond {args.cond}: {err}") from err
    try:
        return conditions(found, number, "")
    except ValueError:
        n = len(jax.tree.leaves(found)[0])
        raise ValueError(
            f"--cond {args.cond} has {n} rows for {number} samples: give one row, which is for "
            "all, or one a sample."
        ) from None


def rows(cond: Any, first: int, number: int) -> Any:
    """The conditions of `number` samples from `first` on."""
    return None if cond is None else conditions_at(cond, slice(first, first + number))
